"""What other parts may ask of the catalog: products as they are published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cloud_ingest.catalog.rules import Price, price_at, text_in
from connectors.ports.database import Row, Session

RecipeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a routing: how long a line needs for it.

    ``ideal_cycle_s`` is for one unit at the line's rated speed, ``setup_s`` once for each work order; ``batch_max`` is
    how many units one work order may have (``None``: any number). ``recipe`` is what the line is set to, by the names
    of its model.
    """

    number: int
    site: str
    line: str
    ideal_cycle_s: Decimal
    setup_s: Decimal
    batch_max: Decimal | None
    recipe: Mapping[str, RecipeValue]


@dataclass(frozen=True, slots=True)
class Product:
    """A product as its newest published version has it.

    ``unit_price`` is without tax, ``None`` when it has no price in that currency at that time; ``tax_rate`` is a
    fraction (0.19 for 19 %). ``routing`` is empty for what is bought, and not made.
    """

    code: str
    version: int
    name: str
    unit: str
    unit_price: Decimal | None
    currency: str
    tax_rate: Decimal
    weight_kg: Decimal
    is_sold: bool
    routing: tuple[Step, ...]


async def product(
    session: Session,
    tenant_id: int,
    code: str,
    *,
    currency: str = "EUR",
    at: datetime | None = None,
    language: str = "en",
) -> Product | None:
    """The product ``code`` with its price at ``at`` (now unless said); ``None`` when none of that code is published."""
    found = await products(session, tenant_id, [code], currency=currency, at=at, language=language)
    return found.get(code)


async def products(
    session: Session,
    tenant_id: int,
    codes: Sequence[str],
    *,
    currency: str = "EUR",
    at: datetime | None = None,
    language: str = "en",
) -> dict[str, Product]:
    """Those of ``codes`` that are published, by code, in one question."""
    rows = await session.fetch(
        "SELECT p.code, p.version, p.document, r.document AS routing FROM catalog_published p "
        "LEFT JOIN catalog_published r ON r.tenant_id = p.tenant_id AND r.kind = 'routing' "
        "AND r.code = p.document ->> 'routing' "
        "WHERE p.tenant_id = $1 AND p.kind = 'product' AND p.code = ANY($2)",
        tenant_id,
        list(codes),
    )
    when = at or datetime.now(UTC)
    return {row["code"]: _product(row, currency, when, language) for row in rows}


def _product(row: Row, currency: str, when: datetime, language: str) -> Product:
    document: dict[str, Any] = json.loads(row["document"])
    prices = [Price.of(price) for price in document["prices"]]
    routing = None if row["routing"] is None else json.loads(row["routing"])
    return Product(
        row["code"],
        row["version"],
        text_in(document["names"], language),
        document["unit"],
        price_at(prices, currency, when),
        currency,
        Decimal(document["tax_rate"]),
        Decimal(document["weight_kg"]),
        document["sold"],
        () if routing is None else tuple(_step(number, step) for number, step in enumerate(routing["steps"], start=1)),
    )


def _step(number: int, step: Mapping[str, Any]) -> Step:
    return Step(
        number,
        step["site"],
        step["line"],
        Decimal(step["ideal_cycle_s"]),
        Decimal(step["setup_s"]),
        None if step["batch_max"] is None else Decimal(step["batch_max"]),
        dict(step["recipe"]),
    )
