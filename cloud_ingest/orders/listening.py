"""What orders hear of lines, stock and the outside; each event takes effect once, and a late one none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork, undone_alone
from cloud_ingest.event_log.consuming import EventsProjection, Projection
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.event_log.failures import Cause, cause_of
from cloud_ingest.event_log.topics import INTEGRATION_EVENTS, INVENTORY_EVENTS, LINE_EVENTS
from cloud_ingest.integrations import events as outside
from cloud_ingest.integrations.events import Told
from cloud_ingest.inventory import events as stock
from cloud_ingest.inventory.published import availability as available
from cloud_ingest.lines.events import WORK_ORDER_PREFIX
from cloud_ingest.lines.published import work_orders_of
from cloud_ingest.orders import facts, surprises
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.handling import Orders, Tell, lock_items, lock_tenants
from cloud_ingest.orders.keeping import see_stock
from cloud_ingest.orders.world import PlantWorld
from connectors.ports.database import Session
from connectors.ports.event_log import TopicSpec

EVENTS_AT_ONCE_MAX: Final = 20
"""Behind an outage there are many; nobody's request waits for all of them, as each holds the lock of its tenant."""
WAITING_MAX: Final = 100
"""So many orders look at once whether what came in is theirs; the others when the timer has its turn."""
_MORE_STOCK: Final = frozenset({stock.RECEIVED, stock.RELEASED, stock.LOT_CHANGED})
_BROUGHT: Final = frozenset({"adjustment", "transfer"})
"""Kinds of movements that can bring stock to where orders are served, of which nothing else tells."""
_WAITING: Final = (
    "SELECT DISTINCT order_id, order_id = coalesce((SELECT order_id FROM order_work_order WHERE work_order = $3), '') "
    "AS is_own FROM order_line JOIN customer_order USING (order_id) WHERE order_line.tenant_id = $1 AND product = $2 "
    "AND shipped + packed + reserved + cancelled < quantity AND state IN ('released', 'in_production', 'packed') "
    "ORDER BY is_own DESC, order_id LIMIT $4"
)


_LACKING: Final = (
    "SELECT DISTINCT order_id FROM order_need JOIN customer_order USING (order_id) WHERE order_need.tenant_id = $1 "
    "AND item = $2 AND in_plant AND missing_code = 'components_missing' ORDER BY order_id LIMIT $3"
)


_TOUCHED: Final = (
    "SELECT order_id FROM order_line JOIN customer_order USING (order_id) WHERE order_line.tenant_id = $1 "
    "AND product = ANY($2::text[]) AND shipped + packed + reserved + cancelled < quantity "
    "AND state IN ('released', 'in_production', 'packed') UNION "
    "SELECT order_id FROM order_need JOIN customer_order USING (order_id) WHERE order_need.tenant_id = $1 "
    "AND item = ANY($2::text[]) AND in_plant AND missing_code = 'components_missing'"
)
"""Orders that look whether there is something for them."""
_INVENTORY: Final = "lineside.inventory."


def projections(orders: Orders, topics: Mapping[str, TopicSpec]) -> list[Projection]:
    """What the role reads, each as a consumer group of its own."""
    hears = Hearing(orders)
    read = (
        ("orders.lines", LINE_EVENTS, hears.lines),
        ("orders.inventory", INVENTORY_EVENTS, hears.inventory),
        ("orders.integrations", INTEGRATION_EVENTS, hears.integrations),
    )
    return [EventsProjection(name, topics[topic], take, _lock_for, EVENTS_AT_ONCE_MAX) for name, topic, take in read]


async def _lock_for(session: Session, events: Sequence[ReadEvent]) -> None:
    """First the tenants, then all items that their orders may reserve: inventory locks items in one order, too."""
    tenants = sorted({event.tenant_id for event in events})
    await lock_tenants(session, tenants)
    for tenant_id in tenants:
        own = [event for event in events if event.tenant_id == tenant_id]
        more = [event.key for event in own if event.type.startswith(_INVENTORY) and _is_more(event)]
        rows = await session.fetch(_TOUCHED, tenant_id, more)
        await lock_items(session, tenant_id, {row["order_id"] for row in rows} | {_order_of(event) for event in own})


def _order_of(event: ReadEvent) -> str:
    """Which order the event is told to, whatever it waits for."""
    if event.type.startswith(_INVENTORY):
        return str(event.data["for"]["id"]) if event.type == stock.RELEASED else ""
    return str(event.data.get("order") or "")


