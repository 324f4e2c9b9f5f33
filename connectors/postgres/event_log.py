"""The event log on PostgreSQL: the embedded log of a small plant and of the demo."""

from __future__ import annotations

import asyncio
import logging
import math
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, RecordRefused, StatementRefused
from connectors.ports.database import Row, Session
from connectors.ports.event_log import Cleanup, Position, Record, RequiredReaders, TopicSpec, TopicState
from connectors.postgres import event_log_schema as schema
from connectors.postgres.copy_stream import copy_stream, pack_headers
from connectors.postgres.database import PostgresDatabase
from connectors.postgres.event_log_errors import as_log_errors
from connectors.postgres.event_log_members import GroupMember
from connectors.postgres.event_log_pieces import drop_pieces, drop_replaced, make_pieces, piece_length_s
from connectors.postgres.event_log_reader import PostgresReader
from connectors.postgres.held_lock import lock_number
from connectors.postgres.notifications import Notifications

RECORD_BYTES_MAX: Final = 16_777_216
STATEMENT_TIMEOUT_S: Final = 15.0
SMALL_RECORDS_MAX: Final = 32
SMALL_BYTES_MAX: Final = 32_768
"""Up to here one INSERT is quicker than a COPY."""
MAINTENANCE_S: Final = 30.0
COMPACTION_S: Final = 600.0
ADVICE: Final = "Write a longer 'retention' under 'event_log', and start the programs again"
_NO_PIECE: Final = "23514"
"""The SQL state of a row that belongs into a piece which does not exist."""
_SETTINGS: Final = {
    "default_transaction_isolation": "read committed",
    "jit": "off",
    # The pieces are never analysed. What is left is the index in its order, which is always the right way.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "plan_cache_mode": "force_generic_plan",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Topic:
    topic_id: int
    name: str
    identity: str
    partitions: int
    compacted: bool
    retention_s: int
    piece_s: int


class PostgresEventLog:
    """See ``EventLog``; made by ``open_event_log``.

    Beside its pool it has one connection, on which it hears of appends and which holds all memberships of the process:
    with it they end and begin together. It keeps the pieces of all topics in order (see ``event_log_pieces``) in a task
    of its own, in one process at a time.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        *,
        record_bytes_max: int = RECORD_BYTES_MAX,
        readers: RequiredReaders | None = None,
    ) -> None:
        self._database = database
        self._readers = readers
        self._record_bytes_max = record_bytes_max
        self._topics: dict[str, _Topic] = {}
        self._notifications = Notifications(database.standing, schema.CHANNEL)
        self._maintenance = asyncio.create_task(self._maintain(), name="event-log-maintenance")

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """See ``EventLog``. An existing topic takes the retention over; its pieces stay as long as they were made."""
        with as_log_errors():
            async with self._database.transaction() as session:
                await session.execute("SELECT pg_advisory_xact_lock($1)", lock_number("event_log.schema"))
                (installed,) = await session.fetch(schema.INSTALLED, schema.VERSION)
                for statement in () if installed["yes"] else schema.CREATE:
                    await session.execute(statement)
                rows = await session.fetch(schema.FIND_TOPIC, topic.name)
                known = _topic(rows[0]) if rows else await _create(session, topic)
                if not known.compacted and known.retention_s != _retention_s(topic):
                    (row,) = await session.fetch(schema.SET_RETENTION, known.topic_id, _retention_s(topic))
                    _log.info("the topic %s keeps %d s from now on, not %d s", topic.name, row["retention_s"],
                              known.retention_s)  # fmt: skip
                    known = _topic(row)
                (durable,) = await session.fetch(
                    "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off' AS yes"
                )
        self._topics[topic.name] = known
        retention_s = math.inf if known.compacted else known.retention_s
        return TopicState(
            known.identity, known.partitions, survives_power_loss=durable["yes"], retention_s=retention_s, advice=ADVICE
        )

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """See ``EventLog``. All of ``records`` are appended, or none."""
        for record in records:
            if len(record.value) > self._record_bytes_max:
                raise RecordRefused(f"a record of {len(record.value)} bytes; the most is {self._record_bytes_max}")
        if not records:
            return []
        with as_log_errors():
            known = await self._known(topic)
            try:
                return await self._append(known, records)
            except StatementRefused as exc:
                if exc.sqlstate != _NO_PIECE:
                    self._topics.pop(topic, None)  # it may have been deleted, and made anew
                    raise
            async with self._database.transaction() as session:
                await make_pieces(session, known.topic_id, known.piece_s)
            return await self._append(known, records)

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``EventLog``."""
        return zlib.crc32(key) % self._topics[topic].partitions

    @asynccontextmanager
    async def assigned(self, topic: str, group: str) -> AsyncIterator[AsyncIterator[frozenset[int]]]:
        """See ``EventLog``. A change of the membership is noticed within ``event_log_members.POLL_S``."""
        with as_log_errors():
            known = await self._known(topic)
            async with self._database.session() as session:
                (found,) = await session.fetch(schema.FIND_GROUP, known.topic_id, group)
            shared = await self._database.standing.enter()
        try:
            member = GroupMember(
                shared,
                member_lock=found["member_lock"],
                share_lock=found["share_lock"],
                partitions=known.partitions,
            )
            try:
                with as_log_errors():
                    await member.join()
                async with aclosing(_changes(member)) as changes:
                    yield changes
            finally:
                await member.leave()
        finally:
            await self._database.standing.leave(shared)

    @asynccontextmanager
    async def reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[PostgresReader]:
        """See ``EventLog``."""
        with as_log_errors():
            known = await self._known(topic)
        with self._notifications.waiting(f"{known.topic_id}:{partition}") as grown:
            yield PostgresReader(
                self._database,
                self._notifications,
                grown,
                topic_id=known.topic_id,
                partition=partition,
                offset=offset,
            )

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See ``EventLog``."""
        with as_log_errors():
            known = await self._known(topic)
            async with self._database.session() as session:
                rows = await session.fetch(schema.END_OFFSETS, known.topic_id)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def close(self) -> None:
        """See ``EventLog``."""
        self._maintenance.cancel()
        await asyncio.wait([self._maintenance])
        await self._notifications.close()
        await self._database.close()

    async def maintain(self, *, compacting: bool) -> None:
        """Make and drop pieces where it is time to, and compact; does nothing while another process does.

        Raises ``DatabaseUnavailable`` or ``StatementRefused``.
        """
        async with self._database.held_lock("event_log.maintenance") as lock:
            if not lock.held:
                return
            async with self._database.session() as session:
                (installed,) = await session.fetch("SELECT to_regclass('event_log.topic') IS NOT NULL AS yes")
                rows = await session.fetch("SELECT * FROM event_log.topic") if installed["yes"] else ()
            for topic in map(_topic, rows):
                async with self._database.transaction() as session:
                    if not topic.compacted:
                        await make_pieces(session, topic.topic_id, topic.piece_s)
                    elif compacting:
                        await drop_replaced(session, topic.topic_id)
                if not topic.compacted:
                    await self._drop(topic)

    async def _drop(self, topic: _Topic) -> None:
        """Drop what is beyond the retention, and read by those who have to have read it."""
        places: dict[int, int] | None = None
        if self._readers is not None:
            found = await self._readers.places(topic.name, topic.identity)
            places = None if found is None else {number: found.get(number, 0) for number in range(topic.partitions)}
        async with self._database.transaction() as session:
            kept = await drop_pieces(session, topic.topic_id, topic.piece_s, topic.retention_s, places)
        if self._readers is not None:
            self._readers.kept(topic.name, kept)

    async def _maintain(self) -> None:
        loop = asyncio.get_running_loop()
        compaction_due_s = loop.time()
        while True:
            compacting = loop.time() >= compaction_due_s
            try:
                await self.maintain(compacting=compacting)
            except (DatabaseUnavailable, StatementRefused) as exc:
                _log.warning("the pieces of the event log could not be kept in order: %s", exc)
            except Exception:  # nobody waits for this task: without it nothing would be deleted any more
                _log.exception("a defect: the pieces of the event log could not be kept in order")
            else:
                if compacting:
                    compaction_due_s = loop.time() + COMPACTION_S
            await asyncio.sleep(MAINTENANCE_S)

    async def _append(self, topic: _Topic, records: Sequence[Record]) -> list[Position]:
        partitions = [zlib.crc32(record.key) % topic.partitions for record in records]
        counts = sorted(Counter(partitions).items())
        size = sum(len(record.value) for record in records)
        if len(records) <= SMALL_RECORDS_MAX and size <= SMALL_BYTES_MAX:
            return await self._append_few(topic, records, partitions, counts)
        async with self._database.transaction() as session:
            (drawn,) = await session.fetch(
                schema.DRAW, topic.topic_id, [number for number, _ in counts], [count for _, count in counts]
            )
            first_offsets = {number: first for (number, _), first in zip(counts, drawn["first_offsets"], strict=True)}
            positions = _positions(partitions, first_offsets)
            rows = [
                (position.partition, position.next_offset - 1, record)
                for position, record in zip(positions, records, strict=True)
            ]
            await session.copy(schema.records_table(topic.topic_id), schema.COLUMNS, copy_stream(rows))
        return positions

    async def _append_few(
        self, topic: _Topic, records: Sequence[Record], partitions: Sequence[int], counts: Sequence[tuple[int, int]]
    ) -> list[Position]:
        """One statement, and so one round trip, where the transaction around a COPY takes five."""
        places = {number: place for place, (number, _) in enumerate(counts, 1)}
        nth = [position.next_offset - 1 for position in _positions(partitions, dict.fromkeys(places, 0))]
        async with self._database.session() as session:
            rows = await session.fetch(
                schema.insert_records(topic.topic_id),
                topic.topic_id,
                [number for number, _ in counts],
                [count for _, count in counts],
                [places[partition] for partition in partitions],
                nth,
                [record.time_ms for record in records],
                [record.key for record in records],
                [pack_headers(record.headers) if record.headers else None for record in records],
                [record.value for record in records],
            )
        first_offsets: dict[int, int] = {}
        for row in rows:
            first_offsets[row["partition"]] = min(row["offset"], first_offsets.get(row["partition"], row["offset"]))
        return _positions(partitions, first_offsets)

    async def _known(self, name: str) -> _Topic:
        known = self._topics.get(name)
        if known is None:
            async with self._database.session() as session:
                rows = await session.fetch(schema.FIND_TOPIC, name)
            if not rows:
                raise EventLogUnavailable(f"the event log has no topic {name!r}")
            known = self._topics[name] = _topic(rows[0])
        return known


async def open_event_log(
    dsn: str,
    *,
    connections_max: int,
    application_name: str,
    record_bytes_max: int = RECORD_BYTES_MAX,
    readers: RequiredReaders | None = None,
) -> PostgresEventLog:
    """The event log in the database at ``dsn`` (see ``open_database``), its schema made by the first ``ensure``.

    What ``readers`` have not read is kept beyond the retention; without them, age alone decides.
    Raises ``EventLogUnavailable``.
    """
    database = PostgresDatabase(
        dsn,
        connections_max=connections_max,
        settings={"application_name": application_name, **_SETTINGS},
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    )
    try:
        with as_log_errors():
            await database.connect()
    except BaseException:
        await database.close()
        raise
    return PostgresEventLog(database, record_bytes_max=record_bytes_max, readers=readers)


async def _create(session: Session, topic: TopicSpec) -> _Topic:
    compacted = topic.cleanup is Cleanup.COMPACT
    retention_s = _retention_s(topic)
    (row,) = await session.fetch(
        schema.ADD_TOPIC, topic.name, topic.partitions, compacted, retention_s, piece_length_s(retention_s)
    )
    known = _topic(row)
    await session.execute(schema.ADD_PARTITIONS, known.topic_id, known.partitions)
    for statement in schema.create_records(known.topic_id, compacted=compacted):
        await session.execute(statement)
    if not compacted:
        await make_pieces(session, known.topic_id, known.piece_s)
    return known


def _positions(partitions: Sequence[int], first_offsets: Mapping[int, int]) -> list[Position]:
    """Where records of these partitions stand that are added in this order from ``first_offsets`` on."""
    following = dict(first_offsets)
    positions = []
    for partition in partitions:
        following[partition] += 1
        positions.append(Position(partition, following[partition]))
    return positions


def _retention_s(topic: TopicSpec) -> int:
    return max(1, round(topic.retention_s))


def _topic(row: Row) -> _Topic:
    return _Topic(
        row["topic_id"],
        row["name"],
        row["identity"].hex,
        row["partitions"],
        row["compacted"],
        row["retention_s"],
        row["piece_s"],
    )


async def _changes(member: GroupMember) -> AsyncGenerator[frozenset[int], None]:
    with as_log_errors():
        async with aclosing(member.changes()) as changes:
            async for partitions in changes:
                yield partitions
