"""What work orders do by themselves: get ready, complete at their quantity, be started, go on with their start.

It looks at how things stand, and never remembers: whoever takes over after a crash does the same. One process at a time
does it, with the rights of the tables' owner, for all tenants.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands.book import CHANNEL as COMMANDS_CHANNEL
from cloud_ingest.commands.requests import Requests
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.patience import alone, patiently
from cloud_ingest.lines.work_order_book import SYSTEM, Act, before, change, lock_job, settle
from cloud_ingest.lines.work_order_counts import CHANNEL
from cloud_ingest.lines.work_order_deeds import do, fail_start
from cloud_ingest.lines.work_order_recipes import UNKNOWN_PARAMETER
from cloud_ingest.lines.work_order_rules import Deed, WorkOrderState, is_done, is_enough
from cloud_ingest.lines.work_order_starting import Starter
from cloud_ingest.observability.events import StoreReached
from cloud_ingest.observability.obstacles import OBSTACLES
from connectors.model.back_off import BackOff
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row
from connectors.stopping import Tasks

PART: Final = "work orders"
LOCK: Final = "lineside work orders"
LOOK_S: Final = 5.0
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
AT_ONCE_MAX: Final = 1000
_READY: Final = (
    "SELECT o.tenant_id, o.work_order_id FROM work_order o JOIN work_order p ON p.tenant_id = o.tenant_id "
    "AND p.job = o.job AND p.step = o.step - 1 WHERE o.state = 'planned' AND o.released AND o.step > 1 "
    "AND (p.good >= o.transfer OR (p.state IN ('complete', 'closed', 'cancelled') AND p.good > 0)) LIMIT $1"
)
_MADE: Final = (
    "SELECT o.tenant_id, o.work_order_id FROM work_order o JOIN work_order_line USING (tenant_id, site, line) "
    "LEFT JOIN work_order p ON p.tenant_id = o.tenant_id AND p.job = o.job AND p.step = o.step - 1 "
    "WHERE o.state = 'running' AND completes_itself AND (o.good >= o.quantity OR "
    "(p.state IN ('complete', 'closed', 'cancelled') AND o.good + o.reject >= p.good)) LIMIT $1"
)
_FREE: Final = (
    "SELECT o.tenant_id, o.work_order_id FROM work_order o JOIN work_order_line USING (tenant_id, site, line) "
    "WHERE o.state = 'next' AND starts_next AND o.download <> 'failed' AND NOT EXISTS (SELECT FROM work_order other "
    "    WHERE other.tenant_id = o.tenant_id AND other.site = o.site AND other.line = o.line "
    "    AND (other.state IN ('running', 'paused') OR other.download = 'under_way')) LIMIT $1"
)


class WorkOrderKeeper:
    """Runs in the role ``lines``."""

    def __init__(self, database: Database, clock: Clock, requests: Requests) -> None:
        self._database = database
        self._clock = clock
        self._starter = Starter(database, requests, clock)

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Let work orders go on until cancelled; a database that is away is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        work = partial(self._as_the_one, back_off)
        keep = partial(alone, self._database, LOCK, "the work orders", work, standing_by=back_off.reset)
        await patiently(PART, back_off, keep)

    async def _as_the_one(self, back_off: BackOff) -> None:
        async with Tasks() as tasks:
            tasks.create_task(self._look_forever(back_off), name="work orders go on")
            tasks.create_task(self._start_forever(), name="work orders start")

    async def _look_forever(self, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            while True:
                await self.look()
                back_off.reset()
                if OBSTACLES.reason(PART):
                    emit(StoreReached(PART))
                await woken.wait(LOOK_S)

    async def _start_forever(self) -> None:
        async with self._database.notified(COMMANDS_CHANNEL) as woken:
            while True:
                await self._starter.go_on()
                await woken.wait(LOOK_S)

    async def look(self) -> None:
        """Do everything that is due."""
        for row in await self._due(_READY):
            await self._get_ready(row)
        for row in await self._due(_MADE):
            await self._complete(row)
        for row in await self._due(_FREE):
            await self._start(row)
        await self._starter.go_on()

    async def _due(self, sql: str) -> Sequence[Row]:
        async with self._database.session() as session:
            return await session.fetch(sql, AT_ONCE_MAX)

    def _act(self, row: Row, reason: str = "") -> Act:
        return Act(row["tenant_id"], self._clock.now_ns(), SYSTEM, reason)

    async def _get_ready(self, row: Row) -> None:
        async with unit_of_work(self._database) as work:
            act = self._act(row)
            job = await lock_job(work.session, row["tenant_id"], row["work_order_id"])
            now = next(one for one in job.values() if one["work_order_id"] == row["work_order_id"])
            is_due = now["state"] == WorkOrderState.PLANNED and now["released"]
            if is_due and is_enough(before(job, now["step"]), now["transfer"]):
                await change(work, act, now, WorkOrderState.READY)
                await settle(work, act, (now["site"], now["line"]))

    async def _complete(self, row: Row) -> None:
        async with unit_of_work(self._database) as work:
            job = await lock_job(work.session, row["tenant_id"], row["work_order_id"])
            now = next(one for one in job.values() if one["work_order_id"] == row["work_order_id"])
            earlier = before(job, now["step"])
            if now["state"] == WorkOrderState.RUNNING and is_done(now["good"], now["reject"], now["quantity"], earlier):
                is_short = now["good"] < now["quantity"]
                reason = "all that came from the step before was used up" if is_short else ""
                await change(work, self._act(row, reason), now, WorkOrderState.COMPLETE)
                await settle(work, self._act(row), (now["site"], now["line"]))

    async def _start(self, row: Row) -> None:
        try:
            async with unit_of_work(self._database) as work:
                await do(work, self._act(row), row["work_order_id"], Deed.START)
        except RequestRefused as exc:
            if exc.code == UNKNOWN_PARAMETER:  # else somebody was faster
                await self._say_why_not(row, str(exc))

    async def _say_why_not(self, row: Row, why: str) -> None:
        async with unit_of_work(self._database) as work:
            job = await lock_job(work.session, row["tenant_id"], row["work_order_id"])
            now = next(one for one in job.values() if one["work_order_id"] == row["work_order_id"])
            if now["state"] == WorkOrderState.NEXT and now["download"] == "none":
                await fail_start(work, self._act(row), now, why)
