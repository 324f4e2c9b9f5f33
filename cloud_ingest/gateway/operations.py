"""The routes by which machines watch this one; they need no token."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from cloud_ingest.gateway import queries
from cloud_ingest.gateway.answers import Health
from cloud_ingest.observability.obstacles import START, Obstacles
from connectors.model.errors import DatabaseUnavailable
from connectors.ports.database import Database


def operation_routes(database: Database, registry: CollectorRegistry, obstacles: Obstacles) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics``, which shows ``registry``."""
    operations = APIRouter(tags=["Operation"])

    @operations.get("/healthz")
    async def healthz() -> Health:
        """Whether the program runs."""
        return Health(status="ok")

    @operations.get("/readyz", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Whether the program can answer: the database is there, and has its tables.

        It is "degraded" while another part of this process waits for something; questions are answered all the same.
        """
        try:
            if await queries.is_migrated(database):
                waiting = str(obstacles)
                return Health(status="degraded" if waiting else "ok", reason=waiting)
            reason = obstacles.reason(START) or queries.NOT_MIGRATED
        except DatabaseUnavailable as exc:
            reason = str(exc)
        response.status_code = 503
        return Health(status="not ready", reason=reason)

    @operations.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return operations
