"""Named tokens of the API: who may send, approve and see commands. Each is of one tenant.

A token is shown once, when it is made. Its name stands as issuer, approver or actor wherever it was used.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, cast

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.commands.rules import TokenRole
from connectors.ports.clock import Clock
from connectors.ports.database import Database

PREFIX: Final = "lineside_"
"""By which a token is recognised where it should not be: in a log, in a repository."""
TOKEN_BYTES: Final = 32
TOKEN_CHARS_MAX: Final = 200
NAME_CHARS_MAX: Final = 255
REVOKED_CHANNEL: Final = "lineside_token_revoked"
"""Where it is told that a token was revoked, for those who remember any."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who shows a token that holds."""

    tenant_id: int
    name: str
    role: TokenRole


async def create(database: Database, clock: Clock, tenant_id: int, name: str, role: TokenRole, *, by: str) -> str:
    """A new token of the tenant, which is nowhere else. Raises ``RequestRefused`` when the name is taken or none."""
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable() or name != name.strip():
        raise RequestRefused(Why.INVALID, "invalid_name", f"{name!r} cannot be the name of a token")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    async with database.transaction() as session:
        made = await session.execute(
            "INSERT INTO api_token (tenant_id, name, role, sha256, created_by) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (tenant_id, name) WHERE revoked IS NULL DO NOTHING",
            tenant_id,
            name,
            role,
            digest_of(token),
            by,
        )
        if not made:
            raise RequestRefused(
                Why.CONFLICT,
                "name_taken",
                f"there is a token {name!r}: revoke it first, or choose another name",
            )
        deed = audit.Deed(clock.now_ns() // 1_000_000, by, "token created", name, {"role": role})
        await audit.tell(session, tenant_id, deed)
    return token


async def revoke(database: Database, clock: Clock, tenant_id: int, name: str, *, by: str) -> None:
    """Make the token ``name`` worthless from now on. Raises ``RequestRefused`` when the tenant has none."""
    async with database.transaction() as session:
        revoked = await session.execute(
            "UPDATE api_token SET revoked = now(), revoked_by = $3 "
            "WHERE tenant_id = $1 AND name = $2 AND revoked IS NULL",
            tenant_id,
            name,
            by,
        )
        if not revoked:
            raise RequestRefused(Why.UNKNOWN, "unknown_token", f"there is no token {name!r} that holds")
        await audit.tell(session, tenant_id, audit.Deed(clock.now_ns() // 1_000_000, by, "token revoked", name))
        await session.fetch("SELECT pg_notify($1, '')", REVOKED_CHANNEL)


async def listed(database: Database, tenant_id: int) -> list[dict[str, Any]]:
    """Every token of the tenant that was ever made, without itself."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT name, role, created, created_by, revoked, revoked_by FROM api_token WHERE tenant_id = $1 "
            "ORDER BY token_id",
            tenant_id,
        )
    return [dict(row) for row in rows]


async def holder_of(database: Database, token: str) -> Holder | None:
    """Who holds ``token``; ``None`` when it is none, or was revoked."""
    if not token.startswith(PREFIX) or len(token) > TOKEN_CHARS_MAX:
        return None
    for seen_by in (audit.TENANT, None):  # most are of the first tenant, whose connections need not be changed for it
        async with database.session(seen_by) as session:
            rows = await session.fetch(
                "SELECT tenant_id, name, role FROM api_token WHERE sha256 = $1 AND revoked IS NULL", digest_of(token)
            )
        if rows:
            (row,) = rows
            return Holder(int(row["tenant_id"]), str(row["name"]), cast("TokenRole", row["role"]))
    return None


def digest_of(token: str) -> bytes:
    """What is known of a token instead of itself. 256 random bits need no slow hash: nobody guesses them."""
    return hashlib.sha256(token.encode()).digest()
