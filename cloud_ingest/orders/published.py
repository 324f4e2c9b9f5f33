"""What other parts may ask of orders."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    name: str
    unit: str
    quantity: Decimal
    reserved: Decimal
    produced: Decimal
    shipped: Decimal
    cancelled: Decimal
    returned: Decimal


@dataclass(frozen=True, slots=True)
class PublishedOrder:
    """A customer's order as it stands. ``promised``: when it is expected to leave, where that is known.

    ``reference`` is the customer's own number for it.
    """

    order: str
    customer: str
    reference: str
    state: str
    currency: str
    total: Decimal
    promised: datetime | None
    lines: tuple[PublishedLine, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to turn to at a customer; what nobody has said is empty. ``payer`` and ``method`` are a card on file."""

    customer: str
    name: str
    email: str
    phone: str
    payer: str
    method: str


_ORDER: Final = (
    "SELECT order_id, customer, reference, state, currency, total, promised FROM customer_order "
    "WHERE tenant_id = $1 AND order_id = $2"
)
_LINES: Final = (
    "SELECT line, product, name, unit, quantity, reserved, produced, shipped, cancelled, returned FROM order_line "
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
        str(row["reference"]),
        str(row["state"]),
        str(row["currency"]),
        row["total"],
        row["promised"],
        tuple(PublishedLine(**dict(line)) for line in lines),
    )


async def contact(session: Session, tenant_id: int, customer: str) -> Contact | None:
    """Who ``customer`` is now: events of orders say the code alone, so that nothing personal stays in the log.

    ``None`` when the tenant has no such customer.
    """
    rows = await session.fetch(
        "SELECT customer, name, email, phone, payer, payment_method AS method FROM customer "
        "WHERE tenant_id = $1 AND customer = $2",
        tenant_id,
        customer,
    )
    return Contact(**dict(rows[0])) if rows else None


async def in_shipment(session: Session, tenant_id: int, shipment: str) -> Mapping[int, Decimal]:
    """How much of which line is in a shipment; of an unknown one, nothing."""
    rows = await session.fetch(
        "SELECT lines FROM order_shipment WHERE tenant_id = $1 AND shipment = $2", tenant_id, shipment
    )
    return {int(line): Decimal(much) for line, much in json.loads(rows[0]["lines"]).items()} if rows else {}
