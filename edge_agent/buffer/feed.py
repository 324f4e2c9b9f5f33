"""The order in which batches leave: from memory while the uplink keeps up, from disk when it fell behind."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

from edge_agent.buffer.rows import StoredBatch
from edge_agent.buffer.writer import OutboxReader

FRESH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Committed batches that are kept in memory for the uplink; older ones are read back from disk."""


class Feed:
    """Batches in the order of their numbers, each handed out once.

    What is in memory is one unbroken run up to the newest batch; everything before it is read from disk. ``changed``
    is set whenever there may be something new to take.
    """

    def __init__(self, reader: OutboxReader, fresh_bytes_max: int = FRESH_BYTES_MAX) -> None:
        self._reader = reader
        self._fresh: deque[StoredBatch] = deque()  # bounded by fresh_bytes_max, oldest leave first
        self._fresh_bytes = 0
        self._fresh_bytes_max = fresh_bytes_max
        self._position = 0
        self._newest = 0
        self._disk_until = sys.maxsize  # up to this number batches are on disk only; how far is not known yet
        self.changed = asyncio.Event()

    @property
    def position(self) -> int:
        """The number of the last batch that was handed out."""
        return self._position

    @property
    def has_more(self) -> bool:
        """Whether there may be batches after ``position``."""
        return self._position < self._disk_until or bool(self._fresh)

    def push(self, rows: Sequence[StoredBatch]) -> None:
        """Rows that have just been committed, in order.

        Whoever waits for a commit can be cancelled while the disk does it: such rows are never pushed, and found on
        disk by the hole that they leave. Rows may have been read from disk before they are pushed.
        """
        if not rows:
            return
        if rows[0].number != self._newest + 1:
            self._fresh.clear()
            self._fresh_bytes = 0
            self._disk_until = rows[0].number - 1
        for row in rows:
            if row.number > self._position:
                self._fresh.append(row)
                self._fresh_bytes += row.size_bytes
        self._newest = rows[-1].number
        while self._fresh_bytes > self._fresh_bytes_max and len(self._fresh) > 1:
            evicted = self._fresh.popleft()
            self._fresh_bytes -= evicted.size_bytes
            self._disk_until = evicted.number
        self.changed.set()

    async def take(self, count_max: int, bytes_max: int) -> list[StoredBatch]:
        """The next batches, at most so many and so many bytes (but at least one, if there is one).

        Raises what ``read_batches`` raises.
        """
        while self._position < self._disk_until:
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
            self._position = taken[-1].number
        return taken

    async def _take_from_disk(self, count_max: int, bytes_max: int) -> list[StoredBatch]:
        until = self._disk_until
        rows = await self._reader.read(self._position, count_max, bytes_max)
        if rows:
            self._position = rows[-1].number
            while self._fresh and self._fresh[0].number <= self._position:
                self._fresh_bytes -= self._fresh.popleft().size_bytes
            if self._fresh and self._fresh[0].number == self._position + 1:
                self._disk_until = self._position
        elif until == self._disk_until:  # else batches have left the memory since the disk was asked
            self._disk_until = self._position
        return rows
