"""The outbox in threads of its own, so that a slow disk never stops a poll: one thread writes, one reads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from connectors.model.delivery import Epoch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagType
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches, read_status
from edge_agent.buffer.relief import ReliefStatus
from edge_agent.buffer.rows import OutboxStatus, StoredBatch
from edge_agent.buffer.schema import Durability, open_reader

T = TypeVar("T")


class OutboxWriter:
    """Every method runs in the writing thread and raises what ``Outbox`` raises."""

    def __init__(self, outbox: Outbox, executor: ThreadPoolExecutor) -> None:
        self._outbox = outbox
        self._executor = executor

    @classmethod
    async def open(
        cls, path: Path, durability: Durability, now_ms: int, bounds: OutboxBounds | None = None
    ) -> OutboxWriter:
        """Open the outbox and begin an epoch. Raises ``OutboxUnavailable``."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="outbox-write")
        loop = asyncio.get_running_loop()
        try:
            opened = loop.run_in_executor(executor, lambda: Outbox(path, durability, now_ms=now_ms, bounds=bounds))
            outbox = await opened
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(outbox, executor)

    @property
    def epoch(self) -> Epoch:
        """The epoch of this start."""
        return self._outbox.epoch

    @property
    def path(self) -> Path:
        """Where the outbox is."""
        return self._outbox.path

    @property
    def relief(self) -> ReliefStatus:
        """How full the outbox was at the last commit."""
        return self._outbox.relief

    async def commit(self, work: Commit) -> list[StoredBatch]:
        """See ``Outbox.commit``."""
        return await self._call(lambda: self._outbox.commit(work))

    async def define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int
    ) -> tuple[DeviceDefinition, list[StoredBatch]]:
        """See ``Outbox.define``."""
        return await self._call(lambda: self._outbox.define(device, types, now_ms))

    async def definition(self, hash_: DefinitionHash) -> DeviceDefinition | None:
        """See ``Outbox.definition``."""
        return await self._call(lambda: self._outbox.definition(hash_))

    async def next_bd_seq(self) -> int:
        """See ``Outbox.next_bd_seq``."""
        return await self._call(self._outbox.next_bd_seq)

    async def call(self, work: Callable[[Outbox], T]) -> T:
        """Run ``work`` on the outbox in its thread, for what is needed once at a start."""
        return await self._call(lambda: work(self._outbox))

    async def close(self) -> None:
        """Close the file after all that was asked for is done."""
        await self._call(self._outbox.close)
        self._executor.shutdown(wait=False)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class OutboxReader:
    """Reads rows back from disk in a thread of its own; opened when it is first needed."""

    def __init__(self, path: Path, epoch: Epoch) -> None:
        self.path = path
        self._epoch = epoch
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def read(self, after: int, count_max: int, bytes_max: int, *, urgent: bool) -> list[StoredBatch]:
        """See ``read_batches``."""
        return await self._call(lambda: read_batches(self._open(), after, count_max, bytes_max, urgent=urgent))

    async def status(self) -> OutboxStatus:
        """See ``read_status``."""
        return await self._call(lambda: read_status(self._open(), self.path, self._epoch))

    def close(self) -> None:
        """Close the file."""
        if self._executor is not None:
            self._executor.submit(self._close_connection)
            self._executor.shutdown(wait=True)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_reader(self.path)
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _call(self, work: Callable[[], T]) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox-read")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
