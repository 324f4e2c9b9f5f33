"""Finds the route of a request by the beginning of its path, where FastAPI would try one route after the other.

The API has some three hundred, and trying them took longer than most answers. What is found here is what FastAPI finds:
the first route, in their order, that matches path and method. What is not found is left to FastAPI, with its answers
for other methods and unknown paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

_PARTS: Final = 4
"""Of a path that is split at its slashes: ``/api/v1/lines`` has an empty one before the first."""


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Make the routes of ``router`` routes of ``app``, which tries them without a step in between."""
    app.router.routes.extend(router.routes)


def find_routes_by_path(app: FastAPI) -> None:
    """Do so for the routes that ``app`` has now. Those with a parameter at the beginning are left to FastAPI."""
    router = app.router
    routes = [route for route in router.routes if isinstance(route, APIRoute | APIWebSocketRoute)]
    by_beginning: dict[str, list[BaseRoute]] = {}
    for beginning in {_beginning(route.path) for route in routes}:
        if "{" not in beginning:
            by_beginning[beginning] = [route for route in routes if _may_match(route.path, beginning)]
    router.middleware_stack = _Finder(by_beginning, router, router.middleware_stack)


def _may_match(template: str, beginning: str) -> bool:
    """Whether the route ``template`` may be the one of a path that begins so."""
    own = _beginning(template)
    return own == beginning or ("{" in own and beginning.startswith(own.partition("{")[0]))


class _Finder:
    """An ASGI app: the route that is found, else what FastAPI does."""

    def __init__(self, by_beginning: Mapping[str, Sequence[BaseRoute]], router: APIRouter, otherwise: ASGIApp) -> None:
        self._by_beginning, self._router, self._otherwise = by_beginning, router, otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``ASGIApp``."""
        routes: Sequence[BaseRoute] = ()
        if scope["type"] in ("http", "websocket") and not scope.get("root_path"):
            routes = self._by_beginning.get(_beginning(scope["path"]), ())
        for route in routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.setdefault("router", self._router)
                scope.update(found)
                await route.handle(scope, receive, send)
                return
        await self._otherwise(scope, receive, send)


def _beginning(path: str) -> str:
    return "/".join(path.split("/", _PARTS)[:_PARTS])
