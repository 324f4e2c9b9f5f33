"""The dependency of a route that says which permission it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud_ingest.access.admission import who_asks
from cloud_ingest.access.elsewhere import refuse_elsewhere, refuse_unless_everywhere
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal

__all__ = ["Needs", "permission_of_socket", "refuse_elsewhere", "refuse_unless_everywhere", "socket_needs"]

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="token", description="An access token, or one of 'cloud-ingest token create'"
)
T = TypeVar("T")
_SOCKETS: Final[WeakKeyDictionary[Any, Permission]] = WeakKeyDictionary()


class Needs:
    """``Annotated[Principal, Depends(Needs(Permission.LINES_READ))]``: who asks, if they may do that somewhere.

    A route about one site or line asks ``refuse_elsewhere`` as soon as it knows which; one that lists cuts its answer
    to ``Principal.places``. ``permission`` is read by the table of routes and roles in the documentation.
    """

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(
        self, request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> Principal:
        """Raises ``RequestRefused`` when nobody is known by the token, or when they may not."""
        return await who_asks(request, None if shown is None else shown.credentials, self.permission)


def socket_needs(permission: Permission) -> Callable[[T], T]:
    """Marks the endpoint of a WebSocket with the permission that it asks for (``who_asks``): the table of routes."""

    def mark(endpoint: T) -> T:
        _SOCKETS[endpoint] = permission
        return endpoint

    return mark


def permission_of_socket(endpoint: object) -> Permission | None:
    """The permission that ``endpoint`` is marked with."""
    return _SOCKETS.get(endpoint)
