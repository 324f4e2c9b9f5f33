"""HTTP/1.1 with so little around it that what is measured is the other side: a client, and the bare echo.

``python -m benchmarks.plain_http PORT``: the echo. It reads a request up to its empty line, and answers with ten bytes.
"""

from __future__ import annotations

import asyncio
import sys
import time

_ECHO = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: text/plain\r\n\r\n0123456789"


class Connection:
    """One connection that stays open; one request at a time."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._place = (host, port)
        self._token = f"Authorization: Bearer {token}\r\n" if token else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, int]:
        """Ask for ``path``: the status, and the bytes of the body. What the server has closed is opened anew."""
        was_open = self._streams is not None and not self._streams[0].at_eof()
        try:
            return await self._get(path)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not was_open:
                raise
            self._streams = None  # it was closed while nobody used it
            return await self._get(path)

    async def _get(self, path: str) -> tuple[int, int]:
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection(*self._place)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._place[0]}\r\n{self._token}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        return int(head.split(" ", 2)[1]), length

    def close(self) -> None:
        """Forget the connection."""
        if self._streams is not None:
            self._streams[1].close()


class Pool:
    """Connections to one place, as many as are asked for at the same time."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._made = lambda: Connection(host, port, token)
        self._free: list[Connection] = []

    async def timed(self, path: str, due_s: float) -> float:
        """Ask for ``path``: how long that took since ``due_s``, when it should have begun, in ms."""
        connection = self._free.pop() if self._free else self._made()
        status, _ = await connection.get(path)
        took_ms = (time.perf_counter() - due_s) * 1000
        if status != 200:
            raise SystemExit(f"GET {path} was answered with {status}")
        self._free.append(connection)
        return took_ms

    def close(self) -> None:
        """Forget all connections."""
        for connection in self._free:
            connection.close()


async def serve_echo(port: int) -> None:
    """Answer until ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(_ECHO)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_echo(int(sys.argv[1])))
