"""What a product, its prices and its attributes may be. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, assert_never

FALL_BACK_LANGUAGE: Final = "en"
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
AttributeKind = Literal["text", "number", "flag", "choice"]


@dataclass(frozen=True, slots=True)
class Price:
    """A price without tax for one unit, from ``begin`` on and before ``end``; ``None`` stands for no bound."""

    currency: str
    amount: Decimal
    begin: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Price:
        """The price as a document has it."""
        begin, end = document.get("from"), document.get("to")
        return cls(
            document["currency"],
            Decimal(document["amount"]),
            None if begin is None else datetime.fromisoformat(begin),
            None if end is None else datetime.fromisoformat(end),
        )

    def holds(self, when: datetime) -> bool:
        """Whether it is the price at ``when``, were there no other."""
        return is_shown(self.begin, self.end, when)


def is_shown(begin: datetime | None, end: datetime | None, when: datetime) -> bool:
    """Whether what holds from ``begin`` on and before ``end`` (``None``: no bound) does at ``when``."""
    return (begin is None or begin <= when) and (end is None or when < end)


def price_at(prices: Sequence[Price], currency: str, when: datetime) -> Decimal | None:
    """The amount in ``currency`` at ``when``: of several that hold, the one that began last; ``None`` without any."""
    holding = [price for price in prices if price.currency == currency and price.holds(when)]
    if not holding:
        return None
    return max(holding, key=lambda price: price.begin or _ALWAYS).amount


def price_problem(prices: Sequence[Price]) -> str:
    """Why ``prices`` say no single price at some time; empty when they do."""
    seen: set[tuple[str, datetime | None]] = set()
    for price in prices:
        if price.begin is not None and price.end is not None and price.end <= price.begin:
            return f"a price in {price.currency} ends at {price.end.isoformat()}, before it begins"
        if (price.currency, price.begin) in seen:
            begins = "always" if price.begin is None else price.begin.isoformat()
            return f"two prices in {price.currency} hold from {begins} on: which of them is meant?"
        seen.add((price.currency, price.begin))
    return ""


def text_in(texts: Mapping[str, str], language: str) -> str:
    """The text in ``language`` (BCP 47), or else in the language without its region, in English, or in any."""
    for tried in (language, language.partition("-")[0], FALL_BACK_LANGUAGE):
        if tried in texts:
            return texts[tried]
    return texts[min(texts)] if texts else ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """What products of a category say under one name."""

    kind: AttributeKind
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


def attribute_problems(attributes: Mapping[str, Any], schema: Mapping[str, Attribute]) -> list[str]:
    """What is wrong with ``attributes`` by the ``schema`` of their category, in sentences."""
    problems = [f"the category knows no attribute {name!r}" for name in sorted(set(attributes) - set(schema))]
    for name, attribute in schema.items():
        if name not in attributes:
            if attribute.required:
                problems.append(f"the attribute {name!r} is missing")
        elif problem := _attribute_problem(attributes[name], attribute):
            problems.append(f"the attribute {name!r} {problem}")
    return problems


def _attribute_problem(value: Any, attribute: Attribute) -> str:
    match attribute.kind:
        case "text":
            return "" if isinstance(value, str) else "is a text"
        case "flag":
            return "" if isinstance(value, bool) else "is true or false"
        case "choice":
            return "" if value in attribute.choices else f"is one of {', '.join(attribute.choices)}"
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return "is a number"
            if attribute.minimum is not None and value < attribute.minimum:
                return f"is {attribute.minimum:g} or more"
            if attribute.maximum is not None and value > attribute.maximum:
                return f"is {attribute.maximum:g} or less"
            return ""
        case _:
            assert_never(attribute.kind)
