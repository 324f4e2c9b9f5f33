"""The catalog's routes on a real database, asked by roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from cloud_ingest.access.permissions import Role
from cloud_ingest.store.migrate import migrate
from connectors.ports.database import Database
from connectors.postgres.database import open_database
from tests.contract.whole_gateway import asking, whole_app

PUMP: Final[dict[str, Any]] = {
    "names": {"en": "Pump, 12 bar", "de": "Pumpe, 12 bar"},
    "category": "pumps",
    "attributes": {"bar": 12},
    "prices": [
        {"currency": "EUR", "amount": "249.00"},
        {"currency": "EUR", "amount": "259.50", "from": "2027-01-01T00:00:00Z"},
    ],
    "tax_rate": "0.19",
    "weight_kg": "3.2",
    "sold": True,
    "routing": "assembly",
}
PUMPS: Final = {"names": {"en": "Pumps"}, "attributes": {"bar": {"kind": "number", "required": True}}}
LABEL: Final = {"label": "EU", "n": 2}
ASSEMBLY: Final[dict[str, Any]] = {
    "name": "Assembly",
    "steps": [
        {"site": "plant", "line": "line-1", "ideal_cycle_s": "2.4", "setup_s": "600", "recipe": {"torque_nm": 12.5}},
        {
            "site": "plant",
            "line": "line-2",
            "ideal_cycle_s": "0.5",
            "batch_max": "500",
            "recipe": {"label": "EU", "n": 2},
        },
    ],
}


class Shop:
    """The API, and who asks it: by default somebody who may edit."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self.database, self._client = database, client

    async def ask(
        self, method: str, path: str, *, by: Role = Role.PLANNER, seen: str = "", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {by}", **({"If-Match": seen} if seen else {})}
        return await self._client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def get(self, path: str, by: Role = Role.PLANNER) -> Any:
        answer = await self.ask("GET", path, by=by)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def save(self, path: str, body: dict[str, Any], seen: str = "") -> str:
        """Its new ETag."""
        answer = await self.ask("PUT", path, json=body, seen=seen)
        assert answer.status_code == 200, answer.text
        return answer.headers["ETag"]

    async def publish(self, path: str, body: dict[str, Any], seen: str = "") -> str:
        """Save it as a draft, publish that; its ETag."""
        tag = await self.save(f"{path}/draft", body, seen)
        answer = await self.ask("PUT", f"{path}/published", seen=tag)
        assert answer.status_code == 200, answer.text
        return tag

    async def stock(self) -> None:
        """A category, a routing and a product, all published."""
        await self.save("/categories/pumps", PUMPS)
        await self.publish("/routings/assembly", ASSEMBLY)
        await self.publish("/products/PUMP-12", PUMP)

    async def events(self) -> list[tuple[str, str]]:
        """Key and event of all that was told."""
        async with self.database.session() as session:
            rows = await session.fetch("SELECT key, event FROM event_outbox ORDER BY number")
        return [(row["key"], row["event"]) for row in rows]


@asynccontextmanager
async def shop(dsn: str) -> AsyncIterator[Shop]:
    database = await open_database(dsn, connections_max=8, application_name="tests")
    try:
        await migrate(database)
        async with asking(whole_app(database)) as client:
            yield Shop(database, client)
    finally:
        await database.close()
