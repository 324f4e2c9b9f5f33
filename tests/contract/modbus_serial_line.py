"""A serial line of two pseudo-terminals, and a converter from TCP to one: a test sees and disturbs what they carry."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from lineside.servers.child_process import free_port


class _End:
    """One end of the line: the name of its port, and what the other side of that port is."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)

    def read_to(self, take: Callable[[bytes], None]) -> None:
        def read() -> None:
            with suppress(OSError):
                take(os.read(self.master, 4096))

        asyncio.get_running_loop().add_reader(self.master, read)

    def close(self) -> None:
        if self.master < 0:
            return
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self._slave)
        self.master = -1


class Line:
    """What the tests see of a line: the ports of both ends, and what was sent by the client."""

    def __init__(self) -> None:
        self._unit, self._client = _End(), _End()
        self.unit_port = self._unit.port
        self.endpoint = f"serial://{self._client.port}"
        self.sent: list[bytes] = []
        """What the client has sent, as it came."""
        self.has_echo = False
        """Whether the client hears what it sends."""
        self.delays_s: list[float] = []
        """How long the next pieces that the unit sends are held back, one after the other."""
        self.to_client: Callable[[bytes], None] = lambda data: _write(self._client.master, data)
        self._unit.read_to(self._from_unit)
        self._client.read_to(self.from_client)

    def _from_unit(self, data: bytes) -> None:
        if self.delays_s:
            asyncio.get_running_loop().call_later(self.delays_s.pop(0), lambda: self.to_client(data))
        else:
            self.to_client(data)

    def from_client(self, data: bytes) -> None:
        self.sent.append(data)
        if self.has_echo:
            self.to_client(data)
        _write(self._unit.master, data)

    def unplug(self) -> None:
        """The port of the client is gone."""
        self._client.close()

    def close(self) -> None:
        self._unit.close()
        self._client.close()


def _write(fd: int, data: bytes) -> None:
    if fd >= 0:
        os.write(fd, data)


@asynccontextmanager
async def serial_line() -> AsyncIterator[Line]:
    """A line whose client has a serial port too."""
    line = Line()
    try:
        yield line
    finally:
        line.close()


@asynccontextmanager
async def converter() -> AsyncIterator[Line]:
    """A line whose client reaches it over TCP, one connection at a time."""
    line = Line()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        line.to_client = writer.write
        with suppress(ConnectionError):
            while data := await reader.read(4096):
                line.from_client(data)
        writer.close()

    port = free_port()
    listener = await asyncio.start_server(serve, "127.0.0.1", port)
    line.endpoint = f"rtu+tcp://127.0.0.1:{port}"
    try:
        async with listener:
            yield line
            for writer in writers:
                writer.close()
    finally:
        line.close()
