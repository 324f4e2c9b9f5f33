"""The health service of gRPC (grpc.health.v1), for load balancers: it needs no token, as ``/readyz`` needs none."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.gateway import queries
from cloud_ingest.gateway.rpc.streams import StreamPlaces
from connectors.model.errors import DatabaseUnavailable
from connectors.ports.database import Database

SERVICE: Final = "grpc.health.v1.Health"
LOOK_S: Final = 5.0
WATCHING_MAX: Final = 100
Status = HealthCheckResponse


class Health:
    """Every service is served, or none: while the database is away, or this process stops, none."""

    def __init__(self, database: Database, services: Collection[str], stopping: asyncio.Event) -> None:
        self._database = database
        self._services = {"", SERVICE, *services}
        self._stopping = stopping
        self._places = StreamPlaces(WATCHING_MAX, WATCHING_MAX)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods, by name."""
        read, written = HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, read, written),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, read, written),
        }

    async def _check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:100]!r}")
        return HealthCheckResponse(status=await self._status())

    async def _watch(self, request: HealthCheckRequest, context: Any) -> None:
        """As the protocol has it: the status at once, and whenever it is another one."""
        try:
            with self._places.taken_by("watching"):
                await self._tell_changes(request, context)
        except RequestRefused as exc:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(exc))

    async def _tell_changes(self, request: HealthCheckRequest, context: Any) -> None:
        told: int | None = None
        while True:
            status = await self._status() if request.service in self._services else Status.SERVICE_UNKNOWN
            if status != told:
                await context.write(HealthCheckResponse(status=status))
                told = status
            if self._stopping.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()

    async def _status(self) -> Any:
        if self._stopping.is_set():
            return Status.NOT_SERVING
        try:
            return Status.SERVING if await queries.is_migrated(self._database) else Status.NOT_SERVING
        except DatabaseUnavailable:
            return Status.NOT_SERVING
