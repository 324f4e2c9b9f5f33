"""Who may see one site or one line is shown the agents of it, and no others: in every route about agents."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.gateway.app import make_app
from cloud_ingest.observability.obstacles import Obstacles
from connectors.model.delivery import AgentName
from tests.contract.command_steps import SETPOINT, office

NORTH, OTHER, SOUTH = AgentName("north", "press"), AgentName("north", "oven"), AgentName("south", "press")


class Scoped:
    """An authenticator to whom a token is the place where its holder is an engineer: ``site``, or ``site/line``."""

    async def principal(self, token: str | None) -> Principal:
        site, _, line = (token or "").partition("/")
        return Principal(1, f"user:{token}", str(token), "user", (Grant(Role.ENGINEER, site, line or None),))


@pytest.mark.parametrize(
    ("place", "seen"),
    [("north", {str(NORTH), str(OTHER)}), ("north/oven", {str(OTHER)}), ("south", {str(SOUTH)}), ("west", set())],
)
async def test_agents_tags_and_commands_are_those_of_the_places_where_a_role_holds(
    database_dsn: str, place: str, seen: set[str]
) -> None:
    async with office(database_dsn) as here:
        for name in (NORTH, OTHER, SOUTH):
            await here.prepare(name)
        commands = {str(name): await here.ask(str(name), agent=str(name)) for name in (NORTH, OTHER, SOUTH)}
        app = make_app(here.database, CollectorRegistry(), Obstacles(), here.requests)
        app.state.authenticator = Scoped()
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {place}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud.example", headers=headers) as client:
            assert {one["agent"] for one in (await client.get("/api/v1/agents")).json()} == seen
            assert {one["agent"] for one in (await client.get("/api/v1/tags")).json()["tags"]} == seen
            assert {one["agent"] for one in (await client.get("/api/v1/commands")).json()["commands"]} == seen
            for agent, command in commands.items():
                asked = {"agent": agent, "device": "press", "tag": "setpoint"}
                samples = await client.get("/api/v1/samples", params=asked)
                one = await client.get(f"/api/v1/commands/{command}")
                body = {"agent": agent, "action": SETPOINT}
                sent = await client.post("/api/v1/commands", json=body, headers={"Idempotency-Key": agent})
                cancelled = await client.post(f"/api/v1/commands/{command}/cancel")
                found = [answer.status_code for answer in (samples, one, sent, cancelled)]
                assert found == ([200, 200, 202, 200] if agent in seen else [404, 404, 403, 403]), agent
