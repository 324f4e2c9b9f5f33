"""What other parts may ask of orders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from connectors.ports.database import Row, Session


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """A line of an order, with what has become of it."""

    line: int
    product: str
    name: str
    unit: str
    quantity: Decimal
    reserved: Decimal
    packed: Decimal
    produced: Decimal
    shipped: Decimal
    cancelled: Decimal
    returned: Decimal

    @property
    def outstanding(self) -> Decimal:
        """What is neither in stock for the order nor has left."""
        return max(Decimal(0), self.quantity - self.cancelled - self.reserved - self.packed - self.shipped)


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
    wanted: datetime | None
    """When the customer wants to have it."""
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


_ORDERS: Final = "SELECT order_id, customer, reference, state, currency, total, promised, wanted FROM customer_order "
_LINES: Final = (
    "SELECT order_id, line, product, name, unit, quantity, reserved, packed, produced, shipped, cancelled, returned "
    "FROM order_line WHERE tenant_id = $1 AND order_id = ANY($2) ORDER BY order_id, line"
)


async def order(session: Session, tenant_id: int, order_id: str) -> PublishedOrder | None:
    """The order, or ``None`` when the tenant has none of that id."""
    rows = await session.fetch(f"{_ORDERS} WHERE tenant_id = $1 AND order_id = $2", tenant_id, order_id)
    found = await _whole(session, tenant_id, rows)
    return found[0] if found else None


async def orders_in_the_plant(
    session: Session, tenant_id: int, customer: str | None, after: str, count_max: int
) -> tuple[PublishedOrder, ...]:
    """Orders that are released and have not left whole, by their ids; of one ``customer``, or of all (``None``)."""
    rows = await session.fetch(
        f"{_ORDERS} WHERE tenant_id = $1 AND state IN ('released', 'in_production', 'packed') AND order_id > $2 "
        "AND ($3::text IS NULL OR customer = $3) ORDER BY order_id LIMIT $4",
        tenant_id,
        after,
        customer,
        count_max,
    )
    return await _whole(session, tenant_id, rows)


async def products_of(session: Session, tenant_id: int, orders: Sequence[str]) -> dict[tuple[str, int], str]:
    """What each line of ``orders`` is of, by order and line."""
    rows = await session.fetch(
        "SELECT order_id, line, product FROM order_line WHERE tenant_id = $1 AND order_id = ANY($2)",
        tenant_id,
        list(orders),
    )
    return {(row["order_id"], row["line"]): row["product"] for row in rows}


async def _whole(session: Session, tenant_id: int, rows: Sequence[Row]) -> tuple[PublishedOrder, ...]:
    lines: dict[str, list[PublishedLine]] = {str(row["order_id"]): [] for row in rows}
    for line in await session.fetch(_LINES, tenant_id, [*lines]):
        of = dict(line)
        lines[str(of.pop("order_id"))].append(PublishedLine(**of))
    return tuple(
        PublishedOrder(
            str(row["order_id"]),
            str(row["customer"]),
            str(row["reference"]),
            str(row["state"]),
            str(row["currency"]),
            row["total"],
            row["promised"],
            row["wanted"],
            tuple(lines[str(row["order_id"])]),
        )
        for row in rows
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
