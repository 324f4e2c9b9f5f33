"""From events to mails that wait: reports to who gets them, and what customers hear of their orders.

A mail goes to one address: whom a server does not take keeps no other from its mail, and nobody sees who else got it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cloud_ingest.analytics.events import REPORT_MADE, REPORT_WANTED
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.identity.published import tenant_title
from cloud_ingest.notifications.mail_words import Occasion, Parcel, order_words
from cloud_ingest.notifications.taking import CHANNEL
from cloud_ingest.notifications.telling import now_of
from cloud_ingest.orders import published as orders
from cloud_ingest.orders.events import Told, event_type
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Session

RECIPIENTS_MAX: Final = 50
_OCCASIONS: Final[Mapping[str, Occasion]] = {
    event_type(Told.PLACED): "placed",
    event_type(Told.SHIPMENT_SENT): "shipped",
    event_type(Told.CANCELLED): "cancelled",
}


class EventsAreMailed:
    """Takes events of any topic. ``customers``: what customers are told of their orders."""

    def __init__(self, clock: Clock, customers: Collection[Occasion] = ()) -> None:
        self._clock = clock
        self._customers = frozenset(customers)

    async def take(self, work: UnitOfWork, event: ReadEvent, topic: str) -> None:
        """Take one event, in the transaction that moves the place in the log."""
        cause = f"{topic}/{event.number}"
        if event.type in (REPORT_MADE, REPORT_WANTED):
            told = event.data
            content = {"report": str(told["report"]), "day": str(told["day"])}
            recipients = [str(one) for one in told.get("recipients", ())][:RECIPIENTS_MAX]
            await self._add(work.session, event, cause, "report", content, recipients)
        elif (occasion := _OCCASIONS.get(event.type)) in self._customers and occasion is not None:
            await self._to_customer(work.session, event, cause, occasion)

    async def _to_customer(self, session: Session, event: ReadEvent, cause: str, occasion: Occasion) -> None:
        order = await orders.order(session, event.tenant_id, event.key)
        who = None if order is None else await orders.contact(session, event.tenant_id, order.customer)
        if order is None or who is None or not who.email:
            return
        parcel = None
        if occasion == "shipped":
            shipment = str(event.data.get("shipment", ""))
            lines = await orders.in_shipment(session, event.tenant_id, shipment)
            parcel = Parcel(lines, str(event.data.get("carrier", "")), str(event.data.get("tracking", "")))
        tenant = await tenant_title(session, event.tenant_id)
        said = order_words(occasion, order, who.name, tenant, parcel)
        content = {"subject": said.subject, "text": said.text, "html": said.html, "sender_name": tenant}
        await self._add(session, event, cause, "order", content, [who.email])

    async def _add(
        self,
        session: Session,
        event: ReadEvent,
        cause: str,
        kind: str,
        content: Mapping[str, Any],
        recipients: Sequence[str],
    ) -> None:
        if not recipients:
            return
        now, now_ms = now_of(self._clock), self._clock.now_ns() // 1_000_000
        said = json.dumps(content, ensure_ascii=False)
        await session.execute_many(
            "INSERT INTO mail (mail_id, tenant_id, kind, about, cause, recipient, content, due, created, changed) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8) ON CONFLICT (tenant_id, cause, recipient) DO NOTHING",
            [
                (new_ulid(now_ms), event.tenant_id, kind, event.key, cause, one, said, now)
                for one in dict.fromkeys(recipients)
            ],
        )
        await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
