"""The refusal of what somebody may do, but not there."""

from __future__ import annotations

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why


def not_theirs(principal: Principal, permission: Permission, where: str = "") -> RequestRefused:
    """The refusal of what ``principal`` may not do."""
    roles = ", ".join(sorted({grant.role.value for grant in principal.grants})) or "no role"
    why = f"{principal.name!r} ({roles}) may not do this{where}: it needs {permission.value}"
    return RequestRefused(Why.FORBIDDEN, "not_your_role", why)


def refuse_elsewhere(principal: Principal, permission: Permission, site: str, line: str | None = None) -> None:
    """Raises ``RequestRefused`` when ``principal`` may not do it at that site or on that line."""
    if not principal.may(permission, site=site, line=line):
        raise not_theirs(principal, permission, f" at {site}" if line is None else f" on {site}/{line}")


def refuse_unless_everywhere(principal: Principal, permission: Permission, what: str) -> None:
    """Raises ``RequestRefused`` when they may do it at some sites alone, and ``what`` (a plural) is at none of them."""
    if not principal.may(permission):
        why = f"{principal.name!r} may do this at some sites only, and {what} are of all: it needs {permission} for all"
        raise RequestRefused(Why.FORBIDDEN, "not_your_role", why)
