"""What may be asked of customers and orders: the bodies of requests, in their bounds."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

CODE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"
LABEL_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,30}$"
LINES_MAX: Final = 200
PARCELS_MAX: Final = 100
ADDRESSES_MAX: Final = 20
_LATEST: Final = datetime.fromisoformat("9000-01-01T00:00:00+00:00")


def _printable(text: str) -> str:
    """A text without control characters, which no address label and no invoice can show."""
    if not text.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return text.strip()


def _within_calendar(time: datetime) -> datetime:
    if time.utcoffset() is not None and not 2000 <= time.year < _LATEST.year:
        raise ValueError("it is not between the years 2000 and 9000")
    return time


Quantity = Annotated[Decimal, Field(gt=0, lt=10**9, max_digits=15, decimal_places=6, examples=["5"])]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2, examples=["2.5"])]
Money = Annotated[Decimal, Field(gt=0, lt=10**12, max_digits=14, decimal_places=2, examples=["99.00"])]
Code = Annotated[str, Field(pattern=CODE_PATTERN, examples=["valve-12"])]
Currency = Annotated[str, Field(pattern=CURRENCY_PATTERN, description="ISO 4217", examples=["EUR"])]
Time = Annotated[AwareDatetime, AfterValidator(_within_calendar), Field(examples=["2026-12-01T12:00:00Z"])]
LineNumber = Annotated[int, Field(ge=1, le=LINES_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Reason = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
Short = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
OnFile = Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9_.:-]*$", examples=[""])]


class Asking(BaseModel):
    """A body of a request: what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Address(Asking):
    """Where something is sent to."""

    name: Name
    street: Name
    street2: Short = ""
    postal_code: Annotated[Short, Field(max_length=20)] = ""
    city: Name
    region: Annotated[Short, Field(max_length=100)] = ""
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1", examples=["DE"])]
    phone: Annotated[Short, Field(max_length=50)] = ""


_ADDRESS: Final[dict[str, Any]] = {
    "name": "Acme",
    "street": "Hauptstr. 1",
    "postal_code": "10115",
    "city": "Berlin",
    "country": "DE",
}


class CustomerBody(Asking):
    """What is known of a customer. ``addresses`` have labels; ``delivery`` is taken where an order names none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Acme", "email": "buy@acme.test", "addresses": {"delivery": _ADDRESS}}]
        }
    )
    name: Name
    email: Annotated[Short, Field(pattern=r"^$|^[^@\s]+@[^@\s]+$")] = ""
    phone: Annotated[Short, Field(max_length=50)] = ""
    addresses: Annotated[
        dict[Annotated[str, Field(pattern=LABEL_PATTERN)], Address], Field(max_length=ADDRESSES_MAX)
    ] = Field(default_factory=dict)
    currency: Currency = "EUR"
    discount_percent: Annotated[Percent, Field(description="Of every order")] = Decimal(0)
    active: Annotated[bool, Field(description="false: places no orders any more")] = True
    payer: Annotated[OnFile, Field(description="The payment gateway's name of the customer")] = ""
    payment_method: Annotated[
        OnFile, Field(description="The gateway's name of a card on file: orders are paid with it, nobody is asked")
    ] = ""


class NewCustomer(CustomerBody):
    """A customer. Without ``customer``, a code is given."""

    customer: Annotated[Code | None, Field(examples=["acme"])] = None


class AskedLine(Asking):
    """So much of a product."""

    product: Code
    quantity: Quantity


class NewLine(AskedLine):
    """A line of an order. Its price is the catalog's."""

    discount_percent: Annotated[Percent, Field(description="Of this line alone; who manages orders gives it")] = (
        Decimal(0)
    )


_EXAMPLE: Final[dict[str, Any]] = {
    "customer": "acme",
    "lines": [{"product": "valve-12", "quantity": "5"}],
    "reference": "PO-4711",
}


