"""The outbox in threads of its own, so that a slow disk never stops a poll: one thread writes, one reads.

Whichever of them finds that it is damaged says so in one place (``Damage``): the agent then opens it anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from connectors.model.delivery import Epoch
from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagType
from connectors.observability.events import emit
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.damage import check_all, named_errors
from edge_agent.buffer.losses import Losses
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.outbox_file import Opening
from edge_agent.buffer.own_thread import OwnThread
from edge_agent.buffer.reading import read_batches, read_status
from edge_agent.buffer.relief import ReliefStatus
from edge_agent.buffer.rows import OutboxStatus, StoredBatch
from edge_agent.buffer.schema import Durability, open_reader
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.observability.outbox_events import OutboxOpenedAgain

T = TypeVar("T")


class Damage:
    """Whether somebody has found that the outbox is damaged, and how it shows; of the first one who did."""

    def __init__(self) -> None:
        self.found = asyncio.Event()
        self.reason = ""

    def notice(self, reason: str) -> None:
        """The outbox has to be opened anew."""
        self.reason = self.reason or reason
        self.found.set()


class OutboxWriter:
    """Every method runs in the writing thread and raises what ``Outbox`` raises."""

    def __init__(self, outbox: Outbox, thread: OwnThread) -> None:
        self.damage = Damage()
        self._outbox = outbox
        self._thread = thread

    @classmethod
    async def open(
        cls,
        path: Path,
        durability: Durability,
        now_ms: int,
        bounds: OutboxBounds | None = None,
        sealing: Sealing = PLAIN,
        suspicion: str = "",
    ) -> OutboxWriter:
        """Open the outbox and begin an epoch; see ``Outbox``. Raises ``OutboxUnavailable``, ``OutboxTooNew``."""
        thread = OwnThread("outbox-write")

        def start() -> Outbox:
            return Outbox(path, durability, now_ms=now_ms, bounds=bounds, sealing=sealing, suspicion=suspicion)

        try:
            outbox = await thread.start(start)
        except BaseException:
            thread.end()
            raise
        return cls(outbox, thread)

    @property
    def epoch(self) -> Epoch:
        """The epoch of this start."""
        return self._outbox.epoch

    @property
    def path(self) -> Path:
        """Where the outbox is."""
        return self._outbox.path

    @property
    def opening(self) -> Opening:
        """How the file was found."""
        return self._outbox.opening

    @property
    def losses(self) -> Sequence[Losses]:
        """What this start has found to be gone, and declared."""
        return self._outbox.losses

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

    def opens_again_with(self, reader: OutboxReader) -> None:
        """Let ``reader`` go of the file whenever it has to be opened anew."""
        self._outbox.when_opened_again(reader.release)

    async def close(self) -> None:
        """Close the file after all that was asked for is done."""
        await self._call(self._outbox.close)
        self._thread.end()

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.start(work)
        except OutboxDamaged as exc:
            self.damage.notice(str(exc))
            raise
        finally:
            while self._outbox.opened_again:
                emit(OutboxOpenedAgain(self._outbox.opened_again.pop(0)))


class OutboxReader:
    """Reads rows back from disk in a thread of its own; opened when it is first needed."""

    def __init__(self, path: Path, epoch: Epoch, sealing: Sealing = PLAIN, damage: Damage | None = None) -> None:
        self.path = path
        self._epoch = epoch
        self._sealing = sealing
        self._damage = damage
        self._lock = threading.Lock()
        self._thread: OwnThread | None = None
        self._connection: sqlite3.Connection | None = None

    async def read(self, after: int, count_max: int, bytes_max: int, *, urgent: bool) -> list[StoredBatch]:
        """See ``read_batches``."""

        def read(connection: sqlite3.Connection) -> list[StoredBatch]:
            return read_batches(connection, after, count_max, bytes_max, urgent=urgent, sealing=self._sealing)

        return await self._call(read)

    async def status(self) -> OutboxStatus:
        """See ``read_status``."""
        return await self._call(lambda connection: read_status(connection, self.path, self._epoch))

    def release(self) -> None:
        """Close the file until it is needed again; from any thread."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            self._thread.end(self.release, wait=True)

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            self._thread = OwnThread("outbox-read")

        def call() -> T:
            with self._lock:
                if self._connection is None:
                    self._connection = open_reader(self.path)
                return work(self._connection)

        try:
            return await self._thread.start(call)
        except OutboxDamaged as exc:
            if self._damage is not None:
                self._damage.notice(str(exc))
            raise


async def check_beside(path: Path, damage: Damage) -> None:
    """Look at every page of an outbox that is in use, in a thread of its own; until cancelled, or all was seen."""
    thread = OwnThread("outbox-check")
    connection = open_reader(path)
    try:
        with named_errors(path, "read"):
            reason = await thread.start(lambda: check_all(connection))
        if reason:
            damage.notice(f"the outbox {path} is damaged: {reason}")
    except OutboxDamaged as exc:
        damage.notice(str(exc))
    except OutboxUnavailable:
        return  # whoever commits meets the same error, and says so
    finally:
        connection.interrupt()
        thread.end(connection.close)
