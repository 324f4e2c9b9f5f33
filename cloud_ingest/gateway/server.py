"""Serves the API in the program's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from prometheus_client import CollectorRegistry

from cloud_ingest.config import GatewaySettings
from cloud_ingest.gateway.app import make_app
from connectors.ports.database import Database


class _Server(uvicorn.Server):
    """A server that leaves signals to the program that it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See ``uvicorn.Server``."""
        yield


async def serve(settings: GatewaySettings, database: Database, registry: CollectorRegistry) -> None:
    """Serve until cancelled; requests under way are finished first. Raises ``OSError`` when the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family)
    app = make_app(database, registry)
    options = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3)
    server = _Server(options)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="gateway server")
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
        listening.close()
