"""The role ``historian``: a projector for each partition of the raw log that this process was given."""

from __future__ import annotations

import asyncio
import traceback
from functools import partial
from typing import Any, Final

from cloud_ingest.event_log.patience import patiently
from cloud_ingest.event_log.topics import RAW, SAMPLES
from cloud_ingest.historian.lags import Lags
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores, TopicReplaced
from cloud_ingest.historian.samples_topic import SamplesTopic
from cloud_ingest.observability.events import Fault, PartitionLeft, StoreReached
from cloud_ingest.observability.obstacles import HISTORIAN, OBSTACLES, historian_partition
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.errors import EventLogUnavailable, OffsetMoved
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks, not_silently

GROUP: Final = "lineside.historian"
PARTITIONS_S: Final = 3600.0
LAG_S: Final = 5.0
RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0


class Historian:
    """Runs the projectors of this process, and follows changes of the assignment."""

    def __init__(
        self,
        database: Database,
        log: EventLog,
        clock: Clock,
        *,
        topics: dict[str, TopicSpec],
        retention_days: int,
        publish_samples: bool,
        reorder_s: float = 2.0,
    ) -> None:
        self._database = database
        self._log = log
        self._topics = topics
        self._publish_samples = publish_samples
        self._partitions = Partitions(database, clock, retention_days)
        samples = SamplesTopic(log) if publish_samples else None
        self._stores = Stores(database, log, self._partitions, samples, clock, topics[RAW], round(1000 * reorder_s))
        self._projectors: dict[int, Projector] = {}
        self.lags = Lags(clock)

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this process."""
        return {"lags": {number: (lag.records, lag.behind_s) for number, lag in self.lags.by_partition.items()}}

    async def run(self) -> None:
        """Store until cancelled; what is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(HISTORIAN, back_off, partial(self._run_assigned, back_off))

    async def _run_assigned(self, back_off: BackOff) -> None:
        identity = (await self._log.ensure(self._topics[RAW])).identity
        if self._publish_samples:
            await self._log.ensure(self._topics[SAMPLES])
        await self._partitions.prepare()
        async with self._log.assigned(RAW, GROUP) as assignments, Tasks() as tasks:
            tasks.create_task(self._tend_partitions(), name="historian partitions")
            tasks.create_task(self._measure_lag(), name="historian lag")
            running: dict[int, asyncio.Task[None]] = {}
            async for partitions in assignments:
                back_off.reset()
                if OBSTACLES.reason(HISTORIAN):
                    emit(StoreReached(HISTORIAN))
                for number in running.keys() - partitions:
                    running.pop(number).cancel()
                for number in partitions - running.keys():
                    task = tasks.create_task(self._project(identity, number), name=f"historian partition {number}")
                    running[number] = task

    async def _project(self, identity: str, number: int) -> None:
        """Keep one partition stored for as long as it is this process's."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        projector: Projector | None = None
        try:
            while True:
                projector = self._projectors[number] = Projector(self._stores, identity, number)
                try:
                    async with steadily(historian_partition(number), back_off):
                        await not_silently(projector.run(back_off))
                except OffsetMoved as exc:
                    emit(PartitionLeft(RAW, number, str(exc)))
                except TopicReplaced as exc:
                    raise EventLogUnavailable(str(exc)) from exc
                except Exception as exc:  # the other partitions go on; the place in the log has not moved
                    emit(Fault(historian_partition(number), f"{type(exc).__name__}: {exc}", traceback.format_exc()))
                await asyncio.sleep(back_off.next_s())
        finally:
            if self._projectors.get(number) is projector:  # the partition may have come back before this task ended
                del self._projectors[number]
                self.lags.left(number)
            emit(PartitionLeft(RAW, number, "it was given to another process, or this one stops or waits"))

    async def _tend_partitions(self) -> None:
        """Have the partition of tomorrow before tomorrow."""
        while True:
            await asyncio.sleep(PARTITIONS_S)
            await self._partitions.prepare()

    async def _measure_lag(self) -> None:
        while True:
            ends = await self._log.end_offsets(RAW)
            self.lags.measured(ends, self._projectors.values())
            await asyncio.sleep(LAG_S)
