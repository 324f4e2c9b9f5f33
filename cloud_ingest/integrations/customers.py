"""Customers, deals and interactions in the CRM, both ways.

What becomes of an order goes there as a customer, a deal and notes. What people change there comes back as events; what
came from here does not come back, and so neither side tells the other what it has just heard from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import DomainEvent, ReadEvent
from cloud_ingest.integrations.accounts import EVERYBODY, Reach, account_tenant, reached, tenant_name
from cloud_ingest.integrations.calls import Again, Call, CallKind, add_call, time_of
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.orders import published as orders
from connectors.ports.clock import Clock
from connectors.ports.crm import Crm, CrmChange, CrmCustomer, CrmDeal, CrmInteraction
from connectors.ports.database import Database, Session

OVERLAP_S: Final = 60.0
"""HubSpot's search sees a change some seconds late: the end of the last look is looked at again."""
_PREFIX: Final = "lineside.orders."
_SENTENCES: Final[Mapping[str, str]] = {
    "placed": "Order {order} was placed",
    "paid": "Order {order} was paid",
    "payment-failed": "The payment of order {order} failed",
    "shipped": "Order {order} was shipped",
    "delivered": "Order {order} was delivered",
    "cancelled": "Order {order} was cancelled",
    "return-requested": "The customer wants to return something of order {order}",
    "returned": "Order {order} was returned",
}
"""What is noted with the customer."""


