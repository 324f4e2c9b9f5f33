"""What integrations tell on ``lineside.integration-events.v1``; the key is the order, or what else it is about.

Payments, refunds and shipments are known to who has asked by the keys that the question had:

- ``payment-pending``, ``payment-captured``, ``payment-failed``, ``payment-cancelled``: ``order``, ``request`` (of
  ``payment-requested``), ``payment`` (ours: name it in ``refund-requested``), ``amount``, ``currency``, ``reason``;
- ``refunded``, ``refund-failed``: ``order``, ``request`` (of ``refund-requested``), ``payment``, ``amount``,
  ``currency``, ``reason``;
- ``refunded-elsewhere``: the same, with a ``request`` that nobody has made; ``payment-disputed``: ``request`` (the
  dispute), ``state`` (``open``, ``won``, ``lost``), and the same;
- ``shipment-created``, ``shipment-failed``, ``shipment-cancelled``: ``order``, ``shipment`` (of
  ``shipment-requested``), ``tracking``, ``carrier``, ``label_url``, ``cost``, ``currency``, ``reason``;
- ``tracking-changed``: ``order``, ``shipment``, ``tracking``, ``state`` (``in-transit``, ``delivered`` …), ``text``;
- ``crm-customer-changed``: ``customer``, ``crm``, ``name``, ``email``, ``phone``, ``company``;
- ``crm-deal-changed``: ``order``, ``crm``, ``stage``, ``amount``; ``crm-interaction``: ``customer``, ``crm``, ``text``;
- ``call-gave-up``: ``call``, ``vendor``, ``kind``, ``about``, ``reason``: a person has to look at it;
- ``webhook-disabled``: ``endpoint``, ``url``, ``reason``.

An answer is told once, and again when the same is asked again. Amounts are strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import INTEGRATION_EVENTS

_PREFIX: Final = "lineside.integrations."


class Told(StrEnum):
    """The types of events, without ``lineside.integrations.`` and version."""

    PAYMENT_PENDING = "payment-pending"
    """The customer has to do something, or the bank takes its time."""
    PAYMENT_CAPTURED = "payment-captured"
    PAYMENT_FAILED = "payment-failed"
    PAYMENT_CANCELLED = "payment-cancelled"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund-failed"
    REFUNDED_ELSEWHERE = "refunded-elsewhere"
    """At the vendor's own page, or by the bank of a customer who has disputed the payment: nobody here has asked."""
    PAYMENT_DISPUTED = "payment-disputed"
    SHIPMENT_CREATED = "shipment-created"
    SHIPMENT_FAILED = "shipment-failed"
    SHIPMENT_CANCELLED = "shipment-cancelled"
    TRACKING_CHANGED = "tracking-changed"
    CRM_CUSTOMER_CHANGED = "crm-customer-changed"
    CRM_DEAL_CHANGED = "crm-deal-changed"
    CRM_INTERACTION = "crm-interaction"
    CALL_GAVE_UP = "call-gave-up"
    WEBHOOK_DISABLED = "webhook-disabled"


def event_type(what: Told) -> str:
    """Such as ``lineside.integrations.payment-captured.v1``."""
    return f"{_PREFIX}{what.value}.v1"


TYPES: Final[Mapping[str, Told]] = {event_type(what): what for what in Told}


def integration_event(tenant_id: int, key: str, what: Told, time_ns: int, data: Mapping[str, Any]) -> DomainEvent:
    """The event that ``what`` has become of what ``key`` names."""
    return DomainEvent(INTEGRATION_EVENTS, event_type(what), tenant_id, key, time_ns, dict(data))
