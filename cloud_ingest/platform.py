"""The composition root of the platform: which parts it has, and what of each runs and answers.

Each is loaded where it is made: a process has nothing of the parts that it does not run in its memory.

Each part (lines, orders, inventory …) is a package with tables, routes and a consumer group of its own. Parts know of
each other what ``published`` and ``events`` of a part say, and nothing else (import contract in pyproject.toml).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from cloud_ingest.catalog.collections import DOCUMENTS, log_collection
from cloud_ingest.config import PLATFORM, CloudConfig, Role
from cloud_ingest.documents import documents_of
from cloud_ingest.event_log.topics import DOMAIN_TOPICS, LINE_EVENTS, SAMPLES
from cloud_ingest.observability.metrics import REGISTRY
from cloud_ingest.observability.obstacles import OBSTACLES, Obstacles
from cloud_ingest.store.processes import Facts
from connectors.ports.clock import Clock, SystemClock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

    from cloud_ingest.settings.grpc import GrpcSettings

Work = Callable[[], Coroutine[Any, Any, None]]
Part = tuple[str, Work, Facts]


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """What parts are made of, in a process with ``roles``."""

    config: CloudConfig
    roles: frozenset[Role]
    database: Database
    log: EventLog
    clock: Clock
    topics: Mapping[str, TopicSpec]


def _inventory(context: PlatformContext) -> list[Part]:
    from cloud_ingest.inventory.role import InventoryRole

    role = InventoryRole(context.database, context.log, context.clock, context.topics[LINE_EVENTS])
    return [("inventory", role.run, role.facts)]


def _integrations(context: PlatformContext) -> list[Part]:
    from cloud_ingest.outside import integration_parts
    from cloud_ingest.outside_people import notification_parts

    config, here = context.config, (context.database, context.log, context.clock, context.topics)
    people = notification_parts(config.notifications, *here, config.integrations.public_url or "")
    return [*integration_parts(config.integrations, *here), *people]


def _lines(context: PlatformContext) -> list[Part]:
    from cloud_ingest.commands.requests import Requests
    from cloud_ingest.lines.role import Lines
    from cloud_ingest.lines.work_order_keeper import WorkOrderKeeper
    from cloud_ingest.observability.line_events import LineHearsNothing
    from connectors.observability.events import emit

    requests = Requests(context.database, context.clock, context.config.commands.approve)
    keeper = WorkOrderKeeper(context.database, context.clock, requests)
    lines = Lines(context.database, context.log, context.clock, context.topics[SAMPLES])
    if "historian" not in context.roles and not context.config.historian.publish_samples:
        emit(LineHearsNothing("set 'historian: {publish_samples: true}' in the file of every process"))
    return [("lines", lines.run, lines.facts), ("work orders", keeper.run, keeper.facts)]


def _analytics(context: PlatformContext) -> list[Part]:
    from cloud_ingest.analytics.role import AnalyticsRole

    role = AnalyticsRole(context.database, context.log, context.clock, context.topics[LINE_EVENTS])
    return [("analytics", role.run, role.facts)]


def _orders(context: PlatformContext) -> list[Part]:
    from cloud_ingest.orders.handling import orders_of
    from cloud_ingest.orders.role import OrdersRole

    orders = orders_of(context.database, context.clock, context.config.orders)
    role = OrdersRole(orders, context.log, context.topics)
    return [("orders", role.run, role.facts)]


def _catalog(context: PlatformContext) -> list[Part]:
    from cloud_ingest.catalog.role import CatalogRole

    documents = documents_of(context.config, context.database)
    role = CatalogRole(documents, DOCUMENTS, log_collection(context.config.logs), context.clock)
    return [("catalog", role.run, role.facts)]


_PARTS: Final[Mapping[Role, Callable[[PlatformContext], list[Part]]]] = {
    "analytics": _analytics,
    "catalog": _catalog,
    "integrations": _integrations,
    "inventory": _inventory,
    "lines": _lines,
    "orders": _orders,
}
"""By role, what runs in a process that has it."""


def platform_parts(context: PlatformContext) -> list[Part]:
    """What runs in this process: its parts, and what publishes their events (one process at a time does)."""
    if PLATFORM.isdisjoint(context.roles):
        return []
    from cloud_ingest.event_log.relaying import EventRelay

    topics = {name: context.topics[name] for name in DOMAIN_TOPICS}
    relay = EventRelay(context.database, context.log, context.clock, topics)
    parts: list[Part] = [("events", relay.run, relay.facts)]
    for role, made in _PARTS.items():
        if role in context.roles:
            parts += made(context)
    return parts


def platform_routers(config: CloudConfig, database: Database) -> list[APIRouter]:
    """The routes of all parts: a gateway has them whatever runs in its own process."""
    from cloud_ingest.analytics.forecast_routes import forecast_routes
    from cloud_ingest.analytics.report_routes import report_routes
    from cloud_ingest.analytics.routes import analytics_routes
    from cloud_ingest.catalog.routes import catalog_routes
    from cloud_ingest.inventory.routes import inventory_routes
    from cloud_ingest.lines.equipment_routes import equipment_routes
    from cloud_ingest.lines.line_routes import line_routes
    from cloud_ingest.lines.stop_routes import stop_routes
    from cloud_ingest.lines.work_order_routes import work_order_routes
    from cloud_ingest.orders.handling import orders_of
    from cloud_ingest.orders.routes import order_routes
    from cloud_ingest.outside import integration_routers
    from cloud_ingest.outside_people import notification_routers

    clock, documents = SystemClock(), documents_of(config, database)
    return [
        analytics_routes(database),
        forecast_routes(database, clock),
        report_routes(database, clock),
        order_routes(orders_of(database, clock, config.orders)),
        *catalog_routes(database, documents, log_collection(config.logs), clock),
        equipment_routes(database),
        line_routes(database, clock),
        stop_routes(database, clock),
        work_order_routes(database, clock),
        *inventory_routes(database),
        *integration_routers(config.integrations, database, clock),
        *notification_routers(config.notifications, database, clock),
    ]


def make_gateway(
    config: CloudConfig,
    database: Database,
    registry: CollectorRegistry = REGISTRY,
    obstacles: Obstacles = OBSTACLES,
    open_log: Callable[[], Coroutine[Any, Any, EventLog]] | None = None,
) -> FastAPI:
    """The whole API, as ``config`` has it: what is served, documented and tested is this one.

    ``open_log`` opens the event log, where clients of ``/live`` find values sooner; the gateway does without it, too.
    """
    from cloud_ingest.commands.held_tokens import TokenAuthenticator
    from cloud_ingest.commands.requests import Requests
    from cloud_ingest.gateway.app import make_app
    from cloud_ingest.identity.part import identity

    requests = Requests(database, SystemClock(), config.commands.approve)
    named = TokenAuthenticator(database)
    logins, authenticator = identity(config.identity, database, SystemClock(), named=named)
    routers = [*logins, *platform_routers(config, database)]
    app = make_app(database, registry, obstacles, requests, routers, config.gateway, authenticator, open_log)
    app.state.held_tokens = named.held
    return app


def grpc_work(config: CloudConfig, settings: GrpcSettings, database: Database, app: FastAPI) -> Work:
    """What serves the gRPC API beside ``app``: with its logins and limits, and its reader of what happens."""
    from cloud_ingest.access.admission import entrance_of
    from cloud_ingest.commands.requests import Requests
    from cloud_ingest.gateway.rpc.server import RpcParts, serve_rpc

    requests = Requests(database, SystemClock(), config.commands.approve)
    parts = RpcParts(entrance_of(app.state), database, requests, app.state.live, config.gateway.proxies)
    return functools.partial(serve_rpc, settings, parts)
