"""Who is let in at the gateway: from where somebody may ask without a token, and how much of one asker is taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from starlette.requests import HTTPConnection

from cloud_ingest.access.elsewhere import not_theirs
from cloud_ingest.access.permissions import OPEN, Permission
from cloud_ingest.access.principal import Authenticator, Principal
from cloud_ingest.access.refused import RequestRefused, Why

NO_TOKEN = "show a token (Authorization: Bearer …); 'cloud-ingest token create' makes one"  # noqa: S105  a sentence


class Rates(Protocol):
    """Counts what principals ask for."""

    def take(self, principal: Principal, notes: list[RateNote]) -> None:
        """Count a request, and note how many are left. Raises ``RequestRefused`` when it is one too many."""
        ...

    def take_address(self, address: str, notes: list[RateNote]) -> None:
        """Count a request from ``address``. Raises ``RequestRefused`` when it is one too many."""
        ...


@dataclass(frozen=True, slots=True)
class RateNote:
    """How a limit stands, as the answer's header fields tell it: draft-ietf-httpapi-ratelimit-headers."""

    policy: str
    limit: int
    window_s: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Admission:
    """``is_open_here``: who asks from this machine may read without a token; ``is_open``: everybody may."""

    is_open_here: bool = True
    is_open: bool = True
    rates: Rates | None = None

    def lets_read(self, address: str) -> bool:
        """Whether somebody who asks from ``address`` may read without a token."""
        return self.is_open or (self.is_open_here and is_own_machine(address))


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where requests come in, whatever protocol they come by."""

    authenticator: Authenticator
    admission: Admission

    async def let_in(
        self,
        token: str | None,
        permission: Permission,
        address: str,
        notes: list[RateNote] | None,
        known: Callable[[Principal], None] = lambda _principal: None,
    ) -> Principal:
        """Who shows ``token`` and asks from ``address``, if they may do ``permission`` somewhere.

        The request is counted, and how limits stand put into ``notes``; ``None``: it is no request, but a look whether
        a token still holds. ``known`` hears who it is before they may be refused, for the access log. Raises
        ``RequestRefused`` when nobody is known by the token, when they may not, or when they ask too much; and
        ``DatabaseUnavailable``.
        """
        if token is None and not (permission in OPEN and self.admission.lets_read(address)):
            raise RequestRefused(Why.NO_TOKEN, "no_token", NO_TOKEN)
        principal = await self.authenticator.principal(token)
        known(principal)
        if notes is not None and self.admission.rates is not None and principal.kind != "nobody":
            self.admission.rates.take(principal, notes)
        if not principal.may_somewhere(permission):
            raise not_theirs(principal, permission)
        return principal


async def who_asks(
    connection: HTTPConnection, token: str | None, permission: Permission, *, counts: bool = True
) -> Principal:
    """Who asks by ``connection`` and shows ``token``, if they may do ``permission`` somewhere: see ``Entrance``.

    Of HTTP and WebSocket alike; ``counts``: it is a request, and not a look whether a token still holds.
    """
    entrance = entrance_of(connection.app.state)
    notes = connection.scope.setdefault("state", {}).setdefault("rate_notes", []) if counts else None

    def known(principal: Principal) -> None:
        connection.state.principal = principal

    return await entrance.let_in(token, permission, address_of(connection.scope), notes, known)


def entrance_of(state: Any) -> Entrance:
    """The entrance that the app with this ``state`` has."""
    authenticator = cast("Authenticator", state.authenticator)
    return Entrance(authenticator, cast("Admission", getattr(state, "admission", Admission())))


def address_of(scope: Any) -> str:
    """Where a request comes from, as the server or a proxy that it believes says; empty where nobody does."""
    client = scope.get("client")
    return "" if client is None else str(client[0])


def is_own_machine(address: str) -> bool:
    """Whether ``address`` is one of this machine alone (RFC 5735, RFC 4291: loopback)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
