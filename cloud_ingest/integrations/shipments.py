"""Shipments as they stand, and the calls to the carrier: to buy a label, to give it back, and to see where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.integrations.calls import Again, Call, CallKind, add_call, asked_after, hurry, time_of
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.integrations.rules import REQUESTED, tracking_leads_on
from connectors.ports.clock import Clock
from connectors.ports.database import Row, Session
from connectors.ports.shipping import Address, Label, Parcel, ShipmentRequest, Shipping, Tracking, TrackingState
from connectors.ports.vendors import CallRefused

PARCELS_MAX: Final = 100
WEIGHT_KG_UNLESS_SAID: Final = Decimal(1)
TEXT_MAX: Final = 200
FOLLOWED_DAYS: Final = 90
"""A parcel that has not arrived by then is not asked after any more; webhooks are taken all the same."""
_MOVES: Final = frozenset({"created", "in-transit", "exception"})


async def locked_shipment(session: Session, tenant_id: int, shipment_id: str) -> Row | None:
    """The shipment, locked to the end of the transaction."""
    rows = await session.fetch(
        "SELECT * FROM shipment WHERE tenant_id = $1 AND shipment_id = $2 FOR UPDATE", tenant_id, shipment_id
    )
    return rows[0] if rows else None


def shipment_event(row: Mapping[str, Any], what: Told, now_ns: int, reason: str = "") -> DomainEvent:
    """What is told of a shipment as it stands."""
    told = {
        "order": row["order_id"],
        "shipment": row["shipment_id"],
        "tracking": row["tracking"],
        "carrier": row["carrier"],
        "label_url": row["label_url"],
        "cost": "" if row["cost"] is None else str(row["cost"]),
        "currency": row["currency"],
        "reason": reason,
    }
    return integration_event(row["tenant_id"], row["order_id"], what, now_ns, told)


async def take_tracking(work: UnitOfWork, clock: Clock, row: Row, told: Tracking) -> None:
    """Write down where the locked shipment ``row`` is, and tell of it."""
    if row["state"] not in _MOVES or not tracking_leads_on(row["state"], told.state):
        return
    now_ns = clock.now_ns()
    await work.session.execute(
        "UPDATE shipment SET state = $3, changed = $4 WHERE tenant_id = $1 AND shipment_id = $2",
        row["tenant_id"],
        row["shipment_id"],
        told.state.value,
        time_of(now_ns),
    )
    data = {
        "order": row["order_id"],
        "shipment": row["shipment_id"],
        "tracking": row["tracking"],
        "state": told.state.value,
        "text": told.text,
    }
    work.announce(integration_event(row["tenant_id"], row["order_id"], Told.TRACKING_CHANGED, now_ns, data))


def shipping_kinds(shipping: Shipping, clock: Clock) -> Mapping[tuple[str, str], CallKind]:
    """What calls to ``shipping`` do, by port and kind."""
    return {
        ("shipping", "buy"): Buy(shipping, clock),
        ("shipping", "track"): Track(shipping, clock),
        ("shipping", "cancel"): GiveLabelBack(shipping, clock),
    }


@dataclass(frozen=True, slots=True)
class Buy:
    """Buy a label, once: by the shipment's id."""

    shipping: Shipping
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        rows = await session.fetch(
            "SELECT state, withdrawn FROM shipment WHERE tenant_id = $1 AND shipment_id = $2",
            call.tenant_id,
            call.about,
        )
        return bool(rows) and rows[0]["state"] == REQUESTED and not rows[0]["withdrawn"]

    async def ask(self, call: Call, *, is_wanted: bool) -> Label | None:
        """See ``CallKind``."""
        request = request_of(call.about, call.request)
        if call.may_be_done and (found := await asked_after(self.shipping.find(request))) is not None:
            return found
        return await self.shipping.buy(request) if is_wanted else None

    async def take(self, work: UnitOfWork, call: Call, answer: Label) -> Again | None:
        """See ``CallKind``."""
        row = await locked_shipment(work.session, call.tenant_id, call.about)
        if row is None or row["state"] != REQUESTED:
            return None
        now_ns = self.clock.now_ns()
        known = {
            **row,
            "carrier": answer.carrier,
            "tracking": answer.tracking,
            "label_url": answer.label_url,
            "cost": round(answer.cost, 2),
            "currency": answer.currency,
        }
        await work.session.execute(
            "UPDATE shipment SET state = 'created', carrier = $3, service = $4, tracking = $5, label_url = $6, "
            "cost = $7, currency = $8, vendor = $9, vendor_id = $10, changed = $11 "
            "WHERE tenant_id = $1 AND shipment_id = $2",
            call.tenant_id,
            call.about,
            answer.carrier,
            answer.service,
            answer.tracking,
            answer.label_url,
            known["cost"],
            answer.currency,
            self.shipping.name,
            answer.id,
            time_of(now_ns),
        )
        if row["withdrawn"]:
            await self._add(work.session, call, "cancel", answer.id, 0.0)
            return None
        work.announce(shipment_event(known, Told.SHIPMENT_CREATED, now_ns))
        await self._add(work.session, call, "track", answer.id, 0.5)
        return None

    async def _add(self, session: Session, call: Call, kind: str, vendor_id: str, after_s: float) -> None:
        await add_call(
            session,
            self.clock,
            tenant_id=call.tenant_id,
            port="shipping",
            kind=kind,
            about=call.about,
            request={"vendor_id": vendor_id},
            after_s=after_s,
        )

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``."""
        await end_shipment(work, self.clock, call, "failed", Told.SHIPMENT_FAILED, reason)

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""
        why = "it was taken back before it was asked for"
        await end_shipment(work, self.clock, call, "cancelled", Told.SHIPMENT_CANCELLED, why)


@dataclass(frozen=True, slots=True)
class GiveLabelBack:
    """Give a label back that nobody wants any more."""

    shipping: Shipping
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        return await _is(session, call, frozenset({"created"}))

    async def ask(self, call: Call, *, is_wanted: bool) -> bool | None:
        """See ``CallKind``."""
        return await self.shipping.cancel(str(call.request["vendor_id"])) if is_wanted else None

    async def take(self, work: UnitOfWork, call: Call, answer: bool) -> Again | None:
        """See ``CallKind``."""
        if answer:
            await end_shipment(work, self.clock, call, "cancelled", Told.SHIPMENT_CANCELLED, "the label was given back")
        elif not await hurry(work.session, self.clock, call.tenant_id, call.about, "track"):
            # it may be on its way all the same: then somebody has to know
            await add_call(
                work.session,
                self.clock,
                tenant_id=call.tenant_id,
                port="shipping",
                kind="track",
                about=call.about,
                request=call.request,
            )
        return None

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``: the label stays as it is."""

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""


