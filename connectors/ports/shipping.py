"""The port to whoever carries parcels (ShipEngine, or the carrier that Lineside brings for demonstration and tests)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from connectors.ports.vendors import Headers


class TrackingState(StrEnum):
    """Where a shipment is, in the order in which that goes."""

    CREATED = "created"
    """The label is there, the parcel is not with the carrier yet."""
    IN_TRANSIT = "in-transit"
    EXCEPTION = "exception"
    """It is late, refused, or nobody was there: it may go on."""
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Address:
    """Where something goes, or comes from. ``country`` as ISO 3166-1 alpha-2."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    line2: str = ""
    region: str = ""
    company: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A box; sizes of 0 are not known."""

    weight_kg: Decimal
    length_cm: Decimal = Decimal(0)
    width_cm: Decimal = Decimal(0)
    height_cm: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class ShipmentRequest:
    """``key`` is what the carrier knows the shipment by: one label is bought for it, however often it is asked."""

    key: str
    order: str
    to: Address
    parcels: Sequence[Parcel]
    service: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a service costs."""

    carrier: str
    service: str
    amount: Decimal
    currency: str
    days: int | None
    """Until delivery, where the carrier says so."""


@dataclass(frozen=True, slots=True)
class Label:
    """A shipment that was bought. ``id`` is the vendor's."""

    id: str
    key: str
    tracking: str
    carrier: str
    service: str
    label_url: str
    cost: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a shipment is. ``look_again_s`` as of ``payments.Payment``."""

    label_id: str
    tracking: str
    state: TrackingState
    text: str = ""
    look_again_s: float = 900.0


@dataclass(frozen=True, slots=True)
class ShippingNews:
    """What a webhook tells; without ``tracking`` it is about something that Lineside does not use."""

    event: str
    kind: str
    tracking: Tracking | None = None


class Shipping(Protocol):
    """Every coroutine raises ``VendorUnavailable``, ``CallUncertain``, ``CallRefused`` or ``AccessRefused``.

    ``buy`` is called as ``PaymentGateway.pay`` is: made durable before, and looked for with ``find`` before it is
    repeated.
    """

    @property
    def name(self) -> str:
        """Such as ``shipengine``."""
        ...

    async def rates(self, to: Address, parcels: Sequence[Parcel]) -> Sequence[Rate]:
        """What it would cost, the cheapest first."""
        ...

    async def buy(self, request: ShipmentRequest) -> Label:
        """Buy the label."""
        ...

    async def find(self, request: ShipmentRequest) -> Label | None:
        """The label that was bought for ``request.key``; ``None`` when there is none."""
        ...

    async def cancel(self, label_id: str) -> bool:
        """Give a label back; false when it is too late for that."""
        ...

    async def track(self, label_id: str) -> Tracking:
        """Where the shipment is."""
        ...

    async def news(self, body: bytes, headers: Headers, now_s: float) -> ShippingNews:
        """What a webhook says. Raises ``WebhookRefused`` unless it is signed, and lately; and ``VendorUnavailable``."""
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...
