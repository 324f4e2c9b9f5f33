"""What the routes of the catalog answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.catalog.models import CategoryBody, Media, ProductBody, RoutingBody
from cloud_ingest.catalog.publishing import Published
from cloud_ingest.catalog.rules import Price, price_at, text_in
from connectors.ports.documents import Document

T = TypeVar("T")


class DraftAnswer(Answer, Generic[T]):
    """Something as it is edited; its ETag is the revision."""

    code: str
    revision: int
    content: T


class PublishedAnswer(Answer):
    """What was done: this version holds now."""

    code: str
    version: int


class VersionAnswer(Answer):
    """A version that was published."""

    version: int
    revision: Annotated[int, Field(description="Of the draft that it was made of")]
    published: datetime
    published_by: str
    holds: Annotated[bool, Field(description="Whether it is the one that holds now")]


class VersionPage(Answer):
    """Versions, the newest first."""

    versions: list[VersionAnswer]
    next: Annotated[int | None, Field(description="The 'before' of the next page")]


class ProductAnswer(Answer):
    """A product as it holds, in one language and with one price."""

    code: str
    version: int
    name: str
    description: Annotated[str, Field(description="Markdown")]
    category: str
    attributes: dict[str, bool | float | str]
    media: tuple[Media, ...]
    unit: str
    unit_price: Annotated[str | None, Field(description="Without tax; null: it has none then", examples=["249.00"])]
    currency: str
    tax_rate: Annotated[str, Field(description="A fraction", examples=["0.19"])]
    weight_kg: str
    sold: bool
    routing: Annotated[str | None, Field(description="How it is made; not told to customers")]

    @classmethod
    def of(cls, found: Published, language: str, currency: str, at: datetime | None, *, inside: bool) -> ProductAnswer:
        """``found`` in ``language``, with its price at ``at`` (now unless said). ``inside``: not for a customer."""
        document = found.document
        price = price_at([Price.of(price) for price in document["prices"]], currency, at or datetime.now(UTC))
        return cls(
            code=found.code,
            version=found.version,
            name=text_in(document["names"], language),
            description=text_in(document["descriptions"], language),
            category=document["category"],
            attributes=document["attributes"],
            media=tuple(Media.model_validate(one) for one in document["media"]),
            unit=document["unit"],
            unit_price=None if price is None else format(price, "f"),
            currency=currency,
            tax_rate=document["tax_rate"],
            weight_kg=document["weight_kg"],
            sold=document["sold"],
            routing=document["routing"] or None if inside else None,
        )


class ProductPage(Answer):
    """Products, by code."""

    products: list[ProductAnswer]
    next: str | None


class ProductDraftPage(Answer):
    """Products as they are edited, by code."""

    products: list[DraftAnswer[ProductBody]]
    next: str | None


class RoutingAnswer(Answer):
    """A routing as it holds."""

    code: str
    version: int
    routing: RoutingBody


class RoutingPage(Answer):
    """Routings, by code."""

    routings: list[RoutingAnswer]
    next: str | None


class CategoryPage(Answer):
    """Categories, by code."""

    categories: list[DraftAnswer[CategoryBody]]
    next: str | None


class ContentAnswer(Answer):
    """Content in one language."""

    code: str
    version: int
    kind: str
    language: Annotated[str, Field(description="That of the text: another than asked for, where that is not there")]
    title: str
    body: Annotated[str, Field(description="Markdown")]
    values: dict[str, bool | float | str]

    @classmethod
    def of(cls, found: Published, language: str) -> ContentAnswer:
        """``found`` in ``language``, or in one that it has."""
        locales: Mapping[str, Any] = found.document["locales"]
        shown = text_in({name: name for name in locales}, language)
        piece = locales[shown]
        return cls(
            code=found.code,
            version=found.version,
            kind=found.document["kind"],
            language=shown,
            title=piece["title"],
            body=piece["body"],
            values=piece["values"],
        )


class ContentPage(Answer):
    """Content, by code."""

    content: list[ContentAnswer]
    next: str | None


class ImportAnswer(Answer):
    """What became of the rows of a file."""

    created: int
    changed: int
    unchanged: int
    published: int


def draft_of(document: Document, model: type[T]) -> DraftAnswer[T]:
    """The answer that shows ``document``, whose body is a ``model``."""
    made: DraftAnswer[T] = DraftAnswer[model].model_validate(  # type: ignore[valid-type]
        {"code": document.id, "revision": document.revision, "content": document.body}
    )
    return made
