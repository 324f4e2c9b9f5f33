"""Serves the API in the program's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cloud_ingest.gateway.websocket_frames import WritableWebSocket

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""Of what a client sends on a WebSocket."""


HEAD_BYTES_MAX: Final = 64 * 1024
"""Of a request: its line and its header fields."""


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 by llhttp, which reads a request in a tenth of the time that a parser in Python takes.

    It takes heads of any length, and would keep what comes: here, one that does not end is refused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = True
        self._head_bytes = 0
        """Of this head, without the piece in which it began."""

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {HEAD_BYTES_MAX} bytes.")

    def on_headers_complete(self) -> None:
        """See ``HttpToolsProtocol``."""
        self._is_in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See ``HttpToolsProtocol``."""
        self._is_in_head = True
        super().on_message_complete()


class _Server(uvicorn.Server):
    """A server that leaves signals to the program that it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See ``uvicorn.Server``."""
        yield


async def serve(listening: socket.socket, app: ASGIApp, proxies: Sequence[str] = ()) -> None:
    """Serve ``app`` until cancelled; requests under way are finished first. ``listening`` stays open.

    What ``proxies`` say of where a request comes from is believed.
    """
    own = listening.dup()  # uvicorn closes what it was given
    options = uvicorn.Config(
        app,
        http=BoundedHttp,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
        server_header=False,
        ws=WritableWebSocket,
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,  # each message of each client by itself: it costs more than it saves
        forwarded_allow_ips=list(proxies),
    )
    server = _Server(options)
    serving = asyncio.create_task(server.serve(sockets=[own]), name="gateway server")
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
        own.close()
