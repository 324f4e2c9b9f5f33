"""A projection: reads a topic as a consumer group of its own; what it stores and its place are one transaction.

So each record has its effect exactly once, whatever is killed. A record that cannot be taken is tried again, then kept
in ``event_letter`` with the reason, and the projection goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent, read_event
from cloud_ingest.event_log.failures import Cause, cause_of, reason_of, sentence_of
from cloud_ingest.event_log.letters import CHANNEL, asked_letters, close_taken, could_not_be_taken, set_aside
from cloud_ingest.event_log.patience import AWAY, patiently
from cloud_ingest.event_log.place import Place
from cloud_ingest.observability.events import Fault, StoreReached, StoreWaiting, StoringFailed
from cloud_ingest.observability.obstacles import OBSTACLES
from cloud_ingest.observability.platform_events import EventSetAside, LetterNotTaken, LetterTaken
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.errors import (
    EventLogUnavailable,
    OffsetMoved,
    PayloadInvalid,
)
from connectors.observability.events import emit
from connectors.ports.database import Database, Session
from connectors.ports.event_log import EventLog, LogRecord, TopicSpec
from connectors.stopping import Tasks, not_silently

READ_WAIT_S: Final = 1.0
READ_BYTES_MAX: Final = 1024 * 1024
RECORDS_AT_ONCE_MAX: Final = 10_000
EVENTS_AT_ONCE_MAX: Final = 200
TRIES_MAX: Final = 3
RETRY_S: Final = 0.2
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
LETTERS_LOOK_S: Final = 60.0
"""So often a process looks for letters to take again of which it was not told."""

TakeRecords = Callable[[UnitOfWork, int, Sequence[LogRecord]], Awaitable[None]]
"""(work, partition, records): stores what they mean. Called again with the same records when the transaction failed."""
TakeEvent = Callable[[UnitOfWork, ReadEvent], Awaitable[None]]
LockFor = Callable[[Session, Sequence[ReadEvent]], Awaitable[None]]
"""(session, events): takes the locks that taking ``events`` will need, all at once and in their order."""


class Projection(Protocol):
    """What reads a topic: ``name`` is its consumer group and its rows in ``projection``.

    Each method works within the transaction of ``work``, and is called again with the same records when that failed.
    """

    @property
    def name(self) -> str:
        """The consumer group."""
        ...

    @property
    def topic(self) -> TopicSpec:
        """What it reads."""
        ...

    @property
    def at_once_max(self) -> int:
        """So many records are taken in one transaction: others wait for its locks as long as it takes."""
        ...

    async def take(self, work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        """Store what ``records`` mean."""
        ...

    async def pass_over(self, work: UnitOfWork, partition: int, record: LogRecord) -> int | None:
        """Go on without ``record``, which is kept as a letter; the tenant that it tells of, if it says one."""
        ...

    async def take_late(self, work: UnitOfWork, partition: int, record: LogRecord) -> None:
        """Store what ``record`` means, which was passed over, though those behind it have been taken."""
        ...


@dataclass(frozen=True, slots=True)
class RecordsProjection:
    """A projection of records that may be taken in any order, and more than once."""

    name: str
    topic: TopicSpec
    take_records: TakeRecords
    at_once_max: int = RECORDS_AT_ONCE_MAX

    async def take(self, work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        """See ``Projection``."""
        await self.take_records(work, partition, records)

    async def pass_over(self, work: UnitOfWork, partition: int, record: LogRecord) -> int | None:  # noqa: ARG002
        """See ``Projection``: nothing is known of a record that nobody could take."""
        return None

    async def take_late(self, work: UnitOfWork, partition: int, record: LogRecord) -> None:
        """See ``Projection``."""
        await self.take_records(work, partition, [record])


@dataclass(frozen=True, slots=True)
class EventsProjection:
    """A projection of a topic of domain events: ``take_event`` gets each once, in the order of its key.

    ``lock_for`` is asked first, with all events of a transaction that can be read.
    """

    name: str
    topic: TopicSpec
    take_event: TakeEvent
    lock_for: LockFor | None = None
    at_once_max: int = EVENTS_AT_ONCE_MAX

    async def take(self, work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        """See ``Projection``."""
        await self._lock(work.session, records)
        seen = await self._seen(work.session, partition)
        newest = seen
        for record in records:
            event = read_event(record)
            if event.number > newest:
                await self.take_event(work, event)
                newest = event.number
        if newest > seen:
            await self._saw(work.session, partition, newest)

    async def pass_over(self, work: UnitOfWork, partition: int, record: LogRecord) -> int | None:
        """See ``Projection``. Should it come again in the log, it is known."""
        try:
            event = read_event(record)
        except PayloadInvalid:
            return None
        await self._saw(work.session, partition, event.number)
        return event.tenant_id

    async def take_late(self, work: UnitOfWork, partition: int, record: LogRecord) -> None:  # noqa: ARG002
        """See ``Projection``."""
        await self._lock(work.session, [record])
        await self.take_event(work, replace(read_event(record), is_late=True))

    async def _lock(self, session: Session, records: Sequence[LogRecord]) -> None:
        if self.lock_for is None:
            return
        events: list[ReadEvent] = []
        for record in records:
            with contextlib.suppress(PayloadInvalid):  # it fails when it is taken, by itself
                events.append(read_event(record))
        await self.lock_for(session, events)

    async def _seen(self, session: Session, partition: int) -> int:
        rows = await session.fetch(
            "SELECT number FROM event_progress WHERE projection = $1 AND topic = $2 AND partition = $3",
            self.name,
            self.topic.name,
            partition,
        )
        return int(rows[0]["number"]) if rows else 0

    async def _saw(self, session: Session, partition: int, number: int) -> None:
        await session.execute(
            "INSERT INTO event_progress (projection, topic, partition, number) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT (projection, topic, partition) "
            "DO UPDATE SET number = greatest(event_progress.number, excluded.number)",
            self.name,
            self.topic.name,
            partition,
            number,
        )


class Consumer:
    """Runs one projection in this process; several processes share its partitions."""

    def __init__(self, database: Database, log: EventLog, projection: Projection) -> None:
        self._database = database
        self._log = log
        self._projection = projection
        self._part = projection.name
        self._readers: dict[int, PartitionConsumer] = {}

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of it: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Take records until cancelled; what is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(self._part, back_off, partial(self._read_assigned, back_off))

    async def _read_assigned(self, back_off: BackOff) -> None:
        topic = self._projection.topic
        identity = (await self._log.ensure(topic)).identity
        async with (
            self._log.assigned(topic.name, f"lineside.{self._projection.name}") as assignments,
            Tasks() as tasks,
        ):
            running: dict[int, asyncio.Task[None]] = {}
            tasks.create_task(self._hear_of_letters(), name=f"{self._projection.name} letters")
            async for partitions in assignments:
                back_off.reset()
                if OBSTACLES.reason(self._part):
                    emit(StoreReached(self._part))
                for number in running.keys() - partitions:
                    running.pop(number).cancel()
                for number in partitions - running.keys():
                    name = f"{self._projection.name} partition {number}"
                    running[number] = tasks.create_task(self._partition(identity, number), name=name)

    async def _partition(self, identity: str, number: int) -> None:
        part, back_off = f"{self._part} partition {number}", BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        reader = PartitionConsumer(self._database, self._log, self._projection, identity, number)
        self._readers[number] = reader
        while True:
            if (await self._log.ensure(self._projection.topic)).identity != identity:
                raise EventLogUnavailable(f"the topic {self._projection.topic.name} was deleted and made anew")
            away: Exception | None = None
            try:
                async with steadily(part, back_off):
                    await not_silently(reader.run())
            except OffsetMoved:
                pass  # another process had the partition for a while: its place is read anew
            except AWAY as exc:
                away = exc
            except Exception as exc:  # the other partitions go on; the place in the log has not moved
                emit(Fault(part, f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            wait_s = back_off.next_s()
            if away is not None:
                emit(StoreWaiting(part, reason_of(away), round(wait_s, 1)))
            await asyncio.sleep(wait_s)

    async def _hear_of_letters(self) -> None:
        """Somebody wants letters to be taken again: each reader looks whether they are of its partition."""
        async with self._database.notified(CHANNEL) as woken:
            while True:
                for reader in self._readers.values():
                    reader.look_for_letters()
                await woken.wait(LETTERS_LOOK_S)


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
        self._may_have_letters = True

    def look_for_letters(self) -> None:
        """Have it look for letters that somebody wants to be taken again, after what it is doing."""
        self._may_have_letters = True

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
                for start in range(0, len(records), self._projection.at_once_max):
                    await self.take(records[start : start + self._projection.at_once_max])
                if self._may_have_letters:
                    self._may_have_letters = False
                    await self._take_letters()
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
        async with unit_of_work(self._database) as work:
            await self._place.move(work.session, self._next, record.offset + 1, record.time_ms)
            tenant_id = await self._projection.pass_over(work, self._partition, record)
            name = self._projection.name
            await set_aside(work.session, name, topic, self._partition, record, reason, tenant_id)
        self._next = record.offset + 1
        emit(EventSetAside(self._projection.name, topic, self._partition, record.offset, reason))

    async def _take_letters(self) -> None:
        """Take what was set aside and somebody wants to be taken again, each letter in a transaction of its own."""
        name, topic = self._projection.name, self._projection.topic.name
        for letter in await asked_letters(self._database, name, topic, self._partition):
            try:
                async with unit_of_work(self._database) as work:
                    if await close_taken(work.session, letter.number):
                        await self._projection.take_late(work, self._partition, letter.record)
            except Exception as exc:
                if cause_of(exc) is Cause.OUTSIDE:
                    self._may_have_letters = True
                    raise
                reason = sentence_of(exc)
                await could_not_be_taken(self._database, letter.number, reason)
                emit(LetterNotTaken(name, letter.number, reason, "".join(traceback.format_exception(exc))))
            else:
                emit(LetterTaken(name, letter.number))

    async def _store(self, records: Sequence[LogRecord]) -> None:
        last = records[-1]
        async with unit_of_work(self._database) as work:
            await self._place.move(work.session, self._next, last.offset + 1, last.time_ms)
            await self._projection.take(work, self._partition, records)
        self._next = last.offset + 1
