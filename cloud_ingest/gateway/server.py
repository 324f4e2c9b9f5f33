"""Serves the API in the program's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from cloud_ingest.gateway.websocket_frames import WritableWebSocket

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""Of what a client sends on a WebSocket."""


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
