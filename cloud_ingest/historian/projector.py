"""Reads one partition of the raw log and stores it: each record's effect exactly once.

The place in the log and what the records meant are one transaction, which moves the place only from where this process
left it. So a crash at any point repeats or skips nothing, and a process that was thought dead stores nothing.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cloud_ingest.event_log.failures import (
    OTHER_TABLES,
    Cause,
    cause_of,
    outside,
    reason_of,
    sentence_of,
)
from cloud_ingest.event_log.place import Place
from cloud_ingest.event_log.topics import RAW, raw_message
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.incoming import Incoming, read_incoming
from cloud_ingest.historian.interpreter import Interpreter
from cloud_ingest.historian.ledger_book import LedgerBook
from cloud_ingest.historian.nodes import Nodes
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.presence import Presence
from cloud_ingest.historian.samples_topic import SamplesTopic
from cloud_ingest.historian.storing import PROJECTION, store
from cloud_ingest.historian.unparking import Unparking
from cloud_ingest.historian.work import DeadLetter, Work
from cloud_ingest.observability.events import (
    DeadLettered,
    PartitionAssigned,
    PlaceSetBack,
    RecordsExpired,
    Stored,
    StoreWaiting,
    StoringFailed,
)
from cloud_ingest.observability.metrics import TRANSIENT
from cloud_ingest.observability.obstacles import historian_partition
from connectors.model.back_off import BackOff
from connectors.model.delivery import EPOCH_MAX
from connectors.model.errors import (
    DatabaseUnavailable,
    EventLogUnavailable,
    LinesideError,
    OffsetMoved,
    StatementRefused,
)
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, LogRecord, TopicSpec

READ_WAIT_S: Final = 1.0
READ_BYTES_MAX: Final = 4 * 1024 * 1024
TRIES_MAX: Final = 3
RETRY_S: Final = 0.5


class TopicReplaced(LinesideError):
    """The topic was deleted and made anew: whoever reads it begins anew, too."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What a projector works with."""

    database: Database
    log: EventLog
    partitions: Partitions
    samples: SamplesTopic | None
    clock: Clock
    raw: TopicSpec = field(default_factory=lambda: TopicSpec(RAW, 1))
    reorder_ms: int = 2000


