"""Sessions as they are listed and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.identity.logins import LoggedIn, end_sessions
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row

LISTED_MAX: Final = 100
COLUMNS: Final = (
    "session_id AS session, login, identity_session.created AS since, expires, address, browser "
    "FROM identity_session JOIN identity_user USING (user_id) WHERE ended IS NULL AND expires > now()"
)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Where somebody is logged in."""

    session: str
    login: str
    since: datetime
    expires: datetime
    address: str
    browser: str


def open_session(row: Row) -> OpenSession:
    """A row of ``COLUMNS``."""
    return OpenSession(**dict(row))


async def sessions_of(database: Database, user_id: str) -> list[OpenSession]:
    """Where a user is logged in, the newest first."""
    async with database.session() as session:
        sql = f"SELECT {COLUMNS} AND user_id = $1 ORDER BY session_id DESC LIMIT $2"
        return [open_session(row) for row in await session.fetch(sql, user_id, LISTED_MAX)]


async def end_own(database: Database, clock: Clock, who: LoggedIn, session_id: str) -> None:
    """End one of one's own sessions. Raises ``RequestRefused`` when it is none of theirs."""
    async with database.transaction() as session:
        rows = await session.fetch(
            "SELECT 1 FROM identity_session WHERE session_id = $1 AND user_id = $2", session_id, who.user_id
        )
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_session", "there is no such session of yours")
        await end_sessions(session, [session_id])
        deed = audit.Deed(clock.now_ns() // 1_000_000, f"user:{who.login}", "session ended", session_id)
        await audit.tell(session, who.tenant_id, deed)
