"""The outbox without its threads, which virtual time cannot wait for; the file is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from connectors.model.delivery import Epoch
from connectors.model.errors import OutboxUnavailable
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagType
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import StoredBatch
from edge_agent.buffer.sealing import PLAIN, Sealing
from tests.virtual_time import START_NS

T = TypeVar("T")


class InlineWriter:
    """Does at once what ``OutboxWriter`` does in its thread; the next ``failures`` commits and definitions fail."""

    def __init__(self, folder: Path, sealing: Sealing = PLAIN, bounds: OutboxBounds | None = None) -> None:
        path, now_ms = folder / "outbox.db", START_NS // 1_000_000
        self.outbox = Outbox(path, "normal", now_ms=now_ms, bounds=bounds, sealing=sealing)
        self.sealing = sealing
        self.failures = 0

    @property
    def epoch(self) -> Epoch:
        return self.outbox.epoch

    async def commit(self, work: Commit) -> list[StoredBatch]:
        self._fail()
        return self.outbox.commit(work)

    async def define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int
    ) -> tuple[DeviceDefinition, list[StoredBatch]]:
        self._fail()
        return self.outbox.define(device, types, now_ms)

    async def definition(self, hash_: DefinitionHash) -> DeviceDefinition | None:
        return self.outbox.definition(hash_)

    async def next_bd_seq(self) -> int:
        return self.outbox.next_bd_seq()

    async def call(self, work: Callable[[Outbox], T]) -> T:
        return work(self.outbox)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OutboxUnavailable("the disk is full")


class InlineReader:
    """Does at once what ``OutboxReader`` does in its thread."""

    def __init__(self, writer: InlineWriter) -> None:
        self._outbox = writer.outbox
        self._sealing = writer.sealing

    async def read(self, after: int, count_max: int, bytes_max: int, *, urgent: bool) -> list[StoredBatch]:
        connection, sealing = self._outbox._connection, self._sealing
        return read_batches(connection, after, count_max, bytes_max, urgent=urgent, sealing=sealing)

    def rows(self) -> list[StoredBatch]:
        """Everything that is in the outbox."""
        return read_batches(self._outbox._connection, 0, 1_000_000, 1 << 40, sealing=self._sealing)
