"""The one entry point of the platform: every route, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry

from cloud_ingest.access.admission import Admission
from cloud_ingest.access.principal import Authenticator
from cloud_ingest.commands.enrolment import Enrolments
from cloud_ingest.commands.held_tokens import TokenAuthenticator
from cloud_ingest.commands.requests import Requests
from cloud_ingest.gateway.body_limit import BodyLimit
from cloud_ingest.gateway.commands import command_routes
from cloud_ingest.gateway.data import data_routes
from cloud_ingest.gateway.device_files import device_file_routes
from cloud_ingest.gateway.documentation import ASSETS_PATH, assets, documentation
from cloud_ingest.gateway.enrolments import enrolment_routes
from cloud_ingest.gateway.entry import Entry
from cloud_ingest.gateway.finding_routes import add_routes, find_routes_by_path
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.raw_values import OpenLog
from cloud_ingest.gateway.live.routes import live_routes
from cloud_ingest.gateway.openapi import tell_openapi
from cloud_ingest.gateway.operations import operation_routes
from cloud_ingest.gateway.problems import handle_errors
from cloud_ingest.gateway.rate_limits import RateLimiter
from cloud_ingest.gateway.releases import release_routes
from cloud_ingest.gateway.representation import Representation
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.settings.gateway import GatewaySettings
from connectors.observability.version import lineside_version
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database

BODY_BYTES_MAX: Final = 256 * 1024
CORS_KEPT_S: Final = 3600
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ASKED: Final = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id")
_TOLD: Final = ("ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id")


def make_app(
    database: Database,
    registry: CollectorRegistry,
    obstacles: Obstacles,
    requests: Requests | None = None,
    platform: Sequence[APIRouter] = (),
    settings: GatewaySettings | None = None,
    authenticator: Authenticator | None = None,
    open_log: OpenLog | None = None,
) -> FastAPI:
    """The API on ``database``; ``/metrics`` shows ``registry``, and ``/readyz`` the ``obstacles``.

    Commands are taken by ``requests``; without them, with the settings' defaults. ``platform``: routes of its parts.
    Without an ``authenticator``, named tokens alone are known. ``open_log``: see ``live_routes``.
    """
    settings = settings or GatewaySettings()
    app = FastAPI(
        title="Lineside",
        version=lineside_version(),
        summary="The manufacturing platform: data, commands, lines, orders, inventory, analytics",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    rates = RateLimiter(settings.rate_limits)
    app.state.authenticator = authenticator or TokenAuthenticator(database)
    app.state.admission = Admission(settings.is_open_on_this_machine, settings.is_open_to_all, rates)
    add_routes(app, data_routes(database))
    add_routes(app, command_routes(database, requests or Requests(database, SystemClock())))
    add_routes(app, device_file_routes(database))
    add_routes(app, enrolment_routes(Enrolments(database, SystemClock())))
    add_routes(app, release_routes(database))
    app.state.live = LiveHub(database, open_log)
    add_routes(app, live_routes(database, app.state.live))
    for router in platform:
        add_routes(app, router)
    add_routes(app, operation_routes(database, registry, obstacles))
    add_routes(app, documentation())
    app.mount(ASSETS_PATH, assets(), name="assets")
    find_routes_by_path(app)
    handle_errors(app)
    tell_openapi(app)
    _add_what_holds_for_all(app, settings, rates)
    return app


def _add_what_holds_for_all(app: FastAPI, settings: GatewaySettings, rates: RateLimiter) -> None:
    """The last one that is added is the first to see a request."""
    app.add_middleware(BodyLimit, bytes_max=BODY_BYTES_MAX)
    app.add_middleware(Representation)
    app.add_middleware(Entry, rates=rates)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_ASKED,
            expose_headers=_TOLD,
            max_age=CORS_KEPT_S,
        )
