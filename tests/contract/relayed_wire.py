"""A TCP link between a client and a device; what passes on it, and how it ends, say those who inherit from it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from lineside.servers.child_process import LOOPBACK, free_port

CHUNK_BYTES: Final = 1 << 16


class End(NamedTuple):
    """One of the two connections that a link consists of."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class RelayedWire(ABC):
    """Listens on ``port`` and passes on to ``target``: ``async with … as wire``."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.connections = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listen_no_more()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @abstractmethod
    def _ways(self, client: End, device: End) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        """What passes, there and back; when one of them returns, the connection is over."""

    @abstractmethod
    def _over(self, client: End, device: End) -> None:
        """End both connections."""

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    def _listen_no_more(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._relay(End(reader, writer))
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _relay(self, client: End) -> None:
        device = End(*await asyncio.open_connection(LOOPBACK, self._target))
        passing = [asyncio.ensure_future(way) for way in self._ways(client, device)]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            self._over(client, device)
