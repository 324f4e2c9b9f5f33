"""The role ``inventory``: books what lines count, and ends reservations whose time is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.consuming import Consumer, EventsProjection, Projection
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.inventory import reordering, reserving, shortages
from cloud_ingest.inventory.backflush import book_count, lock_for
from cloud_ingest.inventory.counts import Count, read_count
from cloud_ingest.inventory.items import locked_items
from cloud_ingest.lines.events import COUNTED
from cloud_ingest.observability.events import StoreReached, StoreWaiting
from cloud_ingest.observability.metrics import SHORTAGE_OLDEST_SECONDS, SHORTAGES_OPEN
from cloud_ingest.observability.obstacles import OBSTACLES
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks

NAME: Final = "inventory"
EXPIRY: Final = "inventory reservations"
LOOK_S: Final = 10.0
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
Work = Callable[[], Coroutine[Any, Any, None]]


def counts_projection(topic: TopicSpec) -> Projection:
    """Books the counts in the events of lines, each once."""
    return EventsProjection(NAME, topic, _take, _lock_for)


async def _take(work: UnitOfWork, event: ReadEvent) -> None:
    if event.type == COUNTED and (count := read_count(event)) is not None:
        await book_count(work, count)


async def _lock_for(session: Session, events: Sequence[ReadEvent]) -> None:
    counts: list[Count] = []
    for event in events:
        with contextlib.suppress(ValueError):  # it fails when it is taken, by itself
            if event.type == COUNTED and (count := read_count(event)) is not None:
                counts.append(count)
    await lock_for(session, counts)


class InventoryRole:
    """What of inventory runs in a process that has its role."""

    def __init__(self, database: Database, log: EventLog, clock: Clock, topic: TopicSpec) -> None:
        self._database = database
        self._clock = clock
        self._counts = Consumer(database, log, counts_projection(topic))

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Until cancelled; what is down is waited for."""
        async with Tasks() as tasks:
            tasks.create_task(self._counts.run(), name="inventory counts")
            tasks.create_task(self._expire_forever(), name="inventory expiry")

    async def _expire_forever(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        watched: date | None = None
        while True:
            try:
                while await expire_reservations(self._database, self._clock):
                    pass
                today = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
                await measure_shortages(self._database, today)
                if today.date() != watched:
                    await watch_expired_lots(self._database, today)
                    watched = today.date()
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(EXPIRY, str(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)
            else:
                back_off.reset()
                if OBSTACLES.reason(EXPIRY):
                    emit(StoreReached(EXPIRY))
                await asyncio.sleep(LOOK_S)


async def measure_shortages(database: Database, now: datetime) -> None:
    """Show how many shortages are open, and since when: every process that has the role shows the same."""
    async with database.session() as session:
        found, oldest = await shortages.open_ones(session)
    SHORTAGES_OPEN.set(found)
    SHORTAGE_OLDEST_SECONDS.set(0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()))


async def expire_reservations(database: Database, clock: Clock) -> int:
    """Give back some of the reservations whose time is over; how many. Several processes may do it at once."""
    now = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)
    async with database.session() as session:
        due = await reserving.expired(session, now)
    ended = 0
    for row in due:
        tenant_id = row["tenant_id"]
        async with unit_of_work(database, tenant_id) as work:
            known = await locked_items(work.session, tenant_id, [row["item"]])
            found = await reserving.open_again(work.session, tenant_id, row["reservation"])
            if found and (why := _over(found[0], now)):
                await reserving.give_back(work, tenant_id, found, why, now)
                item = known[row["item"]]
                await shortages.settle(work, tenant_id, item, now)
                await reordering.watch(work, tenant_id, [item], now)
            ended += 1
    return ended


def _over(reservation: Row, now: datetime) -> str:
    """Why it is over; empty while it holds."""
    if reservation["expires"] is not None and reservation["expires"] <= now:
        return "expired"
    if reservation["lot_expires"] is not None and reservation["lot_expires"] < now.date():
        return f"the lot {reservation['lot']} has expired"
    return ""


async def watch_expired_lots(database: Database, now: datetime) -> int:
    """Say what is low since its lots have expired; how many items were looked at. Nothing else moves them."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT DISTINCT held.tenant_id, held.item FROM item_lot lot JOIN stock_balance held "
            "ON held.tenant_id = lot.tenant_id AND held.item = lot.item AND held.lot = lot.lot "
            "JOIN item ON item.tenant_id = held.tenant_id AND item.code = held.item WHERE lot.expires < $1 "
            "AND held.on_hand > 0 AND held.location NOT LIKE '@%' AND reorder_point IS NOT NULL AND NOT is_low",
            now.date(),
        )
    for row in rows:
        async with unit_of_work(database, row["tenant_id"]) as work:
            known = await locked_items(work.session, row["tenant_id"], [row["item"]])
            await reordering.watch(work, row["tenant_id"], known.values(), now)
    return len(rows)
