"""A TCP link to a device that can be cut: at once and told, as by a switch, or silently, as a cable does."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from lineside.servers.child_process import LOOPBACK, free_port

CHUNK_BYTES = 1 << 16


class CutWire:
    """Listens on ``port`` and passes on to ``target``: ``async with CutWire(…) as wire``."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.connections = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._cut = 0
        """How often it was cut: what was connected before a cut never flows again."""

    @property
    def endpoint(self) -> str:
        """As a device file writes it."""
        return f"opc.tcp://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> CutWire:
        self._flows.set()
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def cut(self) -> None:
        """Reset all connections, and refuse others until ``mend``."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def mend(self) -> None:
        """Connections can be made."""
        self._flows.set()
        if self._server is None:
            await self._listen()

    def hold_up(self) -> None:
        """Nothing passes any more until ``mend``, and nobody is told; on the connections of now never again."""
        self._cut += 1
        self._flows.clear()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._pass_on(reader, writer, task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        begun = self._cut
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        self._writers |= {writer, far_writer}
        passing = [
            asyncio.ensure_future(self._pass(reader, far_writer, begun)),
            asyncio.ensure_future(self._pass(far_reader, writer, begun)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            for each in (writer, far_writer):
                each.transport.abort()
            self._writers -= {writer, far_writer}
            self._serving.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: int) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if begun != self._cut:
                    await asyncio.Event().wait()
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
