"""Users and programs as they are listed, with their roles."""

from __future__ import annotations

from typing import Any, Final

from cloud_ingest.identity.people import grants_of
from cloud_ingest.identity.rules import grant_text
from connectors.ports.database import Session

ROWS_MAX: Final = 100_000


async def users(session: Session, tenant_id: int) -> list[dict[str, Any]]:
    """The users of a tenant, by login."""
    rows = await session.fetch(
        "SELECT user_id, login, name, customer, disabled IS NOT NULL AS disabled, "
        "password_hash IS NOT NULL AS has_password FROM identity_user WHERE tenant_id = $1 ORDER BY login LIMIT $2",
        tenant_id,
        ROWS_MAX,
    )
    grants = await grants_of(session, tenant_id, [f"user:{row['user_id']}" for row in rows])
    return [{**dict(row), "roles": [grant_text(grant) for grant in grants[f"user:{row['user_id']}"]]} for row in rows]


async def clients(session: Session, tenant_id: int) -> list[dict[str, Any]]:
    """The services and apps of a tenant, by id."""
    rows = await session.fetch(
        "SELECT client_id, kind, name, redirect_uris, disabled IS NOT NULL AS disabled FROM identity_client "
        "WHERE tenant_id = $1 ORDER BY client_id LIMIT $2",
        tenant_id,
        ROWS_MAX,
    )
    grants = await grants_of(session, tenant_id, [f"client:{row['client_id']}" for row in rows])
    return [
        {**dict(row), "roles": [grant_text(grant) for grant in grants[f"client:{row['client_id']}"]]} for row in rows
    ]
