"""Customers, deals and interactions in HubSpot, by its CRM API (developers.hubspot.com, CRM v3).

A contact is found by a unique property with our customer, else by its e-mail address; a deal by one with the order.
Both properties are made once in HubSpot ("has unique value"). Notes have our key in their text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connectors.ports.crm import CrmChange, CrmCustomer, CrmDeal, CrmInteraction
from connectors.ports.vendors import REPLAY_WINDOW_S, Headers, WebhookRefused
from connectors.vendor_http.client import AlreadyThere, NotFound, VendorHttp

PAGE: Final = 100
CHANGES_MAX: Final = 5000
"""Of each kind at once; HubSpot's search goes no further than 10,000."""
EVENTS_MAX: Final = 1000
_TO_CONTACT: Final = {"note": 202, "deal": 3}
_NOTE_TO_DEAL: Final = 214
"""Association types that HubSpot defines: developers.hubspot.com, "Associations v4", association type id values."""
_DECODED: Final = {"%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(",
                   "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HubSpotOptions:
    """``access_token`` of a private app; ``client_secret`` signs its webhooks."""

    access_token: str
    client_secret: str = ""
    customer_property: str = "lineside_customer"
    order_property: str = "lineside_order"
    url: str = "https://api.hubapi.com"


class HubSpot:
    """See ``Crm``."""

    name = "hubspot"

    def __init__(self, options: HubSpotOptions) -> None:
        self._options = options
        authorization = {"Authorization": f"Bearer {options.access_token}"}
        self._http = VendorHttp("HubSpot", options.url, authorization)

    async def put_customer(self, customer: CrmCustomer) -> str:
        """See ``Crm``."""
        first, _, last = customer.name.rpartition(" ")
        said = {
            self._options.customer_property: customer.key,
            "email": customer.email,
            "phone": customer.phone,
            "company": customer.company,
            "firstname": first,
            "lastname": last,
        }
        properties = {name: value for name, value in said.items() if value}
        known = await self._patched("contacts", customer.key, self._options.customer_property, properties)
        if known is None and customer.email:  # it may be there already, by somebody's hand
            known = await self._patched("contacts", customer.email, "email", properties)
        return known or await self._posted("contacts", properties, customer.key, self._options.customer_property)

    async def put_deal(self, deal: CrmDeal) -> str:
        """See ``Crm``."""
        properties = {
            self._options.order_property: deal.key,
            "dealname": deal.name,
            "dealstage": deal.stage,
            "pipeline": "default",
            "amount": str(deal.amount),
        }
        known = await self._patched("deals", deal.key, self._options.order_property, properties)
        if known is not None:
            return known
        to = [_association(deal.customer, _TO_CONTACT["deal"])] if deal.customer else []
        return await self._posted("deals", properties, deal.key, self._options.order_property, to)

    async def add_interaction(self, interaction: CrmInteraction) -> str:
        """See ``Crm``."""
        query = {
            "filterGroups": [{"filters": [_filter("hs_note_body", "CONTAINS_TOKEN", interaction.key)]}],
            "properties": ["hs_note_body"],
            "limit": 1,
        }
        found = await self._http.ask("POST", "/crm/v3/objects/notes/search", query)
        for note in found["results"]:
            if interaction.key in str(note["properties"].get("hs_note_body") or ""):
                return str(note["id"])
        to = [_association(interaction.customer, _TO_CONTACT["note"])] if interaction.customer else []
        to += [_association(interaction.deal, _NOTE_TO_DEAL)] if interaction.deal else []
        body = {
            "properties": {
                "hs_timestamp": f"{interaction.time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}",
                "hs_note_body": f"{html.escape(interaction.text)}<br>{interaction.key}",
            },
            "associations": to,
        }
        return str((await self._http.ask("POST", "/crm/v3/objects/notes", body))["id"])

    async def changes(self, since: datetime) -> Sequence[CrmChange]:
        """See ``Crm``."""
        options, found = self._options, []
        contact = ["firstname", "lastname", "email", "phone", "company", options.customer_property]
        for one in await self._changed("contacts", "lastmodifieddate", contact, since):
            has = _Properties(one)
            name = f"{has.text('firstname')} {has.text('lastname')}".strip()
            key = has.text(options.customer_property)
            customer = CrmCustomer(key, name, has.text("email"), has.text("phone"), has.text("company"))
            found.append(has.change("lastmodifieddate", customer))
        deal = ["dealname", "dealstage", "amount", "deal_currency_code", options.order_property]
        for one in await self._changed("deals", "hs_lastmodifieddate", deal, since):
            has = _Properties(one)
            amount, currency = has.number("amount"), has.text("deal_currency_code")
            told = CrmDeal(
                has.text(options.order_property), has.text("dealname"), has.text("dealstage"), amount, currency
            )
            found.append(has.change("hs_lastmodifieddate", told))
        for one in await self._changed("notes", "hs_lastmodifieddate", ["hs_note_body"], since):
            has = _Properties(one)
            text = has.text("hs_note_body")
            note = CrmInteraction("", text[:5000], has.time("hs_lastmodifieddate"))
            found.append(has.change("hs_lastmodifieddate", note))
        return _without_holes(found)

    def news(self, method: str, url: str, body: bytes, headers: Headers, now_s: float) -> Sequence[str]:
        """See ``Crm``: ``X-HubSpot-Signature-v3``, developers.hubspot.com, "Validating requests"."""
        if not self._options.client_secret:
            raise WebhookRefused("there is no 'client_secret' in the settings, so no webhook of HubSpot is believed")
        time = headers.get("x-hubspot-request-timestamp", "")
        if not time.isdecimal() or abs(now_s - int(time[:16]) / 1000) > REPLAY_WINDOW_S:
            raise WebhookRefused(f"it was not signed within {REPLAY_WINDOW_S} s of now")
        given = headers.get("x-hubspot-signature-v3", "")
        expected = signature(self._options.client_secret, method, url, body, time)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise WebhookRefused("the signature is not HubSpot's")
        try:
            return [f"{event['eventId']} {event['subscriptionType']}"[:200] for event in json.loads(body)][:EVENTS_MAX]
        except (ValueError, KeyError, TypeError) as exc:
            raise WebhookRefused(f"these are no events of HubSpot: {type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """See ``Crm``."""
        await self._http.close()

    async def _patched(self, kind: str, key: str, by: str, properties: Mapping[str, str]) -> str | None:
        """The id of the object whose property ``by`` is ``key``, once it has ``properties``; ``None``: no such."""
        try:
            path = f"/crm/v3/objects/{kind}/{_in_path(key)}"
            answer = await self._http.ask("PATCH", path, {"properties": properties}, {"idProperty": by})
        except NotFound:
            return None
        return str(answer["id"])

    async def _posted(
        self, kind: str, properties: Mapping[str, str], key: str, by: str, to: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        body = {"properties": properties, "associations": list(to)}
        try:
            return str((await self._http.ask("POST", f"/crm/v3/objects/{kind}", body))["id"])
        except AlreadyThere:  # somebody was faster
            known = await self._patched(kind, key, by, properties)
            if known is None:
                raise
            return known

    async def _changed(self, kind: str, by: str, properties: Sequence[str], since: datetime) -> list[Mapping[str, Any]]:
        query: dict[str, Any] = {
            "filterGroups": [{"filters": [_filter(by, "GTE", str(round(since.timestamp() * 1000)))]}],
            "sorts": [{"propertyName": by, "direction": "ASCENDING"}],
            "properties": [*properties, by],
            "limit": PAGE,
        }
        found: list[Mapping[str, Any]] = []
        while True:
            answer = await self._http.ask("POST", f"/crm/v3/objects/{kind}/search", query)
            found += answer["results"]
            following = ((answer.get("paging") or {}).get("next") or {}).get("after")
            if following is None or len(found) >= CHANGES_MAX:
                return found
            query["after"] = str(following)


class _Properties:
    """The properties of an object as HubSpot answers it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._id = str(document["id"])
        self._properties: Mapping[str, Any] = document.get("properties") or {}
        self._updated = str(document.get("updatedAt") or "")

    def text(self, name: str) -> str:
        return str(self._properties.get(name) or "")

    def number(self, name: str) -> Decimal:
        try:
            return Decimal(self.text(name) or "0")
        except InvalidOperation:
            return Decimal(0)

    def time(self, name: str) -> datetime:
        for text in (self.text(name), self._updated):
            try:
                return datetime.fromisoformat(text).astimezone(UTC)
            except ValueError:
                continue
        return datetime.fromtimestamp(0, UTC)

    def change(self, by: str, of: CrmCustomer | CrmDeal | CrmInteraction) -> CrmChange:
        return CrmChange(self._id, self.time(by), of)


def _without_holes(found: list[CrmChange]) -> list[CrmChange]:
    """``found`` up to where each kind was read: who asks again begins at the newest change of all of them."""
    kinds: dict[type, list[datetime]] = {}
    for one in found:
        kinds.setdefault(type(one.of), []).append(one.changed)
    ends = [max(times) for times in kinds.values() if len(times) >= CHANGES_MAX]
    return [one for one in found if one.changed <= min(ends)] if ends else found


def signature(secret: str, method: str, url: str, body: bytes, time: str) -> str:
    """Base64 of HMAC-SHA256 over method, URL (with some characters decoded), body and time."""
    for code, char in _DECODED.items():
        url = url.replace(code, char).replace(code.lower(), char)
    signed = method.encode() + url.encode() + body + time.encode()
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _association(to: str, kind: int) -> dict[str, Any]:
    return {"to": {"id": to}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": kind}]}


def _in_path(text: str) -> str:
    return "".join(_encoded(text))


def _encoded(text: str) -> Iterator[str]:
    for byte in text.encode():
        char = chr(byte)
        yield char if char.isascii() and (char.isalnum() or char in "-._~@") else f"%{byte:02X}"
