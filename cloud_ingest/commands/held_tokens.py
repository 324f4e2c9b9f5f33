"""Who holds which named token, remembered for seconds by a process that hears at once when one is revoked.

Looking a token up costs as much as many an answer, and programs show the same one again and again. What is remembered
is forgotten by the notification of any revocation, and after ``HELD_S`` whatever is heard. While nothing can be heard,
every token is looked up. One that is not known is looked up each time: it may have been made since.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.commands.tokens import REVOKED_CHANNEL, Holder, digest_of, holder_of
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database

HELD_S: Final = 5.0
"""As long as what is known of people who have logged in (``identity.principals``)."""
HELD_MAX: Final = 10_000
RETRY_S: Final = 1.0


class HeldTokens:
    """See the module. ``hear_forever`` runs beside it; without, nothing is remembered."""

    def __init__(self, database: Database, now_s: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now_s = now_s
        self._held: dict[bytes, Holder] = {}
        self._since_s = now_s()
        self._hears = False
        self._times_forgotten = 0

    async def holder_of(self, token: str) -> Holder | None:
        """See ``tokens.holder_of``."""
        if self._now_s() - self._since_s > HELD_S:
            self._forget()
        key = digest_of(token)
        if (held := self._held.get(key)) is not None:
            return held
        before = self._times_forgotten
        found = await holder_of(self._database, token)
        if found is not None and self._hears and before == self._times_forgotten and len(self._held) < HELD_MAX:
            self._held[key] = found
        return found

    async def hear_forever(self) -> None:
        """Hear what is revoked, from now until cancelled."""
        while True:
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                try:
                    async with self._database.notified(REVOKED_CHANNEL) as revoked:
                        self._forget()  # what is being looked up now may have been revoked before we could hear of it
                        self._hears = True
                        while True:
                            await revoked.wait(HELD_S)
                            self._forget()
                finally:
                    self._hears = False
                    self._forget()
            await asyncio.sleep(RETRY_S)

    def _forget(self) -> None:
        self._held.clear()
        self._since_s = self._now_s()
        self._times_forgotten += 1


class TokenAuthenticator:
    """Who asks, by named tokens alone. Who shows none may see what the first tenant has: its data are open then."""

    def __init__(self, database: Database) -> None:
        self.held = HeldTokens(database)

    async def principal(self, token: str | None) -> Principal:
        """See ``Authenticator``."""
        if token is None:
            return Principal(audit.TENANT, "nobody", "nobody", "nobody", (Grant(Role.VIEWER),))
        holder = await self.held.holder_of(token)
        if holder is None:
            raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none, or was revoked")
        return Principal(holder.tenant_id, f"token:{holder.name}", holder.name, "token", (Grant(Role(holder.role)),))
