"""The dependency of a route that says which permission it needs."""

from __future__ import annotations

from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Authenticator, Principal
from cloud_ingest.access.refused import RequestRefused, Why

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="token", description="An access token, or one of 'cloud-ingest token create'"
)


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
        authenticator = cast("Authenticator", request.app.state.authenticator)
        principal = await authenticator.principal(None if shown is None else shown.credentials)
        if not principal.may_somewhere(self.permission):
            raise _not_theirs(principal, self.permission)
        request.state.principal = principal
        return principal


def refuse_elsewhere(principal: Principal, permission: Permission, site: str, line: str | None = None) -> None:
    """Raises ``RequestRefused`` when ``principal`` may not do it at that site or on that line."""
    if not principal.may(permission, site=site, line=line):
        raise _not_theirs(principal, permission, f" at {site}" if line is None else f" on {site}/{line}")


def _not_theirs(principal: Principal, permission: Permission, where: str = "") -> RequestRefused:
    roles = ", ".join(sorted({grant.role.value for grant in principal.grants})) or "no role"
    why = f"{principal.name!r} ({roles}) may not do this{where}: it needs {permission.value}"
    return RequestRefused(Why.FORBIDDEN, "not_your_role", why)
