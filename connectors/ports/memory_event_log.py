"""The event log in memory, for the tests of those who use one: it keeps the same contract, and forgets at its end."""

from __future__ import annotations

import asyncio
import math
import uuid
import zlib
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.model.errors import EventLogUnavailable, RecordRefused
from connectors.ports.event_log import Cleanup, LogRecord, Position, Record, TopicSpec, TopicState

RECORD_BYTES_MAX: Final = 1_048_576


@dataclass(slots=True)
class _Partition:
    records: list[LogRecord] = field(default_factory=list)
    next_offset: int = 0


@dataclass(slots=True)
class _Topic:
    spec: TopicSpec
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    partitions: list[_Partition] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)


class MemoryLogServer:
    """What several ``MemoryEventLog`` share: topics, and whether it can be reached (``available``)."""

    def __init__(self) -> None:
        self.available = True
        self.topics: dict[str, _Topic] = {}
        self._changed = asyncio.Event()

    def topic(self, name: str) -> _Topic:
        """The topic ``name``. Raises ``EventLogUnavailable`` without it, or while nothing is available."""
        if not self.available:
            raise EventLogUnavailable("the event log in memory is switched off")
        if name not in self.topics:
            raise EventLogUnavailable(f"the event log has no topic {name!r}")
        return self.topics[name]

    def forget_below(self, name: str, partition: int, offset: int) -> None:
        """Remove the records before ``offset``, as retention does."""
        place = self.topics[name].partitions[partition]
        place.records = [record for record in place.records if record.offset >= offset]

    def announce(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, wait_s: float | None) -> None:
        """Wait for the next change, for ``wait_s`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()


class MemoryReader:
    """See ``PartitionReader``."""

    def __init__(self, server: MemoryLogServer, topic: str, partition: int, offset: int) -> None:
        self._server = server
        self._topic = topic
        self._partition = partition
        self._offset = offset

    async def read(self, wait_s: float, bytes_max: int) -> Sequence[LogRecord]:
        """See ``PartitionReader``."""
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while True:
            found = self._next(bytes_max)
            if found or loop.time() >= deadline_s:
                return found
            await self._server.change(deadline_s - loop.time())

    def _next(self, bytes_max: int) -> list[LogRecord]:
        found: list[LogRecord] = []
        size_bytes = 0
        records = self._server.topic(self._topic).partitions[self._partition].records
        for record in records[bisect_left(records, self._offset, key=lambda record: record.offset) :]:
            size_bytes += len(record.value)
            if found and size_bytes > bytes_max:
                break
            found.append(record)
        if found:
            self._offset = found[-1].offset + 1
        return found


class MemoryEventLog:
    """See ``EventLog``. Compaction and retention are left to ``MemoryLogServer.forget_below``."""

    def __init__(self, server: MemoryLogServer | None = None, *, record_bytes_max: int = RECORD_BYTES_MAX) -> None:
        self.server = MemoryLogServer() if server is None else server
        self._record_bytes_max = record_bytes_max

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """See ``EventLog``."""
        if not self.server.available:
            raise EventLogUnavailable("the event log in memory is switched off")
        known = self.server.topics.get(topic.name)
        if known is None:
            known = _Topic(topic, partitions=[_Partition() for _ in range(topic.partitions)])
            self.server.topics[topic.name] = known
        known.spec = replace(known.spec, retention_s=topic.retention_s)
        retention_s = math.inf if known.spec.cleanup is Cleanup.COMPACT else known.spec.retention_s
        return TopicState(known.identity, len(known.partitions), survives_power_loss=False, retention_s=retention_s)

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """See ``EventLog``."""
        await asyncio.sleep(0)  # as any real log does, it lets others run
        partitions = self.server.topic(topic).partitions
        for record in records:
            if len(record.value) > self._record_bytes_max:
                raise RecordRefused(f"a record of {len(record.value)} bytes; the most is {self._record_bytes_max}")
        positions = []
        for record in records:
            number = self.partition_of(topic, record.key)
            place = partitions[number]
            place.records.append(LogRecord(place.next_offset, record.key, record.value, record.time_ms, record.headers))
            place.next_offset += 1
            positions.append(Position(number, place.next_offset))
        self.server.announce()
        return positions

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``EventLog``."""
        return zlib.crc32(key) % len(self.server.topics[topic].partitions)

    @asynccontextmanager
    async def assigned(self, topic: str, group: str) -> AsyncIterator[AsyncIterator[frozenset[int]]]:
        """See ``EventLog``."""
        members = self.server.topic(topic).members.setdefault(group, [])
        member = uuid.uuid4().hex
        members.append(member)
        self.server.announce()
        changes = self._shares(topic, members, member)
        try:
            yield changes
        finally:
            await changes.aclose()
            members.remove(member)
            self.server.announce()

    async def _shares(self, topic: str, members: list[str], member: str) -> AsyncGenerator[frozenset[int], None]:
        told: frozenset[int] | None = None
        while True:
            partitions = range(len(self.server.topic(topic).partitions))
            share = frozenset(partitions[members.index(member) :: len(members)])
            if share != told:
                told = share
                yield share
            else:
                await self.server.change(None)

    @asynccontextmanager
    async def reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[MemoryReader]:
        """See ``EventLog``."""
        yield MemoryReader(self.server, topic, partition, offset)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See ``EventLog``."""
        return {number: place.next_offset for number, place in enumerate(self.server.topic(topic).partitions)}

    async def close(self) -> None:
        """See ``EventLog``."""
