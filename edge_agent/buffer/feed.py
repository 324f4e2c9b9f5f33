"""The order in which batches leave: what is urgent first; from memory while the uplink keeps up, else from disk."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from edge_agent.buffer.ages import CommitAges
from edge_agent.buffer.rows import Lane, StoredBatch
from edge_agent.buffer.writer import OutboxReader

OLD_AFTER_S: Final = 1.0
FRESH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Committed batches of each stream that are kept in memory for the uplink; older ones are read back from disk."""


class Feed:
    """Batches, each handed out once: records and alarms before samples, and either kind in the order of its numbers.

    ``changed`` is set whenever there may be something new to take.
    """

    def __init__(
        self,
        reader: OutboxReader,
        fresh_bytes_max: int = FRESH_BYTES_MAX,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._ages = CommitAges(OLD_AFTER_S)
        self._urgent = _Stream(reader, fresh_bytes_max, urgent=True)
        self._samples = _Stream(reader, fresh_bytes_max, urgent=False)
        self._newest = 0
        self.changed = asyncio.Event()

    @property
    def has_more(self) -> bool:
        """Whether there may be batches that were not handed out."""
        return self._urgent.has_more or self._samples.has_more

    @property
    def has_urgent(self) -> bool:
        """Whether there may be records or alarms that were not handed out."""
        return self._urgent.has_more

    @property
    def has_old_samples(self) -> bool:
        """Whether samples wait that were committed a while ago."""
        return self._samples.has_more and self._samples.position < self.old_until

    @property
    def old_until(self) -> int:
        """Rows of this start up to this number were committed more than ``OLD_AFTER_S`` ago (monotonic)."""
        return self._ages.old_until(self._monotonic_s())

    async def wait(self, longest_s: float | None) -> None:
        """Wait until ``changed`` is set, which it is at the latest after so long (``None``: however long it takes)."""
        wake = None if longest_s is None else asyncio.get_running_loop().call_later(longest_s, self.changed.set)
        try:
            await self.changed.wait()
        finally:
            if wake is not None:
                wake.cancel()

    def push(self, rows: Sequence[StoredBatch]) -> None:
        """Rows that have just been committed, in order.

        Whoever waits for a commit can be cancelled while the disk does it: such rows are never pushed, and found on
        disk by the hole that they leave. Rows may have been read from disk before they are pushed.
        """
        if not rows:
            return
        if rows[0].number != self._newest + 1:
            self.read_from_disk(rows[0].number - 1)
        for row in rows:
            (self._urgent if row.lane < Lane.SAMPLES else self._samples).push(row)
        self._newest = rows[-1].number
        self._ages.committed(rows[0].number, self._newest, self._monotonic_s())
        self.changed.set()

    def read_from_disk(self, until: int) -> None:
        """There may be batches up to this number that were never pushed: what is in memory says nothing of them."""
        self._urgent.read_from_disk(until)
        self._samples.read_from_disk(until)

    async def take(self, count_max: int, bytes_max: int, *, urgent: bool | None = None) -> list[StoredBatch]:
        """The next batches, at most so many and so many bytes (but at least one, if there is one).

        ``urgent``: only records and alarms, or only samples. Raises what ``read_batches`` raises.
        """
        if urgent is not False and self._urgent.has_more and (rows := await self._urgent.take(count_max, bytes_max)):
            return rows
        return [] if urgent else await self._samples.take(count_max, bytes_max)


class _Stream:
    """Batches in the order of their numbers: what is in memory are all since some number; the others are on disk."""

    def __init__(self, reader: OutboxReader, fresh_bytes_max: int, *, urgent: bool) -> None:
        self._reader = reader
        self._is_urgent = urgent
        self._fresh: deque[StoredBatch] = deque()  # bounded by fresh_bytes_max, oldest leave first
        self._fresh_bytes = 0
        self._fresh_bytes_max = fresh_bytes_max
        self.position = 0  # the number of the last batch that was handed out
        self._disk_until = sys.maxsize  # up to this number batches are on disk only; how far is not known yet

    @property
    def has_more(self) -> bool:
        """Whether there may be batches after the position."""
        return self.position < self._disk_until or bool(self._fresh)

    def read_from_disk(self, until: int) -> None:
        """See ``Feed.read_from_disk``."""
        self._fresh.clear()
        self._fresh_bytes = 0
        self._disk_until = until

    def push(self, row: StoredBatch) -> None:
        """A batch that has just been committed."""
        if row.number > self.position:
            self._fresh.append(row)
            self._fresh_bytes += row.size_bytes
        while self._fresh_bytes > self._fresh_bytes_max and len(self._fresh) > 1:
            evicted = self._fresh.popleft()
            self._fresh_bytes -= evicted.size_bytes
            self._disk_until = evicted.number

    async def take(self, count_max: int, bytes_max: int) -> list[StoredBatch]:
        """See ``Feed.take``."""
        while self.position < self._disk_until:
            rows = await self._take_from_disk(count_max, bytes_max)
            if rows:
                return rows
        taken: list[StoredBatch] = []
        size = 0
        while self._fresh and len(taken) < count_max and (not taken or size < bytes_max):
            row = self._fresh.popleft()
            self._fresh_bytes -= row.size_bytes
            size += row.size_bytes
            taken.append(row)
        if taken:
            self.position = taken[-1].number
        return taken

    async def _take_from_disk(self, count_max: int, bytes_max: int) -> list[StoredBatch]:
        until = self._disk_until
        rows = await self._reader.read(self.position, count_max, bytes_max, urgent=self._is_urgent)
        if rows:
            self.position = rows[-1].number
            while self._fresh and self._fresh[0].number <= self.position:
                self._fresh_bytes -= self._fresh.popleft().size_bytes
        elif until == self._disk_until:  # else batches have left the memory since the disk was asked
            self._disk_until = self.position
        return rows
