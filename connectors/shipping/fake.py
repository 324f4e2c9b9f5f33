"""A carrier that is built in: for the demonstration, and for tests of what a vendor remembers. Nothing is carried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from connectors.ports.clock import Clock
from connectors.ports.shipping import (
    Address,
    Label,
    Parcel,
    Rate,
    ShipmentRequest,
    ShippingNews,
    Tracking,
    TrackingState,
)
from connectors.ports.vendors import CallRefused, Headers, VendorMemory, WebhookRefused

_BASE: Final = Decimal("4.90")
_PER_KG: Final = Decimal("0.80")
_SERVICES: Final = {"economy": (Decimal(1), 4), "express": (Decimal("2.5"), 1)}


class FakeCarrier:
    """``transit_s``: so long after its label a shipment is on its way, and twice as long after it, delivered.

    Addresses in the country ``refuse_country`` cannot be reached.
    """

    name = "fake"

    def __init__(
        self, memory: VendorMemory, clock: Clock, *, transit_s: float = 5.0, refuse_country: str = "XX"
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._transit_s = transit_s
        self._refuse_country = refuse_country

    async def rates(self, to: Address, parcels: Sequence[Parcel]) -> Sequence[Rate]:
        """See ``Shipping``."""
        self._check(to)
        price = _price(parcels)
        return [
            Rate("fake", service, (price * factor).quantize(Decimal("0.01")), "EUR", days)
            for service, (factor, days) in _SERVICES.items()
        ]

    async def buy(self, request: ShipmentRequest) -> Label:
        """See ``Shipping``."""
        self._check(request.to)

        def make(known: dict[str, Any] | None) -> dict[str, Any]:
            if known is not None:
                return known
            digest = hashlib.sha256(request.key.encode()).hexdigest()
            return {
                "id": _id(request.key),
                "key": request.key,
                "tracking": f"LS{int(digest[:12], 16):015d}"[:15],
                "service": request.service or "economy",
                "cost": str(_price(request.parcels)),
                "made_ns": self._clock.now_ns(),
                "cancelled": False,
            }

        return _label(await self._memory.change(_id(request.key), make))

    async def find(self, request: ShipmentRequest) -> Label | None:
        """See ``Shipping``."""
        found = await self._memory.get(_id(request.key))
        return None if found is None or found["cancelled"] else _label(found)

    async def cancel(self, label_id: str) -> bool:
        """See ``Shipping``."""

        def give_back(known: dict[str, Any] | None) -> dict[str, Any]:
            if known is None:
                raise CallRefused(f"there is no label {label_id}", "unknown")
            if self._state(known) is TrackingState.CREATED:
                known["cancelled"] = True
            return known

        return bool((await self._memory.change(label_id, give_back))["cancelled"])

    async def track(self, label_id: str) -> Tracking:
        """See ``Shipping``."""
        known = await self._memory.get(label_id)
        if known is None:
            raise CallRefused(f"there is no label {label_id}", "unknown")
        state = self._state(known)
        return Tracking(label_id, known["tracking"], state, state.value, max(self._transit_s, 0.2))

    async def news(self, body: bytes, headers: Headers, now_s: float) -> ShippingNews:  # noqa: ARG002
        """See ``Shipping``: this carrier has no webhooks."""
        raise WebhookRefused("the built-in carrier sends no webhooks")

    async def close(self) -> None:
        """See ``Shipping``."""

    def _check(self, to: Address) -> None:
        if to.country == self._refuse_country:
            raise CallRefused(f"nothing is carried to {to.country}", "address")

    def _state(self, known: Mapping[str, Any]) -> TrackingState:
        if known["cancelled"]:
            return TrackingState.CANCELLED
        since_s = (self._clock.now_ns() - int(known["made_ns"])) / 1e9
        if since_s >= 2 * self._transit_s:
            return TrackingState.DELIVERED
        return TrackingState.IN_TRANSIT if since_s >= self._transit_s else TrackingState.CREATED


def _id(key: str) -> str:
    return f"label_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _price(parcels: Sequence[Parcel]) -> Decimal:
    return sum((_BASE + _PER_KG * parcel.weight_kg for parcel in parcels), Decimal(0)).quantize(Decimal("0.01"))


def _label(known: Mapping[str, Any]) -> Label:
    data = json.dumps({"tracking": known["tracking"]})
    url = f"data:application/json,{data}"
    return Label(
        known["id"], known["key"], known["tracking"], "fake", known["service"], url, Decimal(known["cost"]), "EUR"
    )
