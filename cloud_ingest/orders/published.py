"""What other parts may ask of orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from connectors.ports.database import Session


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """A line of an order, with what has become of it."""

    line: int
    product: str
    quantity: Decimal
    reserved: Decimal
    produced: Decimal
    shipped: Decimal
    cancelled: Decimal
    returned: Decimal


@dataclass(frozen=True, slots=True)
class PublishedOrder:
    """A customer's order as it stands. ``promised``: when it is expected to leave, where that is known."""

    order: str
    customer: str
    state: str
    currency: str
    total: Decimal
    promised: datetime | None
    lines: tuple[PublishedLine, ...]


_ORDER: Final = (
    "SELECT order_id, customer, state, currency, total, promised FROM customer_order "
    "WHERE tenant_id = $1 AND order_id = $2"
)
_LINES: Final = (
    "SELECT line, product, quantity, reserved, produced, shipped, cancelled, returned FROM order_line "
    "WHERE tenant_id = $1 AND order_id = $2 ORDER BY line"
)


async def order(session: Session, tenant_id: int, order_id: str) -> PublishedOrder | None:
    """The order, or ``None`` when the tenant has none of that id."""
    rows = await session.fetch(_ORDER, tenant_id, order_id)
    if not rows:
        return None
    lines = await session.fetch(_LINES, tenant_id, order_id)
    (row,) = rows
    return PublishedOrder(
        str(row["order_id"]),
        str(row["customer"]),
        str(row["state"]),
        str(row["currency"]),
        row["total"],
        row["promised"],
        tuple(PublishedLine(**dict(line)) for line in lines),
    )