class Projector:
    """The historian of one partition."""

    def __init__(self, stores: Stores, identity: str, partition: int) -> None:
        self.partition = partition
        self.next_offset = 0
        self.last_ms: int | None = None
        """When the last record was taken that is stored."""
        self._stores = stores
        self._identity = identity
        self._place = Place(stores.database, RAW, identity, partition, PROJECTION)
        self._identities = Identities(stores.database)
        self._book = LedgerBook(stores.database)
        keep = stores.samples is not None
        self._nodes = Nodes(stores.database, self._identities, keep_decoded=keep, reorder_ms=stores.reorder_ms)
        self._presence = Presence(stores.database)
        self._interpreter = Interpreter(self._identities, self._book, self._nodes, self._presence, keep_decoded=keep)
        self._unparking = Unparking(
            stores.database, stores.partitions, stores.samples, self._interpreter, self._book, _tell, stores.clock
        )

    async def run(self, back_off: BackOff) -> None:
        """Store the partition until cancelled.

        Raises ``OffsetMoved`` when another process has taken it over, and ``TopicReplaced``. A database or log that is
        down is waited for, as long as ``back_off`` says; it begins anew with what is stored.
        """
        while True:
            try:
                await self._read_on(back_off)
            except (DatabaseUnavailable, EventLogUnavailable, StatementRefused) as exc:
                self._forget()
                wait_s = back_off.next_s()
                emit(StoreWaiting(historian_partition(self.partition), reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _read_on(self, back_off: BackOff) -> None:
        self.next_offset = await self._place.read()
        self.last_ms = self._place.last_ms
        await self._go_back()
        emit(PartitionAssigned(RAW, self.partition, self.next_offset))
        async with self._stores.log.reader(RAW, self.partition, self.next_offset) as reader:
            while True:
                records = await reader.read(READ_WAIT_S, READ_BYTES_MAX)
                if records:
                    if (expired := records[0].offset - self.next_offset) > 0:
                        emit(RecordsExpired(RAW, self.partition, self.next_offset, expired))
                    await self._project(records)
                    back_off.reset()

    async def _go_back(self) -> None:
        """If the log has lost its end, go back to what it took since: that stands before our place.

        The batches in the part that was lost are stored, so that none of them is missing. Raises ``TopicReplaced``.
        """
        log = self._stores.log
        if (await log.ensure(self._stores.raw)).identity != self._identity:
            raise TopicReplaced(f"the topic {RAW} was deleted and made anew")
        end = (await log.end_offsets(RAW)).get(self.partition, self.next_offset)
        if end >= self.next_offset and await self._is_as_left():
            return
        since = await self._first_since(min(end, self.next_offset))
        if since == self.next_offset:
            return
        await self._place.set_back(self.next_offset, since)
        emit(PlaceSetBack(RAW, self.partition, self.next_offset, since, end))
        self.next_offset = since

    async def _is_as_left(self) -> bool:
        """Whether the record before our place is the one that was there, as far as can be said."""
        if self.next_offset == 0 or self._place.last_ms is None:
            return True
        record = await self._record_at(self.next_offset - 1)
        return record is None or record.offset >= self.next_offset or record.time_ms == self._place.last_ms

    async def _first_since(self, end: int) -> int:
        """The offset of the first record before ``end`` that was not taken before the last one that we have read.

        Records are in the order in which they were taken.
        """
        low, high = (0, end) if self._place.last_ms is not None else (end, end)
        while low < high:
            middle = (low + high) // 2
            record = await self._record_at(middle)
            if record is None or record.time_ms >= (self._place.last_ms or 0):
                high = middle
            else:
                low = record.offset + 1
        return low

    async def _record_at(self, offset: int) -> LogRecord | None:
        """The first record from ``offset`` on, if there is one."""
        async with self._stores.log.reader(RAW, self.partition, offset) as reader:
            records = await reader.read(0, 1)
        return records[0] if records else None

    async def _project(self, records: Sequence[LogRecord]) -> None:
        """Store ``records``; if that fails because of one of them, find that one and set it aside.

        Raises ``DatabaseUnavailable`` when the reason is in none of them: that is waited for.
        """
        error = await self._failure_of(records)
        left = self._left(records)
        if isinstance(error, StatementRefused) and error.sqlstate in OTHER_TABLES:
            await self._stores.partitions.prepare()
            error = await self._failure_of(left)
            left = self._left(left)
        if error is None:
            return
        if cause_of(error) is Cause.OUTSIDE:
            raise outside(error) if isinstance(error, StatementRefused) else error
        if len(left) == 1:
            await self._store_or_set_aside(left[0], error)
            return
        middle = len(left) // 2
        await self._project(left[:middle])
        await self._project(left[middle:])

    async def _failure_of(self, records: Sequence[LogRecord]) -> Exception | None:
        """Store ``records``; why that stopped on the way, if it was not the database or the log that is away."""
        try:
            await self._store_all(records)
        except (DatabaseUnavailable, EventLogUnavailable, OffsetMoved):
            raise
        except Exception as exc:  # refused, or a defect of ours: the caller finds the message that brings it out
            self._forget()
            return exc
        return None

    async def _store_or_set_aside(self, record: LogRecord, error: Exception) -> None:
        """One message cannot be stored. Where it is not clear that it is its own fault, it is tried some more times."""
        tries = 1
        while cause_of(error) is Cause.UNCLEAR and tries < TRIES_MAX:
            emit(StoringFailed(RAW, self.partition, record.offset, sentence_of(error), tries, _traceback(error)))
            await asyncio.sleep(RETRY_S * tries)
            self._identities.forget()
            again = await self._failure_of([record])
            if again is None:
                return
            if cause_of(again) is Cause.OUTSIDE:
                raise outside(again) if isinstance(again, StatementRefused) else again
            error, tries = again, tries + 1
        await self._store(await self._set_aside(record, sentence_of(error)))

    async def _store_all(self, records: Sequence[LogRecord]) -> None:
        while records:
            await self._store(await self._work(records))
            records = self._left(records)

    def _left(self, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """Those of ``records`` that are not stored yet."""
        return [record for record in records if record.offset >= self.next_offset]

    async def _work(self, records: Sequence[LogRecord]) -> Work:
        work = await self._interpreter.interpret(records)
        if work.defined and await self._unparking.unpark(work.defined):
            self._forget()  # the ledger is another one now: what was concluded from it is concluded again
            work = await self._interpreter.interpret(records)
        return work

    async def _store(self, work: Work) -> None:
        stores = self._stores
        await stores.partitions.ensure(work.rows)
        if stores.samples is not None and work.rows:
            await stores.samples.publish(work)
        started_s = stores.clock.monotonic_s()
        await store(stores.database, self._place, self.next_offset, work, stores.partitions)
        self._book.committed(work)
        self.next_offset, self.last_ms = work.next_offset, work.last_ms
        TRANSIENT.inc(work.transient)
        _tell(work, stores.clock.monotonic_s() - started_s)

    async def _set_aside(self, record: LogRecord, reason: str) -> Work:
        """The work that puts one record into the dead letters and goes past it.

        Where reading is what fails, it is set aside as it came, without a number.
        """
        message, found = raw_message(record), _read_if_possible(record)
        letter = DeadLetter(message.topic, message.payload, reason, message.received_ms)
        work = Work(next_offset=record.offset + 1, last_ms=record.time_ms)
        if isinstance(found, Incoming):
            agent = self._identities.known_agent(found.topic.agent)
            letter = replace(letter, agent=agent)
            if found.delivery is not None:
                delivery = found.delivery
                letter = replace(letter, epoch=delivery.epoch, batch=delivery.batch, definition=delivery.defines)
                if agent is not None and 0 < found.delivery.batch < EPOCH_MAX:
                    await self._book.entry(work, agent, found.delivery.epoch)  # it may be the first of its epoch
        work.dead_letters.append(letter)
        return work

    def _forget(self) -> None:
        self._book.forget()
        self._nodes.forget()
        self._presence.forget()


def _tell(work: Work, duration_s: float) -> None:
    emit(Stored(work.samples, work.duplicates, len(work.gaps), len(work.parked), duration_s))
    for letter in work.dead_letters:
        emit(DeadLettered(letter.topic[:200], len(letter.payload), letter.reason))


def _read_if_possible(record: LogRecord) -> Incoming | DeadLetter | None:
    try:
        return read_incoming(record)
    except Exception:  # it may be why the record is set aside, and is told there
        return None


def _traceback(error: Exception) -> str:
    """Where a defect is; nothing for what PostgreSQL has refused."""
    return "" if isinstance(error, StatementRefused) else "".join(traceback.format_exception(error))
