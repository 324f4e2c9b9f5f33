"""What orders tell on ``lineside.order-events.v1``: one event for each step of an order, its key is the order.

Every event has ``order``, ``customer``, ``state``, ``currency``, ``total`` and ``lines`` (``line``, ``product``,
``quantity``, and what was reserved, produced, shipped, cancelled and returned of it), and by its type:

- ``payment-requested``: ``request``, ``amount``; ``payment-withdrawn``: ``request``;
- ``refund-requested``: ``request``, ``payment``, ``amount``; ``refund-withdrawn``: ``request``;
- ``shipment-requested``: ``shipment`` (ours), ``address``, ``parcels``; ``shipment-voided``: ``shipment``;
- ``shipped``, ``shipment-sent``, ``delivered``: ``shipment``, ``carrier``, ``tracking``;
- ``return-requested``: ``return``, ``reason``; ``cancel-requested``, ``cancelled``: ``reason``;
- ``stuck``: ``code``, ``text``, ``action``.

Who the customer is stands in no event, the address that a carrier is to go to apart: events stay in the log, and go to
other systems by webhooks. Payment, carrier and CRM ask ``published.contact`` for what each of them needs.

``request`` and ``shipment`` are keys for idempotent calls: the event comes again with the same one while nobody has
answered, and nothing may be done twice for it. Money and quantities are strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import ORDER_EVENTS

_PREFIX: Final = "lineside.orders."


class Told(StrEnum):
    """The types of events, without ``lineside.orders.`` and version."""

    QUOTED = "quoted"
    PLACED = "placed"
    PAYMENT_REQUESTED = "payment-requested"
    PAYMENT_WITHDRAWN = "payment-withdrawn"
    PAYMENT_RECEIVED = "payment-received"
    PAYMENT_FAILED = "payment-failed"
    PAID = "paid"
    RELEASED = "released"
    IN_PRODUCTION = "in-production"
    PROGRESSED = "progressed"
    PACKED = "packed"
    SHIPMENT_REQUESTED = "shipment-requested"
    SHIPMENT_VOIDED = "shipment-voided"
    SHIPMENT_SENT = "shipment-sent"
    """One of several has left; ``SHIPPED`` says that all have."""
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CLOSED = "closed"
    CANCEL_REQUESTED = "cancel-requested"
    CANCELLED = "cancelled"
    REFUND_REQUESTED = "refund-requested"
    REFUND_WITHDRAWN = "refund-withdrawn"
    """It was paid back by hand; the provider need not do it any more."""
    REFUNDED = "refunded"
    RETURN_REQUESTED = "return-requested"
    RETURN_REFUSED = "return-refused"
    RETURN_RECEIVED = "return-received"
    RETURNED = "returned"
    STUCK = "stuck"


def event_type(what: Told) -> str:
    """Such as ``lineside.orders.paid.v1``."""
    return f"{_PREFIX}{what.value}.v1"


TYPES: Final[Mapping[str, Told]] = {event_type(what): what for what in Told}


def order_event(tenant_id: int, order: str, what: Told, time_ns: int, data: Mapping[str, Any]) -> DomainEvent:
    """The event that ``order`` has come to ``what``."""
    return DomainEvent(ORDER_EVENTS, event_type(what), tenant_id, order, time_ns, {"order": order, **data})
