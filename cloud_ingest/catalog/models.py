"""What products, routings, content and categories are, as requests bring them and documents keep them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from cloud_ingest.catalog.rules import Price, price_problem

CODE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PLACE = r"^[a-z0-9][a-z0-9-]{0,62}$"
LANGUAGE = r"^[a-z]{2,3}(-[A-Z]{2})?$"
MEMBER = r"^[a-z][a-z0-9_]{0,62}$"

ProductCode = Annotated[str, Field(pattern=CODE, examples=["PUMP-12"])]
Language = Annotated[str, Field(pattern=LANGUAGE, description="BCP 47: de, or de-AT", examples=["de"])]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217", examples=["EUR"])]
Name = Annotated[str, Field(min_length=1, max_length=200)]
AttributeName = Annotated[str, Field(pattern=MEMBER)]
_AsText = PlainSerializer(lambda value: format(value, "f"), return_type=str)
Amount = Annotated[
    Decimal, Field(ge=0, le=Decimal("999999999999.99"), max_digits=14, decimal_places=2, examples=["12.50"]), _AsText
]
Quantity = Annotated[
    Decimal, Field(ge=0, le=Decimal(10**12), max_digits=18, decimal_places=6, examples=["1.5"]), _AsText
]
Seconds = Annotated[Decimal, Field(ge=0, le=Decimal(10**7), max_digits=14, decimal_places=6, examples=["2.4"]), _AsText]
Rate = Annotated[Decimal, Field(ge=0, lt=1, max_digits=7, decimal_places=6, examples=["0.19"]), _AsText]
RecipeValue = bool | int | float | Annotated[str, Field(max_length=200)]


class Kept(BaseModel):
    """Something that is kept as a document."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    def document(self) -> dict[str, Any]:
        """It as JSON: numbers of money and quantities are texts."""
        return self.model_dump(mode="json", by_alias=True)


class PriceBody(Kept):
    """A price without tax for one unit. Of several that hold, the one that began last is meant."""

    currency: Currency
    amount: Amount
    begin: Annotated[AwareDatetime | None, Field(alias="from", description="It holds from then on")] = None
    end: Annotated[AwareDatetime | None, Field(alias="to", description="And no longer than before then")] = None

    def price(self) -> Price:
        """It as the rules have it."""
        return Price(self.currency, self.amount, self.begin, self.end)


class Media(Kept):
    """A picture, drawing or data sheet; the file itself is elsewhere."""

    url: Annotated[str, Field(pattern=r"^(https?://|/)\S+$", max_length=2000, examples=["/media/pump.webp"])]
    kind: Literal["image", "drawing", "datasheet", "video"] = "image"
    alt: Annotated[dict[Language, Name], Field(max_length=50, description="What it shows, by language")] = {}


