"""The port to the event log: an append-only, partitioned, durable log of records."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Cleanup(Enum):
    """What happens to old records: deleted after the retention, or compacted to the newest of each key."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should exist; all but the name is only used when it has to be created.

    The retention of a topic that exists follows ``retention_s`` where the log is ours alone; a cluster that others run
    is left as they have it (see ``TopicState``).
    """

    name: str
    partitions: int
    cleanup: Cleanup = Cleanup.DELETE
    retention_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record to append: records with the same key stay in their order, in one partition."""

    key: bytes
    value: bytes
    time_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record as it was read, with its log offset."""

    offset: int
    key: bytes
    value: bytes
    time_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()

    def header(self, name: str) -> bytes:
        """The header ``name``, or nothing."""
        return next((value for key, value in self.headers if key == name), b"")


@dataclass(frozen=True, slots=True)
class Position:
    """Where an append ended up: the partition, and the offset of the next record after it."""

    partition: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is.

    ``identity`` is a new one when the topic is deleted and made again; ``survives_power_loss`` is false where an append
    stands on the page cache of a single machine only. A record is deleted ``retention_s`` after its append, and maybe
    earlier where a partition is cut to ``bytes_max``; ``advice`` says what a person does to have it kept as long as the
    specification says.
    """

    identity: str
    partitions: int
    survives_power_loss: bool
    retention_s: float = math.inf
    bytes_max: int | None = None
    advice: str = ""


class RequiredReaders(Protocol):
    """Those who must have read a record before a log deletes it, as far as the log can wait for that.

    The caller who opens a log hands it in. Kafka deletes by age, whoever has read.
    """

    async def places(self, topic: str, identity: str) -> Mapping[int, int] | None:
        """By partition, the offset before which everybody has read; of a partition that is not there, nobody has.

        ``None`` where nobody has to have read ``topic``. Raises ``DatabaseUnavailable`` or ``StatementRefused``: then
        nothing is deleted.
        """
        ...

    def kept(self, topic: str, pieces: int) -> None:
        """So many parts of ``topic`` are beyond their retention, and kept as they are not read; told at each look."""
        ...


class PartitionReader(Protocol):
    """Reads one partition from a given offset on."""

    async def read(self, wait_s: float, bytes_max: int) -> Sequence[LogRecord]:
        """The next records in order, as soon as there are any; empty when none came within ``wait_s``.

        Their values are ``bytes_max`` together at most, but for one record that is larger alone. Raises
        ``EventLogUnavailable``; reading goes on afterwards where it was. One task at a time.
        """
        ...


class EventLog(Protocol):
    """An append-only log.

    Delivery: what ``append`` returned for is durable as far as ``TopicState`` says, and every reader sees the records
    of a partition in one order without gaps: a record never appears behind one that was already read.
    """

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """Create ``topic`` unless it exists; what it is now. Raises ``EventLogUnavailable``."""
        ...

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """Append ``records``; returns when all are durable, with the position of each.

        Raises ``EventLogUnavailable`` when that is not certain: some may be in the log, now or later; the caller
        appends all again, and readers recognise the duplicates. Raises ``RecordRefused`` when the log will never take
        one of them (a caller with several then appends them one by one).
        """
        ...

    def partition_of(self, topic: str, key: bytes) -> int:
        """The partition that records with ``key`` go to. The topic has been ensured."""
        ...

    def assigned(self, topic: str, group: str) -> AbstractAsyncContextManager[AsyncIterator[frozenset[int]]]:
        """The partitions that this member of ``group`` is to read, now and after every change of the membership.

        Every member gets a fair share. By asking for the next change, the caller says that it follows the last one:
        it asks again at once and reads in other tasks. For a moment two members can have the same partition, so the
        place where each has read to is kept where only one can move it. Raises ``EventLogUnavailable``, when entering
        or in between, when the membership is lost: the caller enters anew.
        """
        ...

    def reader(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[PartitionReader]:
        """A reader from ``offset`` on (or from the oldest record, when that is later)."""
        ...

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition, the offset that the next record will get: the lag is that minus a reader's place."""
        ...

    async def close(self) -> None:
        """Release everything. Never raises."""
        ...
