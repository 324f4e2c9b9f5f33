"""Shipping by ShipEngine (ShipStation API v1): rates, labels, tracking, and signed webhooks.

A label has our key as the ``external_shipment_id`` of its shipment, by which it is found again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

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
from connectors.ports.vendors import REPLAY_WINDOW_S, CallUncertain, Headers, WebhookRefused
from connectors.vendor_http.client import NotFound, VendorHttp

_STATES: Final[Mapping[str, TrackingState]] = {
    "AC": TrackingState.CREATED,
    "NY": TrackingState.CREATED,
    "UN": TrackingState.CREATED,
    "IT": TrackingState.IN_TRANSIT,
    "AT": TrackingState.EXCEPTION,
    "EX": TrackingState.EXCEPTION,
    "DE": TrackingState.DELIVERED,
    "SP": TrackingState.DELIVERED,
}
"""Accepted, not yet, unknown; in transit; delivery attempt, exception; delivered, to a collection point."""
_KG: Final = "kilogram"
_SIGNATURE: Final = "x-shipengine-rsa-sha256-signature"
_KEY_ID: Final = "x-shipengine-rsa-sha256-key-id"
_TIMESTAMP: Final = "x-shipengine-timestamp"
_MS_PER_S: Final = 1000
_SECONDS_MAX: Final = 100_000_000_000
"""A greater time is in milliseconds."""


@dataclass(frozen=True, slots=True)
class ShipEngineOptions:
    """``carriers`` are asked for rates (``se-…``); ``carrier`` and ``service`` are used where nobody names another."""

    api_key: str
    sender: Address
    carriers: Sequence[str]
    service: str
    url: str = "https://api.shipengine.com"
    track_every_s: float = 900.0


class ShipEngine:
    """See ``Shipping``."""

    name = "shipengine"

    def __init__(self, options: ShipEngineOptions) -> None:
        self._options = options
        self._http = VendorHttp("ShipEngine", options.url, {"API-Key": options.api_key})
        self._keys: dict[str, RSAPublicNumbers] = {}

    async def rates(self, to: Address, parcels: Sequence[Parcel]) -> Sequence[Rate]:
        """See ``Shipping``: an estimate for the weight of all parcels together."""
        sender = self._options.sender
        body = {
            "carrier_ids": list(self._options.carriers),
            "from_country_code": sender.country,
            "from_postal_code": sender.postal_code,
            "from_city_locality": sender.city,
            "from_state_province": sender.region or sender.city,
            "to_country_code": to.country,
            "to_postal_code": to.postal_code,
            "to_city_locality": to.city,
            "to_state_province": to.region or to.city,
            "weight": {"value": sum((parcel.weight_kg for parcel in parcels), Decimal(0)), "unit": _KG},
            "confirmation": "none",
            "address_residential_indicator": "unknown",
            "ship_date": f"{datetime.now(UTC):%Y-%m-%dT00:00:00Z}",
        }
        if len(parcels) == 1 and (dimensions := _dimensions(parcels[0])) is not None:
            body["dimensions"] = dimensions
        answer = await self._http.ask("POST", "/v1/rates/estimate", body)
        return sorted((_rate(one) for one in answer), key=lambda rate: rate.amount)

    async def buy(self, request: ShipmentRequest) -> Label:
        """See ``Shipping``."""
        shipment = {
            **self._shipment(request.to, request.parcels),
            "external_shipment_id": request.key,
            "external_order_id": request.order,
            "service_code": request.service or self._options.service,
            "carrier_id": self._options.carriers[0],
        }
        body = {
            "shipment": shipment,
            "label_format": "pdf",
            "label_layout": "4x6",
            "validate_address": "no_validation",
        }
        return _label(await self._http.ask("POST", "/v1/labels", body), request.key)

    async def find(self, request: ShipmentRequest) -> Label | None:
        """See ``Shipping``."""
        try:
            found = await self._http.ask("GET", f"/v1/labels/external_shipment_id/{request.key}")
        except NotFound:
            return None
        return None if found.get("voided") else _label(found, request.key)

    async def cancel(self, label_id: str) -> bool:
        """See ``Shipping``."""
        answer = await self._http.ask("PUT", f"/v1/labels/{label_id}/void")
        return bool(answer["approved"])

    async def track(self, label_id: str) -> Tracking:
        """See ``Shipping``."""
        return self._tracking(await self._http.ask("GET", f"/v1/labels/{label_id}/track"), label_id)

    async def news(self, body: bytes, headers: Headers, now_s: float) -> ShippingNews:
        """See ``Shipping``: docs.shipstation.com, "Webhook Validation"."""
        await self._check_signature(body, headers, now_s)
        try:
            event = json.loads(body, parse_float=Decimal)
            kind, data = str(event["resource_type"]), event.get("data") or {}
            tracking = None
            if kind == "API_TRACK":
                label = str(data.get("label_id") or "")
                tracking = self._tracking(data, label)
            signature = headers[_SIGNATURE][
                :64
            ]  # webhooks have no id of their own; one that comes again is signed anew
            told = f"{tracking.tracking} {data.get('status_code')}" if tracking is not None else signature
            return ShippingNews(f"{kind} {told} {len(data.get('events') or ())}", kind, tracking)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise WebhookRefused(f"it is no event of ShipEngine: {type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """See ``Shipping``."""
        await self._http.close()

    async def _check_signature(self, body: bytes, headers: Headers, now_s: float) -> None:
        """RSA (PKCS #1 v1.5) with SHA-256 over time, a full stop, and the body; the keys are ShipEngine's JWKS."""
        time, given = headers.get(_TIMESTAMP, ""), headers.get(_SIGNATURE, "")
        if not time.isdecimal() or abs(now_s - _seconds(time)) > REPLAY_WINDOW_S:
            raise WebhookRefused(f"it was not signed within {REPLAY_WINDOW_S} s of now")
        key = await self._key(headers.get(_KEY_ID, ""))
        try:
            signature = base64.b64decode(given, validate=True)
            key.public_key().verify(signature, time.encode() + b"." + body, padding.PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error, ValueError) as exc:
            raise WebhookRefused("the signature is not ShipEngine's") from exc

    async def _key(self, key_id: str) -> RSAPublicNumbers:
        if key_id not in self._keys:
            answer = await self._http.ask("GET", "/jwks")
            self._keys = {str(one["kid"]): _rsa(one) for one in answer["keys"] if one.get("kty") == "RSA"}
        if key_id not in self._keys:
            raise WebhookRefused("the key that signed it is none of ShipEngine's")
        return self._keys[key_id]

    def _shipment(self, to: Address, parcels: Sequence[Parcel]) -> dict[str, Any]:
        sender = _address(self._options.sender)
        return {
            "ship_date": f"{datetime.now(UTC):%Y-%m-%dT00:00:00Z}",
            "ship_to": _address(to),
            "ship_from": sender,
            "return_to": sender,
            "warehouse_id": None,
            "confirmation": "none",
            "customs": None,
            "advanced_options": {},
            "insurance_provider": "none",
            "packages": [_package(parcel) for parcel in parcels],
        }

    def _tracking(self, answer: Mapping[str, Any], label_id: str) -> Tracking:
        state = _STATES.get(str(answer.get("status_code") or "UN").upper(), TrackingState.CREATED)
        text = str(answer.get("exception_description") or answer.get("status_description") or "")
        tracking = str(answer.get("tracking_number") or "")
        return Tracking(label_id, tracking, state, text[:500], self._options.track_every_s)


def _seconds(text: str) -> float:
    number = int(text[:16])
    return number / _MS_PER_S if number > _SECONDS_MAX else float(number)


def _rsa(key: Mapping[str, str]) -> RSAPublicNumbers:
    """A public key of RFC 7518, section 6.3.1."""
    n, e = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "==")) for name in ("n", "e"))
    return RSAPublicNumbers(e, n)


