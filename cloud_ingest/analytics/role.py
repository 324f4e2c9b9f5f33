"""The role ``analytics``: hears of lines, and works out the hours that are not as they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from cloud_ingest.analytics.computing import compute_due
from cloud_ingest.analytics.marking import CHANNEL, hours_of, mark, mark_passed, merged, wake
from cloud_ingest.analytics.reports import DueReports
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.consuming import Consumer, Projection, RecordsProjection
from cloud_ingest.event_log.domain_events import read_event
from cloud_ingest.event_log.patience import patiently
from cloud_ingest.observability.events import StoreReached
from cloud_ingest.observability.obstacles import OBSTACLES
from connectors.model.back_off import BackOff
from connectors.model.errors import PayloadInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, LogRecord, TopicSpec
from connectors.stopping import Tasks

NAME: Final = "analytics"
HOURS: Final = "analytics hours"
AT_ONCE_MAX: Final = 50
GATHER_S: Final = 2.0
"""A running hour changes all the time: it is worked out once in a while, not at every piece."""
TICK_S: Final = 20.0
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


def marks_projection(topic: TopicSpec) -> Projection:
    """Marks the hours that events of lines touch; an event that comes twice marks them twice, which changes nothing."""

    async def take(work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        del partition
        spans: dict[tuple[int, str, str], list[tuple[int, int]]] = {}
        for record in records:
            event = read_event(record)
            try:
                hours = hours_of(event)
                line = (event.tenant_id, str(event.data["site"]), str(event.data["line"]))
            except (KeyError, TypeError, ValueError) as exc:
                raise PayloadInvalid(f"an event of a line that does not say when: {type(exc).__name__}: {exc}") from exc
            if hours is not None:
                spans.setdefault(line, []).append(hours)
        for (tenant_id, site, line_code), touched in sorted(spans.items()):
            for hours in merged(touched):
                await mark(work.session, tenant_id, site, line_code, hours)
        if spans:
            await wake(work.session)

    return RecordsProjection(NAME, topic, take)


class AnalyticsRole:
    """What of analytics runs in a process that has its role."""

    def __init__(self, database: Database, log: EventLog, clock: Clock, topic: TopicSpec) -> None:
        self._database = database
        self._clock = clock
        self._reports = DueReports(database)
        self._marks = Consumer(database, log, marks_projection(topic))

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Until cancelled; what is down is waited for."""
        async with Tasks() as tasks:
            tasks.create_task(self._marks.run(), name="analytics marks")
            tasks.create_task(self._again_and_again(self._compute_forever), name="analytics hours")
            tasks.create_task(self._again_and_again(self._tick_forever), name="analytics ticks")
            tasks.create_task(self._again_and_again(self._report_forever), name="analytics reports")

    async def _again_and_again(self, work: Callable[[BackOff], Coroutine[Any, Any, None]]) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(HOURS, back_off, partial(work, back_off))

    async def _compute_forever(self, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            while True:
                while await compute_due(self._database, self._now(), AT_ONCE_MAX) == AT_ONCE_MAX:
                    pass
                back_off.reset()
                if OBSTACLES.reason(HOURS):
                    emit(StoreReached(HOURS))
                await woken.wait(TICK_S)
                await asyncio.sleep(GATHER_S)

    async def _tick_forever(self, back_off: BackOff) -> None:
        while True:
            async with self._database.transaction() as session:
                if await mark_passed(session, self._now()):
                    await wake(session)
            back_off.reset()
            await asyncio.sleep(TICK_S)

    async def _report_forever(self, back_off: BackOff) -> None:
        while True:
            await self._reports.make(self._now())
            back_off.reset()
            await asyncio.sleep(TICK_S)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
