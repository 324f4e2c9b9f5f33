"""The route that is found by the beginning of a path is the one that FastAPI finds by trying all of them."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from prometheus_client import CollectorRegistry
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from cloud_ingest.config import CloudConfig
from cloud_ingest.gateway.finding_routes import add_routes, find_routes_by_path
from cloud_ingest.platform import make_gateway
from connectors.ports.database import Database


async def nothing(*_: Any) -> Any:
    """Neither comes nor goes."""


def asked(method: str, path: str) -> Scope:
    return {"type": "http" if method else "websocket", "method": method, "path": path, "root_path": "", "headers": []}


async def test_every_route_of_the_gateway_is_found_as_fastapi_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CloudConfig.model_validate(
        {"ingest": {"brokers": ["mqtt://x"], "insecure": True}, "database": {"insecure": True}}
    )
    app = make_gateway(config, cast("Database", object()), CollectorRegistry())
    found: list[Any] = []

    async def handle(route: Any, _scope: Scope, _receive: Receive, _send: Send) -> None:
        found.append(route)

    async def missed(*_: Any) -> None:
        raise AssertionError("FastAPI was asked")

    monkeypatch.setattr(APIRoute, "handle", handle)
    monkeypatch.setattr(APIWebSocketRoute, "handle", handle)
    app.router.middleware_stack = missed
    find_routes_by_path(app)
    routes = [route for route in app.router.routes if isinstance(route, APIRoute | APIWebSocketRoute)]
    assert len(routes) > 200
    for route in routes:
        path = re.sub(r"{[^}]*}", "7", route.path)
        for method in getattr(route, "methods", None) or {""}:
            scope = asked(method, path)
            expected = next(one for one in app.router.routes if one.matches(scope)[0] is Match.FULL)
            await app.router.middleware_stack(dict(scope), nothing, nothing)
            assert found.pop() is expected, (method, path)


async def test_what_is_not_found_is_left_to_fastapi() -> None:
    app, router, sent = FastAPI(), APIRouter(prefix="/api/v1"), []

    @router.get("/things/{name}")
    async def thing(name: str) -> str:
        return name

    async def send(message: Any) -> None:
        sent.append(message)

    add_routes(app, router)
    find_routes_by_path(app)
    for method, path, status in (
        ("GET", "/api/v1/things/one", 200), ("POST", "/api/v1/things/one", 405), ("GET", "/api/v1/others", 404),
        ("GET", "/openapi.json", 200), ("GET", "/api/v1/things/one/", 307),
    ):  # fmt: skip
        await app({**asked(method, path), "query_string": b"", "server": ("x", 80), "scheme": "http"}, nothing, send)
        assert sent[0]["status"] == status, path
        sent.clear()


async def test_a_route_with_a_parameter_at_its_beginning_has_its_place_among_the_others() -> None:
    app, router, found = FastAPI(), APIRouter(), []

    @router.get("/api/v1/first")
    async def first() -> None:
        found.append("first")

    @router.get("/api/{version}/{name}")
    async def loose(version: str, name: str) -> None:
        found.append(f"{version} {name}")

    @router.get("/api/v1/last")
    async def last() -> None:
        found.append("last")

    add_routes(app, router)
    find_routes_by_path(app)
    for path in ("/api/v1/first", "/api/v2/first", "/api/v1/last"):
        await app({**asked("GET", path), "query_string": b""}, nothing, nothing)
    assert found == ["first", "v2 first", "v1 last"]