def _address(address: Address) -> dict[str, str]:
    said = {
        "name": address.name,
        "phone": address.phone or "000-000-0000",
        "company_name": address.company,
        "address_line1": address.line1,
        "address_line2": address.line2,
        "city_locality": address.city,
        "state_province": address.region,
        "postal_code": address.postal_code,
        "country_code": address.country,
        "address_residential_indicator": "unknown",
    }
    return {name: value for name, value in said.items() if value}


def _package(parcel: Parcel) -> dict[str, Any]:
    package: dict[str, Any] = {"weight": {"value": parcel.weight_kg, "unit": _KG}}
    dimensions = _dimensions(parcel)
    return package if dimensions is None else {**package, "dimensions": dimensions}


def _dimensions(parcel: Parcel) -> dict[str, Any] | None:
    if not (parcel.length_cm and parcel.width_cm and parcel.height_cm):
        return None
    sizes = {"length": parcel.length_cm, "width": parcel.width_cm, "height": parcel.height_cm}
    return {"unit": "centimeter", **sizes}


def _rate(rate: Mapping[str, Any]) -> Rate:
    parts = [rate[name] for name in ("shipping_amount", "insurance_amount", "confirmation_amount", "other_amount")]
    amount = sum((Decimal(str(part["amount"])) for part in parts), Decimal(0))
    days = rate.get("delivery_days")
    return Rate(
        str(rate["carrier_code"]),
        str(rate["service_code"]),
        amount,
        str(parts[0]["currency"]).upper(),
        None if days is None else int(days),
    )


def _label(label: Mapping[str, Any], key: str) -> Label:
    if label.get("status") == "error":
        raise CallUncertain("ShipEngine has made a label with an error; look at it there")
    cost = label["shipment_cost"]
    download = label.get("label_download") or {}
    return Label(
        id=str(label["label_id"]),
        key=key,
        tracking=str(label.get("tracking_number") or ""),
        carrier=str(label.get("carrier_code") or ""),
        service=str(label.get("service_code") or ""),
        label_url=str(download.get("pdf") or download.get("href") or ""),
        cost=Decimal(str(cost["amount"])),
        currency=str(cost["currency"]).upper(),
    )