class NewOrder(Asking):
    """An order, or what is to be quoted. A customer's own account leaves ``customer`` out."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    customer: Code | None = None
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=LINES_MAX)]
    currency: Annotated[Currency | None, Field(description="Unless said, the customer's")] = None
    reference: Annotated[Short, Field(max_length=100, description="The customer's own number for it")] = ""
    wanted: Annotated[Time | None, Field(description="When the customer wants to have it")] = None
    deliver_to: Annotated[
        str | None, Field(pattern=LABEL_PATTERN, description="One of the customer's addresses; unless said, 'delivery'")
    ] = None
    address: Annotated[Address | None, Field(description="Another address than the customer's")] = None


class NewQuote(NewOrder):
    """What is to be quoted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_EXAMPLE, "valid_until": "2026-12-31T23:00:00Z"}]})
    valid_until: Annotated[Time | None, Field(description="Unless said, as long as the settings have it")] = None


class PromiseQuestion(Asking):
    """What is thought of."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lines": [{"product": "valve-12", "quantity": "5"}]}]})
    lines: Annotated[list[AskedLine], Field(min_length=1, max_length=LINES_MAX)]


class WhyBody(Asking):
    """Why it is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "ordered twice"}]})
    reason: Reason


class PaymentByHand(Asking):
    """Money that has come in outside of the payment provider, such as by bank transfer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "99.00", "reference": "bank 2026-11-30/17"}]})
    amount: Money
    reference: Name


class Resolution(Asking):
    """What was done by hand: for a shipment, ``reference`` is the carrier's tracking number."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "bank 2026-11-30/18"}]})
    reference: Name


class Parcel(Asking):
    """One parcel."""

    weight_kg: Annotated[Decimal, Field(gt=0, le=30_000, max_digits=8, decimal_places=3, examples=["2.5"])]
    length_cm: Annotated[Decimal | None, Field(gt=0, le=2000, max_digits=6, decimal_places=1)] = None
    width_cm: Annotated[Decimal | None, Field(gt=0, le=2000, max_digits=6, decimal_places=1)] = None
    height_cm: Annotated[Decimal | None, Field(gt=0, le=2000, max_digits=6, decimal_places=1)] = None

    @model_validator(mode="after")
    def _all_or_none(self) -> Parcel:
        if len({side is None for side in (self.length_cm, self.width_cm, self.height_cm)}) > 1:
            raise ValueError("say length, width and height, or none of them")
        return self


class PackedLine(Asking):
    """So much of a line."""

    line: LineNumber
    quantity: Quantity


class NewShipment(Asking):
    """What is in the parcels. Without ``lines``: all that is in stock for the order; without ``parcels``: one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lines": [{"line": 1, "quantity": "5"}], "parcels": [{"weight_kg": "2.5"}]}]}
    )
    lines: Annotated[list[PackedLine], Field(max_length=LINES_MAX)] = Field(default_factory=list)
    parcels: Annotated[list[Parcel], Field(max_length=PARCELS_MAX)] = Field(default_factory=list)


class NewReturn(Asking):
    """What the customer wants to send back, and why. Without ``lines``: all of it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lines": [{"line": 1, "quantity": "1"}], "reason": "damaged"}]}
    )
    lines: Annotated[list[PackedLine], Field(max_length=LINES_MAX)] = Field(default_factory=list)
    reason: Reason


class ReceivedLine(PackedLine):
    """So much of a line has come back; ``restock``: it goes into stock, and else to waste."""

    restock: bool = True
    lot: Annotated[Short, Field(max_length=64, description="Of an item that is tracked by lot")] = ""
    serials: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=1000)] = Field(
        default_factory=list
    )


class ReceivedReturn(Asking):
    """What has come back, and at which location of inventory it is now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"location": "returns", "lines": [{"line": 1, "quantity": "1"}]}]}
    )
    location: Code
    lines: Annotated[list[ReceivedLine], Field(min_length=1, max_length=LINES_MAX)]


def quantities(lines: list[PackedLine] | list[ReceivedLine]) -> dict[int, Decimal]:
    """How much of each line; what is named twice is added up."""
    found: dict[int, Decimal] = {}
    for one in lines:
        found[one.line] = found.get(one.line, Decimal(0)) + one.quantity
    return found
