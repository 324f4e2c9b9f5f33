"""Who asks: a person, a program or a customer, as every route sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from cloud_ingest.access.permissions import PERMISSIONS, Permission, Role

Kind = Literal["user", "service", "token", "nobody"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, and where it holds: everywhere, at one site, or on one line of it."""

    role: Role
    site: str | None = None
    line: str | None = None

    def covers(self, site: str | None, line: str | None) -> bool:
        """Whether it holds for ``line`` of ``site``; ``None`` asks for every one."""
        if self.site is None:
            return True
        if site != self.site:
            return False
        return self.line is None or line == self.line


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``subject`` is stable and stands in audit logs; ``customer`` is whose orders alone they see."""

    tenant_id: int
    subject: str
    name: str
    kind: Kind
    grants: tuple[Grant, ...]
    customer: str | None = None
    scopes: frozenset[Permission] | None = None
    """What the token is cut down to, by its scope; ``None``: all that the roles allow."""

    @property
    def actor(self) -> str:
        """As whom what they do is written down: a token by its name, as ever; others by what stays when renamed."""
        return self.name if self.kind == "token" else self.subject

    def may(self, permission: Permission, *, site: str | None = None, line: str | None = None) -> bool:
        """Whether they may do it there; without ``site`` and ``line``: everywhere."""
        return any(grant.covers(site, line) for grant in self._allowing(permission))

    def may_somewhere(self, permission: Permission) -> bool:
        """Whether they may do it anywhere at all: then the answer is cut to where they may (``places``)."""
        return bool(self._allowing(permission))

    def places(self, permission: Permission) -> tuple[tuple[str, str | None], ...] | None:
        """Where they may do it, as (site, line) with ``None`` for every line; ``None`` for everywhere."""
        grants = self._allowing(permission)
        if any(grant.site is None for grant in grants):
            return None
        return tuple((grant.site, grant.line) for grant in grants if grant.site is not None)

    def _allowing(self, permission: Permission) -> list[Grant]:
        if self.scopes is not None and permission not in self.scopes:
            return []
        return [grant for grant in self.grants if permission in PERMISSIONS[grant.role]]


class Authenticator(Protocol):
    """Finds out who asks."""

    async def principal(self, token: str | None) -> Principal:
        """Who shows ``token`` (of ``Authorization: Bearer``); with ``None``, nobody in particular.

        Raises ``RequestRefused`` when the token does not hold, or when one is needed and none was shown, and
        ``DatabaseUnavailable``.
        """
        ...