class ProductBody(Kept):
    """A product as it is edited; it holds for others when it is published."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "names": {"en": "Pump, 12 bar", "de": "Pumpe, 12 bar"},
                    "category": "pumps",
                    "attributes": {"pressure_bar": 12},
                    "prices": [{"currency": "EUR", "amount": "249.00"}],
                    "tax_rate": "0.19",
                    "weight_kg": "3.2",
                    "sold": True,
                    "routing": "pump-assembly",
                }
            ]
        }
    )

    names: Annotated[dict[Language, Name], Field(min_length=1, max_length=50, description="By language")]
    descriptions: Annotated[
        dict[Language, Annotated[str, Field(max_length=10_000)]], Field(max_length=50, description="Markdown")
    ] = {}
    category: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$", description="Its code")] = ""
    attributes: Annotated[
        dict[AttributeName, bool | float | Annotated[str, Field(max_length=1000)]],
        Field(max_length=200, description="As the category's schema says"),
    ] = {}
    media: Annotated[tuple[Media, ...], Field(max_length=100)] = ()
    prices: Annotated[tuple[PriceBody, ...], Field(max_length=500)] = ()
    tax_rate: Annotated[Rate, Field(description="A fraction: 0.19 is 19 %")] = Decimal(0)
    weight_kg: Quantity = Decimal(0)
    unit: Annotated[str, Field(min_length=1, max_length=20)] = "pcs"
    sold: Annotated[bool, Field(description="Whether customers can order it; false for what is only made into others")]
    routing: Annotated[
        str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$", description="How it is made; empty: it is bought")
    ] = ""

    @model_validator(mode="after")
    def _one_price(self) -> ProductBody:
        if problem := price_problem([price.price() for price in self.prices]):
            raise ValueError(problem)
        return self


class StepBody(Kept):
    """A step on a line."""

    site: Annotated[str, Field(pattern=PLACE, examples=["plant-7"])]
    line: Annotated[str, Field(pattern=PLACE, examples=["line-3"])]
    ideal_cycle_s: Annotated[Seconds, Field(gt=0, description="For one unit, at the rated speed of the line")]
    setup_s: Annotated[Seconds, Field(description="Once for each work order")] = Decimal(0)
    batch_max: Annotated[Quantity | None, Field(gt=0, description="At most so many units in one work order")] = None
    recipe: Annotated[
        dict[AttributeName, RecipeValue],
        Field(max_length=200, description="Set-points of the line, by their names in its model"),
    ] = {}


class RoutingBody(Kept):
    """How something is made: steps over lines, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Pump assembly",
                    "steps": [
                        {"site": "plant-7", "line": "line-3", "ideal_cycle_s": "2.4", "recipe": {"torque_nm": 12.5}}
                    ],
                }
            ]
        }
    )

    name: Name
    steps: Annotated[tuple[StepBody, ...], Field(min_length=1, max_length=100)]


class Piece(Kept):
    """What content says in one language."""

    title: Annotated[str, Field(max_length=500)] = ""
    body: Annotated[str, Field(max_length=50_000, description="Markdown")] = ""
    values: Annotated[
        dict[AttributeName, bool | float | Annotated[str, Field(max_length=2000)]],
        Field(max_length=200, description="What a template needs: colours, addresses of logos …"),
    ] = {}


class ContentBody(Kept):
    """A page, a block of one, or a brand of the customers' portal."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "page", "locales": {"en": {"title": "Welcome", "body": "# Pumps since 1902"}}},
                {"kind": "brand", "locales": {"en": {"title": "Acme", "values": {"colour": "#0a5"}}}},
            ]
        }
    )

    kind: Literal["page", "block", "brand"]
    locales: Annotated[dict[Language, Piece], Field(min_length=1, max_length=50)]
    begin: Annotated[AwareDatetime | None, Field(alias="from", description="Shown from then on")] = None
    end: Annotated[AwareDatetime | None, Field(alias="to", description="And no longer than before then")] = None

    @model_validator(mode="after")
    def _in_order(self) -> ContentBody:
        if self.begin is not None and self.end is not None and self.end <= self.begin:
            raise ValueError("it ends before it begins")
        return self


class AttributeBody(Kept):
    """What products of a category say under one name."""

    kind: Literal["text", "number", "flag", "choice"]
    required: bool = False
    choices: Annotated[tuple[Name, ...], Field(max_length=500)] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: Annotated[str, Field(max_length=20)] = ""
    names: Annotated[dict[Language, Name], Field(max_length=50)] = {}


class CategoryBody(Kept):
    """A kind of product, and what each of them says."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"names": {"en": "Pumps"}, "attributes": {"pressure_bar": {"kind": "number", "required": True}}}
            ]
        }
    )

    names: Annotated[dict[Language, Name], Field(min_length=1, max_length=50)]
    attributes: Annotated[dict[AttributeName, AttributeBody], Field(max_length=200)] = {}


def words_in(document: Mapping[str, Any], code: str) -> str:
    """Every text of a document, to be found by: its code, names, descriptions, attributes."""
    found = [code]
    stack: list[Any] = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
    return " ".join(found)


def instant(text: str | None) -> datetime | None:
    """A time of a document."""
    return None if text is None else datetime.fromisoformat(text)
