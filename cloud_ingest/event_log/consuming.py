"""A projection: reads a topic as a consumer group of its own; what it stores and its place are one transaction.

So each record has its effect exactly once, whatever is killed. A record that cannot be taken is tried again, then kept
in ``event_letter`` with the reason, and the projection goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent, read_event
from cloud_ingest.event_log.failures import Cause, cause_of, reason_of, sentence_of
from cloud_ingest.event_log.place import Place
from cloud_ingest.observability.events import Fault, StoreReached, StoreWaiting, StoringFailed
from cloud_ingest.observability.obstacles import OBSTACLES
from cloud_ingest.observability.platform_events import EventSetAside
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.error_groups import leaves
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, OffsetMoved, StatementRefused
from connectors.observability.events import emit
from connectors.ports.database import Database, Session
from connectors.ports.event_log import EventLog, LogRecord, TopicSpec

READ_WAIT_S: Final = 1.0
READ_BYTES_MAX: Final = 1024 * 1024
TRIES_MAX: Final = 3
RETRY_S: Final = 0.2
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
_AWAY: Final = (DatabaseUnavailable, EventLogUnavailable, StatementRefused)

TakeRecords = Callable[[UnitOfWork, int, Sequence[LogRecord]], Awaitable[None]]
"""(work, partition, records): stores what they mean. Called again with the same records when the transaction failed."""
TakeEvent = Callable[[UnitOfWork, ReadEvent], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Projection:
    """Who reads: ``name`` is its consumer group and its rows in ``projection``; ``take`` is what it does."""

    name: str
    topic: TopicSpec
    take: TakeRecords


def projection_of_events(name: str, topic: TopicSpec, take: TakeEvent) -> Projection:
    """A projection of a topic of domain events: ``take`` gets each once, in the order of its key."""

    async def take_records(work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        seen = await _seen(work.session, name, topic.name, partition)
        newest = seen
        for record in records:
            event = read_event(record)
            if event.number > newest:
                await take(work, event)
                newest = event.number
        if newest > seen:
            await work.session.execute(
                "INSERT INTO event_progress (projection, topic, partition, number) "
                "VALUES ($1, $2, $3, $4) ON CONFLICT (projection, topic, partition) "
                "DO UPDATE SET number = excluded.number",
                name,
                topic.name,
                partition,
                newest,
            )

    return Projection(name, topic, take_records)


async def _seen(session: Session, name: str, topic: str, partition: int) -> int:
    rows = await session.fetch(
        "SELECT number FROM event_progress WHERE projection = $1 AND topic = $2 AND partition = $3",
        name,
        topic,
        partition,
    )
    return int(rows[0]["number"]) if rows else 0


class Consumer:
    """Runs one projection in this process; several processes share its partitions."""

    def __init__(self, database: Database, log: EventLog, projection: Projection) -> None:
        self._database = database
        self._log = log
        self._projection = projection
        self._part = projection.name

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of it: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Take records until cancelled; what is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        topic = self._projection.topic
        while True:
            try:
                identity = (await self._log.ensure(topic)).identity
                async with (
                    self._log.assigned(topic.name, f"lineside.{self._projection.name}") as assignments,
                    asyncio.TaskGroup() as tasks,
                ):
                    running: dict[int, asyncio.Task[None]] = {}
                    async for partitions in assignments:
                        back_off.reset()
                        if OBSTACLES.reason(self._part):
                            emit(StoreReached(self._part))
                        for number in running.keys() - partitions:
                            running.pop(number).cancel()
                        for number in partitions - running.keys():
                            name = f"{self._projection.name} partition {number}"
                            running[number] = tasks.create_task(self._partition(identity, number), name=name)
            except* _AWAY as group:
                wait_s = back_off.next_s()
                emit(StoreWaiting(self._part, reason_of(leaves(group)[0]), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _partition(self, identity: str, number: int) -> None:
        part, back_off = f"{self._part} partition {number}", BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        reader = PartitionConsumer(self._database, self._log, self._projection, identity, number)
        while True:
            if (await self._log.ensure(self._projection.topic)).identity != identity:
                raise EventLogUnavailable(f"the topic {self._projection.topic.name} was deleted and made anew")
            away: Exception | None = None
            try:
                async with steadily(part, back_off):
                    await reader.run()
            except OffsetMoved:
                pass  # another process had the partition for a while: its place is read anew
            except _AWAY as exc:
                away = exc
            except Exception as exc:  # the other partitions go on; the place in the log has not moved
                emit(Fault(part, f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            wait_s = back_off.next_s()
            if away is not None:
                emit(StoreWaiting(part, reason_of(away), round(wait_s, 1)))
            await asyncio.sleep(wait_s)


class PartitionConsumer:
    """One partition of a projection."""

    def __init__(
        self, database: Database, log: EventLog, projection: Projection, identity: str, partition: int
    ) -> None:
        self._database = database
        self._log = log
        self._projection = projection
        self._partition = partition
        self._part = f"{projection.name} partition {partition}"
        self._place = Place(database, projection.topic.name, identity, partition, projection.name)
        self._next = 0

    async def run(self) -> None:
        """Take records until cancelled.

        Raises ``OffsetMoved`` when another process has the partition, and what is raised while something is away.
        """
        topic = self._projection.topic.name
        self._next = await self._place.read()
        if (await self._log.end_offsets(topic)).get(self._partition, self._next) < self._next:
            await self._place.set_back(self._next, 0)  # the log has lost its end: what is known already changes nothing
            self._next = 0
        async with self._log.reader(topic, self._partition, self._next) as reader:
            while True:
                records = await reader.read(READ_WAIT_S, READ_BYTES_MAX)
                if records:
                    await self.take(records)
                if OBSTACLES.reason(self._part):
                    emit(StoreReached(self._part))

    async def take(self, records: Sequence[LogRecord]) -> None:
        """Take ``records`` in one transaction; when one of them is why that fails, find it and set it aside."""
        try:
            await self._store(records)
        except Exception as exc:
            if cause_of(exc) is Cause.OUTSIDE:
                raise
            if len(records) > 1:
                middle = len(records) // 2
                await self.take(records[:middle])
                await self.take(records[middle:])
            else:
                await self._again_or_aside(records[0], exc)

    async def _again_or_aside(self, record: LogRecord, error: Exception) -> None:
        topic = self._projection.topic.name
        for tried in range(1, TRIES_MAX):
            if cause_of(error) is not Cause.UNCLEAR:
                break
            trace = "".join(traceback.format_exception(error))
            emit(StoringFailed(topic, self._partition, record.offset, sentence_of(error), tried, trace))
            await asyncio.sleep(RETRY_S * tried)
            try:
                await self._store([record])
            except Exception as exc:
                if cause_of(exc) is Cause.OUTSIDE:
                    raise
                error = exc
            else:
                return
        reason = sentence_of(error)
        async with self._database.transaction() as session:
            await self._place.move(session, self._next, record.offset + 1, record.time_ms)
            await session.execute(
                "INSERT INTO event_letter (projection, topic, partition, log_offset, key, value, reason) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                self._projection.name,
                topic,
                self._partition,
                record.offset,
                record.key,
                record.value,
                reason,
            )
        self._next = record.offset + 1
        emit(EventSetAside(self._projection.name, topic, self._partition, record.offset, reason))

    async def _store(self, records: Sequence[LogRecord]) -> None:
        last = records[-1]
        async with unit_of_work(self._database) as work:
            await self._place.move(work.session, self._next, last.offset + 1, last.time_ms)
            await self._projection.take(work, self._partition, records)
        self._next = last.offset + 1
