"""A TCP link to a device that can be cut: at once and told, as by a switch, or silently, as a cable does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from lineside.servers.child_process import LOOPBACK

from tests.contract.relayed_wire import CHUNK_BYTES, End, RelayedWire


class CutWire(RelayedWire):
    """Listens on ``port`` and passes on to ``target``: ``async with CutWire(…) as wire``."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._cut = 0
        """How often it was cut: what was connected before a cut never flows again."""

    @property
    def endpoint(self) -> str:
        """As a device file writes it."""
        return f"opc.tcp://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        self._flows.set()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        await super().__aexit__(kind, error, trace)

    async def cut(self) -> None:
        """Reset all connections, and refuse others until ``mend``."""
        self._listen_no_more()
        for writer in list(self._writers):
            writer.transport.abort()

    async def mend(self) -> None:
        """Connections can be made."""
        self._flows.set()
        await self._listen()

    def hold_up(self) -> None:
        """Nothing passes any more until ``mend``, and nobody is told; on the connections of now never again."""
        self._cut += 1
        self._flows.clear()

    def _ways(self, client: End, device: End) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        self._writers |= {client.writer, device.writer}
        return self._pass(client.reader, device.writer, self._cut), self._pass(device.reader, client.writer, self._cut)

    def _over(self, client: End, device: End) -> None:
        for writer in (client.writer, device.writer):
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: int) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if begun != self._cut:
                    await asyncio.Event().wait()
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
