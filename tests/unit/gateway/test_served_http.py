"""What the gateway takes for HTTP: requests in pieces and one after the other, and no head without an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from cloud_ingest.gateway.listening import listen
from cloud_ingest.gateway.server import HEAD_BYTES_MAX, serve
from tests.patience import WAIT_S_MAX


async def _path(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(scope["path"])(scope, receive, send)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that answers with the path that was asked for."""
    with await listen("gateway", "127.0.0.1", 0) as listening:
        serving = asyncio.create_task(serve(listening, _path))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(WAIT_S_MAX):
            yield reader, writer
        writer.close()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The status, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head.split(b" ", 2)[1], await reader.readexactly(length)


async def test_requests_are_taken_in_pieces_and_one_after_the_other() -> None:
    async with connected() as (reader, writer):
        for path in (b"/one", b"/two"):
            for byte in b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
            assert await answer(reader) == (b"200", path)
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)))
        assert [await answer(reader) for _ in range(3)] == [(b"200", b"/%d" % number) for number in range(3)]


async def test_many_requests_on_one_connection_are_no_long_head() -> None:
    async with connected() as (reader, writer):
        request = b"GET /path HTTP/1.1\r\nHost: x\r\nX-Filling: " + bytes(8000).replace(b"\0", b"f") + b"\r\n\r\n"
        for _ in range(3 * HEAD_BYTES_MAX // len(request)):
            writer.write(request)
            assert await answer(reader) == (b"200", b"/path")


@pytest.mark.parametrize("beginning", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
async def test_a_head_without_an_end_is_refused(beginning: bytes) -> None:
    piece = b"x" * 1000 if not beginning.endswith(b"\n") else b"X-Filling: " + b"x" * 990 + b"\r\n"
    async with connected() as (reader, writer):
        writer.write(beginning)
        for _ in range(HEAD_BYTES_MAX // 1000 + 2):
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        status, body = await answer(reader)
        assert (status, b"head" in body) == (b"400", True)
        assert await reader.read() == b""