@dataclass(frozen=True, slots=True)
class Track:
    """Ask where a shipment is, until it has arrived."""

    shipping: Shipping
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        return await _is(session, call, _MOVES)

    async def ask(self, call: Call, *, is_wanted: bool) -> Tracking | None:
        """See ``CallKind``."""
        return await self.shipping.track(str(call.request["vendor_id"])) if is_wanted else None

    async def take(self, work: UnitOfWork, call: Call, answer: Tracking) -> Again | None:
        """See ``CallKind``."""
        row = await locked_shipment(work.session, call.tenant_id, call.about)
        if row is not None:
            await take_tracking(work, self.clock, row, answer)
        since = None if row is None else time_of(self.clock.now_ns()) - row["created"]
        ended = answer.state in (TrackingState.DELIVERED, TrackingState.CANCELLED)
        return None if ended or since is None or since.days >= FOLLOWED_DAYS else Again(answer.look_again_s)

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``: where it is is not known any better."""

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""


async def end_shipment(work: UnitOfWork, clock: Clock, call: Call, state: str, what: Told, reason: str) -> None:
    """The shipment of ``call`` comes to nothing."""
    row = await locked_shipment(work.session, call.tenant_id, call.about)
    if row is None or row["state"] not in (REQUESTED, "created"):
        return
    now_ns = clock.now_ns()
    await work.session.execute(
        "UPDATE shipment SET state = $3, reason = $4, changed = $5 WHERE tenant_id = $1 AND shipment_id = $2",
        call.tenant_id,
        call.about,
        state,
        reason,
        time_of(now_ns),
    )
    work.announce(shipment_event(row, what, now_ns, reason))


async def _is(session: Session, call: Call, states: frozenset[str]) -> bool:
    rows = await session.fetch(
        "SELECT state FROM shipment WHERE tenant_id = $1 AND shipment_id = $2", call.tenant_id, call.about
    )
    return bool(rows) and rows[0]["state"] in states


# -- what orders say of address and parcels ----------------------------------------------------------------------------


def request_of(shipment_id: str, asked: Mapping[str, Any]) -> ShipmentRequest:
    """What is asked of the carrier. Raises ``CallRefused`` with a sentence when something of it is missing."""
    address, parcels = asked.get("address"), asked.get("parcels")
    if not isinstance(address, Mapping) or not isinstance(parcels, list):
        raise CallRefused("a shipment needs an address and parcels", "incomplete")
    if len(parcels) > PARCELS_MAX:
        raise CallRefused(f"{len(parcels)} parcels are more than the {PARCELS_MAX} that go at once", "parcels")
    boxes = [_parcel(one) for one in parcels] or [Parcel(WEIGHT_KG_UNLESS_SAID)]
    return ShipmentRequest(
        shipment_id, str(asked.get("order", "")), _address(address), boxes, str(asked.get("service") or "")
    )


def _address(given: Mapping[str, Any]) -> Address:
    def text(*names: str) -> str:
        return next((str(given[name])[:TEXT_MAX] for name in names if given.get(name)), "")

    lines = given.get("lines")
    more = [str(line)[:TEXT_MAX] for line in lines] if isinstance(lines, list) else []
    address = Address(
        name=text("name", "recipient", "company"),
        company=text("company"),
        line1=text("line1", "street", "address_line1") or (more[0] if more else ""),
        line2=text("line2", "street2", "address_line2") or (more[1] if len(more) > 1 else ""),
        city=text("city", "town"),
        postal_code=text("postal_code", "postcode", "zip"),
        region=text("region", "state"),
        country=text("country", "country_code").upper(),
        phone=text("phone"),
        email=text("email"),
    )
    missing = [name for name in ("name", "line1", "city", "country") if not getattr(address, name)]
    if missing:
        raise CallRefused(f"the address has no {', '.join(missing)}", "address")
    return address


def _parcel(given: Any) -> Parcel:
    if not isinstance(given, Mapping):
        raise CallRefused("a parcel is described by its weight and sizes", "parcels")
    return Parcel(
        _number(given, "weight_kg") or WEIGHT_KG_UNLESS_SAID,
        _number(given, "length_cm"),
        _number(given, "width_cm"),
        _number(given, "height_cm"),
    )


def _number(given: Mapping[str, Any], name: str) -> Decimal:
    try:
        number = Decimal(str(given.get(name) or 0))
    except InvalidOperation as exc:
        raise CallRefused(f"{name} of a parcel is {given[name]!r}, which is no number", "parcels") from exc
    if not number.is_finite() or number < 0:
        raise CallRefused(f"{name} of a parcel cannot be {number}", "parcels")
    return number