class Hearing:
    """One method for each topic."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def lines(self, work: UnitOfWork, event: ReadEvent) -> None:
        """Work orders of customers' orders: how far they are."""
        data = event.data
        if not event.type.startswith(WORK_ORDER_PREFIX) or not data.get("order"):
            return

        order, name = str(data["order"]), str(data["work_order"])
        state, good, reject = str(data["state"]), Decimal(data["good"]), Decimal(data["reject"])
        if event.is_late:  # what was told after it has been heard: how the work order is now is told once more
            for one in await work_orders_of(work.session, event.tenant_id, order):
                if one.work_order == name:
                    state, good, reject = one.state, one.good, one.reject

        async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
            facts.work_order_changed(case, now, name, state, good=good, reject=reject)

        await self._orders.hear(work, event.tenant_id, [order], tell)

    async def inventory(self, work: UnitOfWork, event: ReadEvent) -> None:
        """There is more of an item: who waits for it takes it, first the order that it was made for."""
        data = event.data
        if event.type == stock.RELEASED and data["for"]["kind"] == "order":
            await self._wake(work, event.tenant_id, [str(data["for"]["id"])], _see)
        if not _is_more(event):
            return
        made_for = str(data.get("work_order") or "")
        rows = await work.session.fetch(_WAITING, event.tenant_id, event.key, made_for, WAITING_MAX)
        own = [row["order_id"] for row in rows if row["is_own"]]
        others = [row["order_id"] for row in rows if not row["is_own"]]
        lacking = await work.session.fetch(_LACKING, event.tenant_id, event.key, WAITING_MAX)
        others += sorted({row["order_id"] for row in lacking} - {*own, *others})
        for group in (own, others):
            if group:
                await self._wake(work, event.tenant_id, group, _look)
        if WAITING_MAX in (len(rows), len(lacking)):
            await self._orders.look_soon(work.session, event.tenant_id, await self._rest(work, event, {*own, *others}))

    async def _wake(self, work: UnitOfWork, tenant_id: int, group: Sequence[str], tell: Tell) -> None:
        """Have ``group`` look; when one of them brings out a defect, each by itself, when it is the timer's turn."""
        try:
            async with undone_alone(work):
                await self._orders.hear(work, tenant_id, group, tell)
        except Exception as exc:
            if cause_of(exc) is Cause.OUTSIDE:
                raise
            await self._orders.look_soon(work.session, tenant_id, group)

    async def _rest(self, work: UnitOfWork, event: ReadEvent, have_looked: Collection[str]) -> list[str]:
        """Who else waits, if there is any of it left."""
        if (await available(work.session, event.tenant_id, event.key)).available <= 0:
            return []
        waiting = await work.session.fetch(_WAITING, event.tenant_id, event.key, "", None)
        lacking = await work.session.fetch(_LACKING, event.tenant_id, event.key, None)
        return sorted({row["order_id"] for row in (*waiting, *lacking)} - {*have_looked})

    async def integrations(self, work: UnitOfWork, event: ReadEvent) -> None:
        """Answers of payment providers and carriers."""
        what = outside.TYPES.get(event.type)
        order = event.data.get("order")
        if what not in _ANSWERS or not order:
            return

        async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
            self._answer(case, now, what, event.data)

        await self._orders.hear(work, event.tenant_id, [str(order)], tell)

    def _answer(self, case: Case, now: datetime, what: Told | None, data: Mapping[str, Any]) -> None:
        terms = self._orders.terms
        request, shipment = str(data.get("request") or ""), str(data.get("shipment") or "")
        reason = str(data.get("reason") or "no reason was given")
        match what:
            case Told.PAYMENT_PENDING:
                facts.payment_pending(case, request)
            case Told.PAYMENT_CAPTURED:
                if data.get("currency", case.currency) == case.currency:
                    facts.payment_captured(case, now, str(data["payment"]), Decimal(data["amount"]), request)
            case Told.PAYMENT_FAILED | Told.PAYMENT_CANCELLED:  # what this order has withdrawn is not open any more
                facts.payment_failed(case, now, reason, terms, request)
            case Told.REFUNDED:
                facts.refunded(case, now, request)
            case Told.REFUND_FAILED:
                facts.refund_failed(case, now, reason, terms, request)
            case Told.REFUNDED_ELSEWHERE:
                amount = Decimal(data["amount"])  # the gateway has made sure of the currency: it is the payment's
                surprises.refunded_elsewhere(case, now, request, str(data["payment"]), amount, _said(data))
            case Told.PAYMENT_DISPUTED:
                state = str(data["state"])
                surprises.disputed(case, now, request, Decimal(data["amount"]), state, _said(data))
            case Told.SHIPMENT_CREATED:
                facts.shipment_created(
                    case,
                    shipment,
                    carrier=str(data.get("carrier") or ""),
                    tracking=str(data.get("tracking") or ""),
                    label_url=str(data.get("label_url") or ""),
                )
            case Told.SHIPMENT_FAILED:
                facts.shipment_failed(case, now, shipment, reason, terms)
            case Told.TRACKING_CHANGED:
                facts.tracking_changed(case, now, shipment, str(data["state"]))
            case _:
                pass


_ANSWERS: Final = frozenset(
    {
        Told.PAYMENT_PENDING,
        Told.PAYMENT_CAPTURED,
        Told.PAYMENT_FAILED,
        Told.PAYMENT_CANCELLED,
        Told.REFUNDED,
        Told.REFUND_FAILED,
        Told.REFUNDED_ELSEWHERE,
        Told.PAYMENT_DISPUTED,
        Told.SHIPMENT_CREATED,
        Told.SHIPMENT_FAILED,
        Told.TRACKING_CHANGED,
    }
)


def _said(data: Mapping[str, Any]) -> str:
    return str(data.get("reason") or "")


async def _see(case: Case, world: PlantWorld, now: datetime) -> None:
    """Stock keeps something no longer for it: by its own doing, or since the lot was blocked or has expired."""
    await see_stock(case, world, now)


def _is_more(event: ReadEvent) -> bool:
    """Whether there can be more of an item now for who waits for it, or it is known that a lot is not to be had."""
    data = event.data
    if event.type == stock.MOVED:
        return data.get("kind") in _BROUGHT and not str(data.get("target")).startswith("@")
    return event.type in _MORE_STOCK


async def _look(_case: Case, _world: PlantWorld, _now: datetime) -> None:
    """What has come in is found by looking."""
