"""Who stands behind a token of ours, as it is now: roles are looked up, not read from the token.

So a role that is taken away, a session that is ended and a user who is disabled take effect within seconds, and not at
the end of the token.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.identity import rules
from cloud_ingest.identity.access_tokens import Claims
from cloud_ingest.identity.people import grants_of
from connectors.ports.clock import Clock
from connectors.ports.database import Database

HELD_S: Final = 5.0
"""How old what this process knows of somebody may be."""
HELD_MAX: Final = 10_000
_USER: Final = (
    "SELECT login, identity_user.name, identity_user.customer, identity_user.disabled IS NULL "
    "AND identity_family.revoked IS NULL AND identity_client.disabled IS NULL AS holds "
    "FROM identity_user JOIN identity_family USING (user_id) JOIN identity_client USING (client_id) "
    "WHERE user_id = $1 AND family_id = $2 AND identity_user.tenant_id = $3"
)
_SERVICE: Final = (
    "SELECT name, disabled IS NULL AS holds FROM identity_client "
    "WHERE client_id = $1 AND tenant_id = $2 AND kind = 'service'"
)


@dataclass(frozen=True, slots=True)
class _Held:
    name: str
    customer: str | None
    grants: tuple[Grant, ...]
    holds: bool
    looked_s: float


class Principals:
    """Users and services behind tokens, remembered for seconds; of many, those who asked last."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._held: OrderedDict[tuple[str, str, int], _Held] = OrderedDict()

    async def of(self, claims: Claims) -> Principal:
        """Raises ``RequestRefused`` when the token was revoked, or its holder is there no more."""
        key = (claims.subject, claims.family, claims.tenant_id)
        held = self._held.get(key)
        if held is None or self._clock.monotonic_s() - held.looked_s > HELD_S:
            held = await self._look(claims)
            self._held[key] = held
            while len(self._held) > HELD_MAX:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        if not held.holds:
            raise RequestRefused(Why.NO_TOKEN, "token_revoked", "this token was revoked, or its holder was disabled")
        kind = "user" if claims.subject.startswith("user:") else "service"
        scopes = rules.scopes_of(claims.scope)
        subject = f"user:{held.name}" if kind == "user" else claims.subject
        return Principal(
            claims.tenant_id, subject, held.name, "user" if kind == "user" else "service", held.grants, held.customer,
            scopes,
        )  # fmt: skip

    def forget(self) -> None:
        """Look everybody up anew: something was revoked in this process, and that shall hold at once."""
        self._held.clear()

    async def _look(self, claims: Claims) -> _Held:
        kind, _, name = claims.subject.partition(":")
        looked_s = self._clock.monotonic_s()
        async with self._database.session() as session:
            if kind == "user":
                rows = await session.fetch(_USER, name, claims.family, claims.tenant_id)
            else:
                rows = await session.fetch(_SERVICE, name, claims.tenant_id)
            if not rows or not rows[0]["holds"]:
                return _Held("", None, (), holds=False, looked_s=looked_s)
            grants = await grants_of(session, claims.tenant_id, [claims.subject])
        row = rows[0]
        shown = row["login"] if kind == "user" else row["name"]
        customer = row["customer"] if kind == "user" else None
        return _Held(str(shown), customer, grants[claims.subject], holds=True, looked_s=looked_s)
