"""A TCP link that can be cut, slowed down or made to swallow everything, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from lineside.servers.child_process import LOOPBACK, free_port

from tests.patience import WAIT_S_MAX

CHUNK_BYTES: Final = 16 * 1024
SLOW_BYTES_PER_S: Final = 60_000
SLOW_DELAY_S: Final = 0.2


class Mode(Enum):
    """How the link is."""

    GOOD = "good"
    CUT = "cut"
    """Connections are broken, and new ones refused."""
    SILENT = "silent"
    """Connections stay, and nothing comes through: a dead switch."""
    SLOW = "slow"


class Link:
    """Listens on ``port``, and passes on to ``target``."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._mode = Mode.GOOD
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._good = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Link:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S_MAX)
        self._loop.close()

    def become(self, mode: Mode) -> None:
        """Change the link; it is so when this returns."""
        self._run(self._become(mode))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S_MAX)

    async def _listen(self) -> None:
        self._good.set()
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._become(Mode.CUT)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _become(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.SILENT:
            self._good.clear()
        else:
            self._good.set()
        if mode is Mode.CUT:
            await self._break()

    async def _break(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        passing = [
            asyncio.ensure_future(self._pass(reader, far_writer)),
            asyncio.ensure_future(self._pass(far_reader, writer)),
        ]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        self._writers -= both
        for task in passing:
            task.cancel()
        for each in both:
            each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._good.wait()
                if self._mode is Mode.SLOW:
                    await asyncio.sleep(SLOW_DELAY_S + len(data) / SLOW_BYTES_PER_S)
                writer.write(data)
                await writer.drain()
