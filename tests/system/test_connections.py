"""How many connections to PostgreSQL a process has: no more than its configuration says, whatever its roles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from lineside.servers.mosquitto import MosquittoBroker

from cloud_ingest.config import ROLES
from connectors.postgres.database import open_database
from tests.patience import WAIT_S_MAX
from tests.system.cloud_process import Cloud, eventually

ASKING = 40


async def most_connections(dsn: str, cloud: Cloud, looks: int) -> Sequence[int]:
    """What the server counts of Lineside's, again and again, while many ask the API at the same time."""
    database = await open_database(dsn, connections_max=1, application_name="tests")
    counts: list[int] = []
    try:
        async with httpx.AsyncClient(timeout=WAIT_S_MAX, trust_env=False) as client, asyncio.TaskGroup() as tasks:
            for _ in range(looks):
                for _ in range(ASKING):
                    tasks.create_task(client.get(f"http://127.0.0.1:{cloud.port}/api/v1/agents"))
                async with database.session() as session:
                    (row,) = await session.fetch(
                        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
                        "AND application_name LIKE 'lineside %'"
                    )
                counts.append(int(row["n"]))
                await asyncio.sleep(0.1)
    finally:
        await database.close()
    return counts


@pytest.mark.parametrize("connections_max", [6, 20])
def test_a_process_with_every_role_has_no_more_connections_than_it_may(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, connections_max: int
) -> None:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    cloud.add("database", {**cloud.document["database"], "connections_max": connections_max})
    process = cloud.process(",".join(ROLES))
    try:
        cloud.wait_ready(process)
        counts = asyncio.run(most_connections(database_dsn, cloud, 10))
        assert max(counts) <= connections_max, counts
        asyncio.run(eventually(lambda: cloud.get("/readyz").json()["status"] == "ok"))
    finally:
        process.kill()
