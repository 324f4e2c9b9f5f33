"""The role lines: stores samples of lines' signals, and folds the lines that have new ones, or whose time has come.

Any number of processes run it: partitions of the topic are shared, and a line is folded by whoever locks its row.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.consuming import Consumer
from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.lines.folding import fold_line
from cloud_ingest.lines.presence import mark_presence
from cloud_ingest.lines.signal_samples import CHANNEL, KEPT_DAYS, SignalSamples
from cloud_ingest.observability.events import Fault, FaultOver, StoreReached, StoreWaiting
from cloud_ingest.observability.obstacles import OBSTACLES
from connectors.model.back_off import BackOff
from connectors.model.error_groups import first_of
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks

PACE_NS: Final = 1_000_000_000
"""A line is folded at most so often: counts are told once a second, however fast samples come."""
LOOK_S: Final = 1.0
SOON_S: Final = 0.05
PRESENCE_S: Final = 2.0
PRUNE_S: Final = 600.0
LEFT_ALONE_S: Final = 30.0
"""So long a line that cannot be folded waits."""
AT_ONCE_MAX: Final = 200
FOLDS_MAX: Final = 4
"""So many lines are folded beside each other: most of a fold is waiting for the database."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
PART: Final = "lines"
ROLLED_BACK: Final = "40"
"""Class of PostgreSQL's errors that are over when the same is done again."""


class Lines:
    """Everything that runs of lines, apart from work orders."""

    def __init__(self, database: Database, log: EventLog, clock: Clock, samples: TopicSpec) -> None:
        self._database = database
        self._clock = clock
        self._left_alone_s: dict[int, float] = {}
        self._consumer = Consumer(database, log, SignalSamples(samples).projection)

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Store and fold until cancelled; what is down is waited for."""
        async with Tasks() as tasks:
            tasks.create_task(self._consumer.run(), name="lines samples")
            tasks.create_task(self._forever(PART, self._fold), name="lines fold")
            tasks.create_task(self._forever("lines upkeep", self._keep_up), name="lines upkeep")

    async def _forever(self, part: str, work: Callable[[str, BackOff], Coroutine[Any, Any, None]]) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            try:
                await work(part, back_off)
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(part, reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _fold(self, part: str, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            while True:
                waits = await self.look()
                _went_well(part, back_off)
                if waits:
                    await asyncio.sleep(SOON_S)
                else:
                    await woken.wait(LOOK_S)

    async def look(self) -> bool:
        """Fold every line that is due; whether some are that were folded less than a second ago."""
        now_ns = self._clock.now_ns()
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT line_id, looked_ns FROM production_line AS line WHERE wake_ns <= $1 OR (NOT is_removed "
                "AND EXISTS (SELECT FROM line_due WHERE line_due.line_id = line.line_id)) ORDER BY looked_ns LIMIT $2",
                now_ns,
                AT_ONCE_MAX,
            )
        due = [row["line_id"] for row in rows if not 0 <= now_ns - row["looked_ns"] < PACE_NS]
        now_s, places = self._clock.monotonic_s(), asyncio.Semaphore(FOLDS_MAX)
        async with first_of(DatabaseUnavailable), Tasks() as tasks:
            for line_id in due:
                if now_s >= self._left_alone_s.get(line_id, 0.0):
                    tasks.create_task(self._fold_one(line_id, places), name=f"lines fold {line_id}")
        return len(due) < len(rows)

    async def _fold_one(self, line_id: int, places: asyncio.Semaphore) -> None:
        try:
            async with places, unit_of_work(self._database) as work:
                await fold_line(work, line_id, self._clock.now_ns())
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # the other lines go on; its samples stay due
            if isinstance(exc, StatementRefused) and exc.sqlstate.startswith(ROLLED_BACK):
                return  # somebody has locked the same in another order: it is folded at the next look
            emit(Fault(f"line {line_id}", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            self._left_alone_s[line_id] = self._clock.monotonic_s() + LEFT_ALONE_S
        else:
            if self._left_alone_s.pop(line_id, None) is not None:
                emit(FaultOver(f"line {line_id}"))

    async def _keep_up(self, part: str, back_off: BackOff) -> None:
        pruned_s = self._clock.monotonic_s() - PRUNE_S
        while True:
            async with self._database.transaction() as session:
                await mark_presence(session)
            if self._clock.monotonic_s() - pruned_s >= PRUNE_S:
                pruned_s = self._clock.monotonic_s()
                await self.prune()
            _went_well(part, back_off)
            await asyncio.sleep(PRESENCE_S)

    async def prune(self) -> None:
        """Delete samples that can change nothing any more, and folds that nobody begins at."""
        oldest_ns = self._clock.now_ns() - KEPT_DAYS * 86_400 * 1_000_000_000
        async with self._database.session() as session:
            await session.execute(
                "DELETE FROM line_checkpoint AS old WHERE time_ns < $1 AND EXISTS ("
                "SELECT FROM line_checkpoint AS newer WHERE newer.line_id = old.line_id "
                "AND newer.time_ns > old.time_ns AND newer.time_ns <= $1)",
                oldest_ns,
            )
            # not those behind the oldest fold that is left: it needs them to go on
            await session.execute(
                "DELETE FROM line_sample USING (SELECT line_id, min(time_ns) AS time_ns FROM line_checkpoint "
                "GROUP BY line_id) AS oldest WHERE line_sample.line_id = oldest.line_id "
                "AND line_sample.time_ns < least(oldest.time_ns, $1) AND line_sample.mark = 0",
                oldest_ns,
            )


def _went_well(part: str, back_off: BackOff) -> None:
    back_off.reset()
    if OBSTACLES.reason(part):
        emit(StoreReached(part))
