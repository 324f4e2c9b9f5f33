"""Serves ``lineside.v1`` in the program's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from cloud_ingest.access.admission import Entrance
from cloud_ingest.commands.requests import Requests
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.rpc import health
from cloud_ingest.gateway.rpc.calls import Calls, Served
from cloud_ingest.gateway.rpc.command_service import CommandService
from cloud_ingest.gateway.rpc.data_service import DataService
from cloud_ingest.gateway.rpc.line_service import LineService
from cloud_ingest.gateway.rpc.method_table import PACKAGE
from cloud_ingest.gateway.rpc.streams import StreamPlaces
from cloud_ingest.gateway.rpc.tls import CertificateFiles
from cloud_ingest.observability.gateway_events import GrpcServing
from cloud_ingest.settings.grpc import GrpcSettings
from connectors.observability.events import emit
from connectors.ports.database import Database

REQUEST_BYTES_MAX: Final = 256 * 1024
"""As of a request to REST."""
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
METADATA_BYTES_MAX: Final = 16 * 1024
CALLS_MAX: Final = 2000
CALLS_PER_CONNECTION_MAX: Final = 200
STREAMS_MAX: Final = 1000
GRACE_S: Final = 3.0
OPTIONS: Final = (
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", CALLS_PER_CONNECTION_MAX),
    ("grpc.keepalive_time_ms", 60_000),  # a client that is gone without a word has no stream for longer than this
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients may look as often whether we are there
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),  # a port that another program has is taken
)


@dataclass(frozen=True, slots=True)
class RpcParts:
    """What the services are made of: those of the gateway, with its live hub, and whose proxies it believes."""

    entrance: Entrance
    database: Database
    requests: Requests
    hub: LiveHub
    proxies: Collection[str] = ()


class RpcServer:
    """One server; ``port`` says where it listens when the settings leave that open (0)."""

    def __init__(self, settings: GrpcSettings, parts: RpcParts) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        places = StreamPlaces(STREAMS_MAX, settings.streams_per_principal)
        calls = Calls(parts.entrance, places, self._stopping, parts.proxies)
        self._server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
        names = _add(self._server, calls, served_by(parts))
        checks = health.Health(parts.database, names, self._stopping)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(health.SERVICE, checks.handlers()),)
        )
        if settings.reflection:
            _tell_what_there_is(self._server, [*names, health.SERVICE])

    async def start(self, port: int | None = None) -> int:
        """Listen; the port at which it does. Raises ``RuntimeError`` when it cannot, and ``OSError`` (certificate)."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        place = f"{host}:{self._settings.port if port is None else port}"
        if self._settings.tls is None:
            taken = self._server.add_insecure_port(place)
        else:
            taken = self._server.add_secure_port(place, CertificateFiles(self._settings.tls).credentials())
        await self._server.start()
        emit(GrpcServing(f"{host}:{taken}", self._settings.tls is not None))
        return int(taken)

    async def stop(self) -> None:
        """Streams end with a word, other calls are finished, for as long as ``GRACE_S``."""
        self._stopping.set()
        await self._server.stop(GRACE_S)


async def serve_rpc(settings: GrpcSettings, parts: RpcParts) -> None:
    """Serve until cancelled. Raises what ``RpcServer.start`` does."""
    server = RpcServer(settings, parts)
    try:
        await server.start()
        await asyncio.Event().wait()
    finally:
        await server.stop()


def served_by(parts: RpcParts) -> Sequence[Served]:
    """Every method, with what it does."""
    return [
        *DataService(parts.database, parts.hub).methods(),
        *LineService(parts.database, parts.hub).methods(),
        *CommandService(parts.database, parts.requests, parts.hub).methods(),
    ]


def _add(server: Any, calls: Calls, methods: Sequence[Served]) -> list[str]:
    """Have ``server`` serve ``methods``; the names of their services."""
    services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
    for served in methods:
        services.setdefault(f"{PACKAGE}.{served.method.service}", {})[served.method.name] = calls.handler(served)
    for name, handlers in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    return list(services)


def _tell_what_there_is(server: Any, services: Sequence[str]) -> None:
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server)
