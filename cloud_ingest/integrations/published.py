"""What other parts may ask of integrations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cloud_ingest.integrations.circuits import Line, note_call, read_circuit
from cloud_ingest.integrations.rules import Failure
from connectors.model.errors import LinesideError
from connectors.ports.database import Session
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain

__all__ = [
    "Line",
    "PublishedPayment",
    "PublishedShipment",
    "is_well",
    "note_try",
    "payments_of",
    "shipments_of",
]


@dataclass(frozen=True, slots=True)
class PublishedPayment:
    """A payment of an order as it stands: ``refunded`` is never more than ``captured``."""

    payment: str
    order: str
    request: str
    state: str
    amount: Decimal
    captured: Decimal
    refunded: Decimal
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class PublishedShipment:
    """A shipment of an order, and where it is."""

    shipment: str
    order: str
    state: str
    carrier: str
    tracking: str
    label_url: str
    changed: datetime


async def payments_of(session: Session, tenant_id: int, order: str) -> tuple[PublishedPayment, ...]:
    """The payments of ``order``, the oldest first."""
    rows = await session.fetch(
        "SELECT payment_id AS payment, order_id AS order, request, state, amount, captured, refunded, currency, reason "
        "FROM payment WHERE tenant_id = $1 AND order_id = $2 ORDER BY payment_id",
        tenant_id,
        order,
    )
    return tuple(PublishedPayment(**dict(row)) for row in rows)


async def shipments_of(session: Session, tenant_id: int, order: str) -> tuple[PublishedShipment, ...]:
    """The shipments of ``order``, the oldest first."""
    rows = await session.fetch(
        "SELECT shipment_id AS shipment, order_id AS order, state, carrier, tracking, label_url, changed "
        "FROM shipment WHERE tenant_id = $1 AND order_id = $2 ORDER BY created, shipment_id",
        tenant_id,
        order,
    )
    return tuple(PublishedShipment(**dict(row)) for row in rows)


async def note_try(session: Session, way: Line, error: LinesideError | None, now_ns: int) -> None:
    """Write down in the circuit breaker of ``way`` (``email``, ``chat:ops``) how it went: ``None`` when well."""
    match error:
        case None:
            failure = None
        case CallRefused():
            failure = Failure.REFUSED
        case AccessRefused():
            failure = Failure.ACCESS
        case CallUncertain():
            failure = Failure.UNCERTAIN
        case _:
            failure = Failure.UNAVAILABLE
    await note_call(session, way, failure, "" if error is None else str(error), now_ns)


async def is_well(session: Session, way: Line) -> bool:
    """Whether the circuit breaker of ``way`` is closed, as all processes see it."""
    return not (await read_circuit(session, way)).openings
