"""When a customer could have something: from free stock, and from what lines could make by when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.lines import published as lines
from cloud_ingest.orders.needs import Pantry
from cloud_ingest.orders.rules import ZERO, quantity_text
from connectors.ports.database import Session

CLAIMED: Final = (
    "SELECT coalesce(sum(greatest(0, produced - greatest(0, reserved + packed + shipped - from_stock))), 0) AS claimed "
    "FROM order_line JOIN customer_order USING (order_id) WHERE order_line.tenant_id = $1 AND product = $2 "
    "AND order_id <> $3 AND produced > 0 AND shipped + packed + reserved + cancelled < quantity "
    "AND state IN ('released', 'in_production', 'packed')"
)
"""What was counted for other orders, and is not reserved for them yet: whoever comes new leaves it to them."""


@dataclass(frozen=True, slots=True)
class LinePromise:
    """Of ``quantity``, ``in_stock`` can leave now; the rest is ``ready`` at a time, or nobody knows (``missing``)."""

    product: str
    quantity: Decimal
    in_stock: Decimal
    ready: datetime | None
    missing: str


async def promise(
    session: Session, tenant_id: int, asked: Sequence[tuple[str, Decimal]], currency: str, now: datetime
) -> list[LinePromise]:
    """What of ``asked`` (product, quantity) could be had by when; earlier lines take the stock from later ones."""
    pantry = Pantry(session, tenant_id)
    return [await _line(session, tenant_id, pantry, product, quantity, currency, now) for product, quantity in asked]


def ready(promises: Sequence[LinePromise]) -> datetime | None:
    """When all of it is ready; ``None`` when nobody knows."""
    times = [one.ready for one in promises if one.ready is not None]
    return max(times) if len(times) == len(promises) else None


async def _line(
    session: Session, tenant_id: int, pantry: Pantry, code: str, quantity: Decimal, currency: str, now: datetime
) -> LinePromise:
    there = ZERO
    if await pantry.has(code):
        (row,) = await session.fetch(CLAIMED, tenant_id, code, "")
        if await pantry.take(code, row["claimed"]) == row["claimed"]:
            there = await pantry.pick(code, quantity)
    rest = quantity - there
    if rest <= 0:
        return LinePromise(code, quantity, there, now, "")
    made = await pantry.product(code, currency)
    if made is None or not made.routing:
        short = f"{quantity_text(rest)} are not in stock, and no routing says how it is made"
        return LinePromise(code, quantity, there, None, short)
    needs = await pantry.needs(code, rest, currency)
    if needs.missing:
        return LinePromise(code, quantity, there, None, "; ".join(needs.missing))
    begin = now
    try:
        for component, needed in needs.to_make:
            begin = max(begin, await lines.promise(session, tenant_id, component.routing, needed, now))
        return LinePromise(
            code, quantity, there, await lines.promise(session, tenant_id, made.routing, rest, begin), ""
        )
    except RequestRefused as exc:  # a line that its routing names is not there
        return LinePromise(code, quantity, there, None, str(exc))
