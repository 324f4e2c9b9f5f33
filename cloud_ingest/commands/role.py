"""The role ``commands``: reports of agents by every process, and by one at a time what has to be done once.

That one sends (``Dispatcher``), ends what the time ends, and publishes states (``Relay``). It is found by a lock that
lives with a connection to the database; when it is lost, all three stop at once, and another process goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from cloud_ingest.commands.dispatcher import Dispatcher
from cloud_ingest.commands.outgoing import end_by_time
from cloud_ingest.commands.relay import Relay
from cloud_ingest.commands.reports import ReportProjector
from cloud_ingest.event_log.patience import alone, patiently
from cloud_ingest.event_log.topics import COMMANDS as COMMANDS_TOPIC
from cloud_ingest.event_log.topics import REPORTS
from cloud_ingest.observability.command_events import ReportsLeft
from cloud_ingest.observability.events import Fault, StoreReached
from cloud_ingest.observability.obstacles import COMMANDS, OBSTACLES, commands_partition
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.errors import EventLogUnavailable, OffsetMoved
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks, not_silently

GROUP: Final = "lineside.commands"
LOCK: Final = "lineside commands"
END_S: Final = 1.0
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


class Commands:
    """Commands in this process; without a ``dispatcher`` nothing is sent, as there is no key to sign with."""

    def __init__(
        self,
        database: Database,
        log: EventLog,
        clock: Clock,
        topics: dict[str, TopicSpec],
        dispatcher: Dispatcher | None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """``beside``: further work that one process at a time does."""
        self._database = database
        self._log = log
        self._clock = clock
        self._topics = topics
        self._dispatcher = dispatcher
        self._beside = beside

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this process."""
        return {"commands_broker": "" if self._dispatcher is None else self._dispatcher.broker_url}

    async def run(self) -> None:
        """Work until cancelled; what is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(COMMANDS, back_off, partial(self._work, back_off))

    async def _work(self, back_off: BackOff) -> None:
        identity = (await self._log.ensure(self._topics[REPORTS])).identity
        await self._log.ensure(self._topics[COMMANDS_TOPIC])
        async with Tasks() as tasks:
            tasks.create_task(self._read_reports(identity, back_off), name="commands reports")
            tasks.create_task(alone(self._database, LOCK, "the role commands", self._as_the_one), name="commands alone")

    # -- what one process does -----------------------------------------------------------------------------------------

    async def _as_the_one(self) -> None:
        async with Tasks() as tasks:
            tasks.create_task(self._end_forever(), name="commands end")
            tasks.create_task(Relay(self._database, self._log, self._clock).run(), name="commands relay")
            if self._dispatcher is not None:
                tasks.create_task(self._dispatcher.run(), name="commands dispatcher")
            if self._beside is not None:
                tasks.create_task(self._beside(), name="commands rollouts")

    async def _end_forever(self) -> None:
        while True:
            while await end_by_time(self._database, self._clock.now_ns() // 1_000_000):
                pass
            await asyncio.sleep(END_S)

    # -- reports -------------------------------------------------------------------------------------------------------

    async def _read_reports(self, identity: str, back_off: BackOff) -> None:
        async with self._log.assigned(REPORTS, GROUP) as assignments, Tasks() as tasks:
            running: dict[int, asyncio.Task[None]] = {}
            async for partitions in assignments:
                back_off.reset()
                if OBSTACLES.reason(COMMANDS):
                    emit(StoreReached(COMMANDS))
                for number in running.keys() - partitions:
                    running.pop(number).cancel()
                for number in partitions - running.keys():
                    task = tasks.create_task(self._project(identity, number), name=f"commands partition {number}")
                    running[number] = task

    async def _project(self, identity: str, number: int) -> None:
        """Take the reports of one partition for as long as it is this process's."""
        part, back_off = commands_partition(number), BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            if (await self._log.ensure(self._topics[REPORTS])).identity != identity:
                raise EventLogUnavailable(f"the topic {REPORTS} was deleted and made anew")
            try:
                async with steadily(part, back_off):
                    await not_silently(ReportProjector(self._database, self._log, identity, number).run(back_off))
            except OffsetMoved as exc:
                emit(ReportsLeft(number, str(exc)))
            except Exception as exc:  # the other partitions go on; the place in the log has not moved
                emit(Fault(part, f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            await asyncio.sleep(back_off.next_s())
