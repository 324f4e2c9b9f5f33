"""Programs that log in as themselves, and apps by which people log in, as the authorization server knows them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Literal

from cloud_ingest.commands import audit
from cloud_ingest.identity.secrets_kept import CHARS_MAX, digest
from connectors.ports.database import Database, Row

Kind = Literal["service", "app"]


@dataclass(frozen=True, slots=True)
class Client:
    """One of them. An app of the first tenant, who runs the cloud, is for the people of all tenants."""

    client_id: str
    tenant_id: int
    kind: Kind
    name: str
    secret_sha256: bytes | None
    redirect_uris: tuple[str, ...]

    def serves(self, tenant_id: int) -> bool:
        """Whether people of that tenant may log in by it."""
        return self.tenant_id in (audit.TENANT, tenant_id)

    def is_shown(self, secret: str | None) -> bool:
        """Whether ``secret`` is the right one; an app without one shows none."""
        if self.secret_sha256 is None:
            return secret is None
        return secret is not None and hmac.compare_digest(digest(secret), self.secret_sha256)


async def client(database: Database, client_id: str) -> Client | None:
    """The client that holds, or ``None``."""
    if not client_id or len(client_id) > CHARS_MAX:
        return None
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT client_id, tenant_id, kind, name, secret_sha256, redirect_uris FROM identity_client "
            "WHERE client_id = $1 AND disabled IS NULL",
            client_id,
        )
    return _client(rows[0]) if rows else None


def _client(row: Row) -> Client:
    sha256 = row["secret_sha256"]
    return Client(
        str(row["client_id"]),
        int(row["tenant_id"]),
        row["kind"],
        str(row["name"]),
        None if sha256 is None else bytes(sha256),
        tuple(row["redirect_uris"]),
    )
