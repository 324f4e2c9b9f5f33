"""Which route needs which permission: read off the routes themselves, for the documentation, OpenAPI and the tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from cloud_ingest.access.needs import permission_of_socket
from cloud_ingest.access.permissions import OPEN, PERMISSIONS, Permission, Role

SOCKET: Final = "WebSocket"
PUBLIC: Final[Mapping[str, str]] = {
    "/api/v1/enrolments": "the one-time token is in the request",
    "/api/v1/integrations/{vendor}/webhook": "the vendor signs its message",
    "/api/v1/integrations/{vendor}/webhook/{tenant}": "the vendor signs its message",
    "/api/v1/releases/{sha256}": "a package is no secret, and counts by its signature",
    "/healthz": "says whether the program runs",
    "/readyz": "says whether the program can answer",
}
"""The routes that need no permission, and why that is right."""


@dataclass(frozen=True, slots=True)
class RouteNeeds:
    """A route, by its method and template, and the permissions that it needs, all of them."""

    method: str
    path: str
    permissions: tuple[Permission, ...]

    def allows(self, role: Role) -> bool:
        """Whether ``role`` may ask, somewhere at least."""
        return PERMISSIONS[role].issuperset(self.permissions)

    @property
    def is_open(self) -> bool:
        """Whether who shows no token may ask where the gateway is open (``gateway.login``)."""
        return OPEN.issuperset(self.permissions)


def routes_of(app: FastAPI) -> list[RouteNeeds]:
    """The routes of ``app`` that its documentation tells, in the order of their paths, and its WebSockets."""
    found = []
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is None or not getattr(context, "include_in_schema", True):
            continue
        needed = tuple(dict.fromkeys(_permissions(dependant)))
        methods = getattr(context, "methods", None)
        if methods is None:
            of_socket = permission_of_socket(context.endpoint)
            found.append(RouteNeeds(SOCKET, str(context.path), needed if of_socket is None else (of_socket,)))
        else:
            found += [RouteNeeds(method, str(context.path), needed) for method in sorted(methods)]
    return sorted(found, key=lambda route: (route.path, route.method))


def _permissions(dependant: Any) -> Iterator[Permission]:
    for dependency in dependant.dependencies:
        permission = getattr(dependency.call, "permission", None)
        if isinstance(permission, Permission):
            yield permission
        yield from _permissions(dependency)
