"""A second tenant asks every route that reads, by the names of what the first one has, and sees nothing of it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from tests.contract.whole_gateway import asking, headers_of, operations, request_of, whole_gateway

OTHERS: Final = 1000
_OF_ALL: Final = ("roles", "permissions")
"""Lists that say what somebody may, and not what a tenant has."""
_NOBODYS: Final = ("/healthz", "/readyz", "/api/v1/identity/me", "/api/v1/integrations/status")
"""What is of the installation, or of who asks: also which vendors are connected, with counts of the own tenant."""


class OtherTenant:
    """To whom whoever asks is an admin of the second tenant."""

    async def principal(self, _token: str | None) -> Principal:
        return Principal(OTHERS, "user:other", "other", "user", (Grant(Role.ADMIN),))


def told(document: Any, path: str = "") -> list[str]:
    """Where in an answer a list is that has something."""
    if isinstance(document, dict):
        return [one for name, value in document.items() if name not in _OF_ALL for one in told(value, f"{path}.{name}")]
    if isinstance(document, list):
        return [path or "."] if document else []
    return []


async def test_no_route_that_reads_shows_a_second_tenant_what_the_first_one_has(database_dsn: str) -> None:
    async with whole_gateway(database_dsn) as app:
        own = await asked(app)
        assert sum(bool(told(answer)) for status, answer in own.values() if status == 200) > 10, "there is much to see"
        await _make_tenant(app, database_dsn)
        app.state.authenticator = OtherTenant()
        seen = {}
        for path, (status, answer) in (await asked(app)).items():
            if status >= 500:
                seen[path] = f"{status}"
            elif status == 200 and path not in _NOBODYS and (lists := told(answer)):
                seen[path] = f"{lists} of {str(answer)[:300]}"
        assert seen == {}


async def asked(app: FastAPI) -> dict[str, tuple[int, Any]]:
    """The answer of every route that reads, by its example and by what was made."""
    found = {}
    async with asking(app) as client:
        for path, method, _ in operations(app):
            if method == "get":
                answer = await client.request(**request_of(app, path, method), headers=headers_of(Role.ADMIN, "read"))
                is_json = answer.headers.get("content-type", "").startswith("application/json")
                found[path] = answer.status_code, answer.json() if is_json else answer.text
    return found


async def _make_tenant(app: FastAPI, dsn: str) -> None:
    from connectors.postgres.database import open_database

    database = await open_database(dsn, connections_max=2, application_name="tests")
    async with database.session() as session:
        await session.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'others')", OTHERS)
        await session.execute("INSERT INTO command_audit_head (tenant_id) VALUES ($1)", OTHERS)
    await database.close()