class OrdersTellCrm:
    """Takes the events of orders for the CRM. ``stages``: the deal stage for what becomes of an order.

    ``own`` are those of tenants with a CRM of their own, by their names; ``None``: the others have none.
    """

    def __init__(
        self, clock: Clock, stages: Mapping[str, str] | None, own: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._clock = clock
        self._stages = stages
        self._own = own or {}

    async def take(self, work: UnitOfWork, event: ReadEvent) -> None:
        """Take one event, in the transaction that moves the place in the log."""
        what = event.type.removeprefix(_PREFIX).removesuffix(".v1")
        stages = self._stages
        if self._own:
            stages = self._own.get(await tenant_name(work.session, event.tenant_id), stages)
        if stages is None or (what not in stages and what not in _SENTENCES):
            return
        customer = await _customer(work.session, event)
        if customer is None:
            return
        if (stage := stages.get(what)) is not None and not await _is_outdated(work.session, event):
            deal = {"stage": stage, "amount": str(event.data.get("total", "0")), "currency": event.data.get("currency")}
            await self._replace(work.session, event, "deal", {"customer": customer, "deal": deal})
        if (sentence := _SENTENCES.get(what)) is not None:
            text = sentence.format(order=event.key)
            if reason := str(event.data.get("reason") or ""):
                text += f": {reason[:500]}"
            known = await _link(work.session, event.tenant_id, "deal", event.key)
            note = {"text": text, "time_ns": event.time_ns, "deal": "" if known is None else known["vendor_id"]}
            await self._add(work.session, event, "interaction", {"customer": customer, "note": note})

    async def _replace(self, session: Session, event: ReadEvent, kind: str, request: Mapping[str, Any]) -> None:
        """What waited to be told of the same before is not told any more."""
        await session.execute(
            "UPDATE integration_call SET state = 'dropped', reason = 'something newer is told instead', changed = $4 "
            "WHERE call_id IN (SELECT call_id FROM integration_call WHERE tenant_id = $1 AND about = $2 AND kind = $3 "
            "AND state = 'waiting' FOR UPDATE SKIP LOCKED)",
            event.tenant_id,
            event.key,
            kind,
            time_of(self._clock.now_ns()),
        )
        await self._add(session, event, kind, request)

    async def _add(self, session: Session, event: ReadEvent, kind: str, request: Mapping[str, Any]) -> None:
        await add_call(
            session, self._clock, tenant_id=event.tenant_id, port="crm", kind=kind, about=event.key, request=request
        )


async def _customer(session: Session, event: ReadEvent) -> dict[str, str] | None:
    """Who it is, as orders know it now."""
    key = str(event.data.get("customer") or "")
    if not key:
        return None
    who = await orders.contact(session, event.tenant_id, key)
    if who is None:
        return {"key": key, "name": key, "email": "", "phone": ""}
    return {"key": key, "name": who.name or key, "email": who.email, "phone": who.phone}


async def _is_outdated(session: Session, event: ReadEvent) -> bool:
    """Whether the CRM has been told of a later stage already, as ``event`` was set aside for a while."""
    if not event.is_late:
        return False
    (row,) = await session.fetch(
        "SELECT EXISTS (SELECT FROM integration_call WHERE tenant_id = $1 AND about = $2 AND kind = 'deal' "
        "AND created > $3) AS found",
        event.tenant_id,
        event.key,
        time_of(event.time_ns),
    )
    return bool(row["found"])


async def _link(session: Session, tenant_id: int, kind: str, key: str) -> Mapping[str, Any] | None:
    rows = await session.fetch(
        "SELECT * FROM crm_link WHERE tenant_id = $1 AND kind = $2 AND key = $3", tenant_id, kind, key
    )
    return rows[0] if rows else None


async def start_looking(session: Session, clock: Clock, crm: Crm, account: str = "") -> bool:
    """Have changes in ``crm`` be asked for from now on, if that is not done already; false without its tenant."""
    now = time_of(clock.now_ns())
    tenant_id = await account_tenant(session, account)
    if tenant_id is None:
        return False
    await session.execute(
        "INSERT INTO crm_place (account, vendor, tenant_id, until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        account,
        crm.name,
        tenant_id,
        now,
    )
    await session.execute(
        "INSERT INTO integration_call (call_id, tenant_id, port, kind, about, request, next_try, created, changed) "
        "VALUES ($1, $4, 'crm', 'changes', $2, '{}', $3, $3, $3) "
        "ON CONFLICT (call_id) DO UPDATE SET state = 'waiting', about = excluded.about",
        f"{tenant_id if account else 0:023d}CRM",
        crm.name,
        now,
        tenant_id,
    )
    return True


def crm_kinds(
    crm: Crm, database: Database, clock: Clock, look_every_s: float, reach: Reach = EVERYBODY
) -> Mapping[tuple[str, str], CallKind]:
    """What calls to ``crm`` do, by port and kind."""
    return {
        ("crm", "deal"): PutDeal(crm, clock),
        ("crm", "interaction"): AddInteraction(crm, clock),
        ("crm", "changes"): Changes(crm, clock, database, look_every_s, reach),
    }


@dataclass(frozen=True, slots=True)
class _Telling:
    """Calls that tell the CRM something: each may be repeated, as what is told is known by its key."""

    crm: Crm
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:  # noqa: ARG002
        """See ``CallKind``."""
        return True

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``: the reason stands with the call."""

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""

    async def note(self, session: Session, call: Call, kind: str, key: str, vendor_id: str, content: Any) -> None:
        """Write down what the CRM has now."""
        await _write_link(session, call.tenant_id, kind, key, vendor_id, content, None, time_of(self.clock.now_ns()))


@dataclass(frozen=True, slots=True)
class PutDeal(_Telling):
    """Tell of the customer, and of the order as a deal."""

    async def ask(self, call: Call, *, is_wanted: bool) -> tuple[str, str]:  # noqa: ARG002
        """See ``CallKind``."""
        customer = await self.crm.put_customer(CrmCustomer(**call.request["customer"]))
        return customer, await self.crm.put_deal(self._deal(call, customer))

    async def take(self, work: UnitOfWork, call: Call, answer: tuple[str, str]) -> Again | None:
        """See ``CallKind``."""
        customer, deal = answer
        told = CrmCustomer(**call.request["customer"])
        await self.note(work.session, call, "customer", told.key, customer, _content(told))
        await self.note(work.session, call, "deal", call.about, deal, _content(self._deal(call, customer)))
        return None

    def _deal(self, call: Call, customer: str) -> CrmDeal:
        deal = call.request["deal"]
        amount = Decimal(str(deal["amount"]))
        name = f"Order {call.about}"
        return CrmDeal(call.about, name, str(deal["stage"]), amount, str(deal.get("currency") or ""), customer)


@dataclass(frozen=True, slots=True)
class AddInteraction(_Telling):
    """Note with a customer what has happened: the call's id is the key by which the note is found again."""

    async def ask(self, call: Call, *, is_wanted: bool) -> str:  # noqa: ARG002
        """See ``CallKind``."""
        note, customer = call.request["note"], await self.crm.put_customer(CrmCustomer(**call.request["customer"]))
        time = time_of(int(note["time_ns"]))
        return await self.crm.add_interaction(
            CrmInteraction(call.call_id, str(note["text"]), time, customer, str(note["deal"]))
        )

    async def take(self, work: UnitOfWork, call: Call, answer: str) -> Again | None:
        """See ``CallKind``."""
        await self.note(work.session, call, "interaction", call.call_id, answer, "")
        return None


@dataclass(frozen=True, slots=True)
class Changes(_Telling):
    """Ask what has changed in the CRM, and tell of what did not come from here."""

    database: Database
    look_every_s: float
    reach: Reach

    async def ask(self, call: Call, *, is_wanted: bool) -> list[CrmChange]:  # noqa: ARG002
        """See ``CallKind``."""
        async with self.database.session() as session:
            rows = await session.fetch(
                "SELECT until FROM crm_place WHERE vendor = $1 AND account = $2", self.crm.name, call.account
            )
        until = rows[0]["until"] if rows else datetime.fromtimestamp(0, UTC)
        return list(await self.crm.changes(until - timedelta(seconds=OVERLAP_S)))

    async def take(self, work: UnitOfWork, call: Call, answer: list[CrmChange]) -> Again | None:
        """See ``CallKind``."""
        for change in answer:
            await self._take_change(work, call.tenant_id, change)
        if answer:
            await work.session.execute(
                "INSERT INTO crm_place (account, vendor, tenant_id, until) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (account, vendor) DO UPDATE SET until = greatest(crm_place.until, excluded.until)",
                call.account,
                self.crm.name,
                call.tenant_id,
                max(change.changed for change in answer),
            )
        return Again(self.look_every_s)

    async def _take_change(self, work: UnitOfWork, tenant_id: int, change: CrmChange) -> None:
        kind, key = _kind_of(change), change.of.key or change.id
        rows = await work.session.fetch(
            "SELECT crm_link.* FROM crm_link JOIN tenant USING (tenant_id) WHERE kind = $1 "  # noqa: S608  of our own
            f"AND (vendor_id = $2 OR (tenant_id = $3 AND key = $4)) AND {reached(5)} "
            "ORDER BY (vendor_id = $2) DESC LIMIT 1 FOR UPDATE OF crm_link",
            kind,
            change.id,
            tenant_id,
            key,
            *self.reach.arguments,
        )
        content = _content(change.of)
        if rows:
            (row,) = rows
            known_later = row["vendor_changed"] is not None and change.changed <= row["vendor_changed"]
            if known_later or row["content"] == content or kind == "interaction":
                return
            tenant_id, key = row["tenant_id"], row["key"]
        now_ns = self.clock.now_ns()
        await _write_link(work.session, tenant_id, kind, key, change.id, content, change.changed, time_of(now_ns))
        work.announce(_event(tenant_id, key, change, now_ns))


async def _write_link(
    session: Session,
    tenant_id: int,
    kind: str,
    key: str,
    vendor_id: str,
    content: str,
    vendor_changed: datetime | None,
    now: datetime,
) -> None:
    await session.execute(
        "INSERT INTO crm_link (tenant_id, kind, key, vendor_id, content, vendor_changed, changed) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, kind, key) DO UPDATE SET "
        "vendor_id = excluded.vendor_id, content = excluded.content, "
        "vendor_changed = coalesce(excluded.vendor_changed, crm_link.vendor_changed), changed = excluded.changed",
        tenant_id,
        kind,
        key,
        vendor_id,
        content,
        vendor_changed,
        now,
    )


def _kind_of(change: CrmChange) -> str:
    match change.of:
        case CrmCustomer():
            return "customer"
        case CrmDeal():
            return "deal"
        case CrmInteraction():
            return "interaction"


def _content(of: CrmCustomer | CrmDeal | CrmInteraction) -> str:
    """What of it counts as changed, in JSON: what one side does not say is not compared."""
    match of:
        case CrmCustomer():
            said = {"name": of.name, "email": of.email, "phone": of.phone, "company": of.company}
        case CrmDeal():
            said = {"name": of.name, "stage": of.stage, "amount": f"{of.amount:.2f}"}
        case CrmInteraction():
            said = {"text": of.text}
    return json.dumps({name: value for name, value in said.items() if value}, sort_keys=True, ensure_ascii=False)


def _event(tenant_id: int, key: str, change: CrmChange, now_ns: int) -> DomainEvent:
    match change.of:
        case CrmCustomer() as of:
            told = {"name": of.name, "email": of.email, "phone": of.phone, "company": of.company}
            what, data = Told.CRM_CUSTOMER_CHANGED, {"customer": key, **told}
        case CrmDeal() as of:
            what, data = Told.CRM_DEAL_CHANGED, {"order": key, "stage": of.stage, "amount": str(of.amount)}
        case CrmInteraction() as of:
            what, data = Told.CRM_INTERACTION, {"customer": of.customer, "text": of.text}
    return integration_event(tenant_id, key, what, now_ns, {**data, "crm": change.id})
