"""What is slow or away stops what is before it, at the bound of each stage, and is named; nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from connectors.model.datatypes import DataType
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Sample, Wire
from tests.servers.kafka import KafkaServer
from tests.system.cloud_process import Cloud, eventually, line

NOW_NS = time.time_ns()
PENDING_BYTES_MAX = 1_000_000


def samples(agent: PlayedAgent, size_bytes: int = 0) -> Wire:
    rows = [Sample("force", NOW_NS + agent.next * 1000, float(agent.next))]
    return agent.samples("press", [*rows, Sample("note", NOW_NS + agent.next * 1000, "x" * size_bytes)])


def beginning(agent: PlayedAgent) -> list[Wire]:
    return [agent.start(), agent.define("press", {"force": DataType.DOUBLE, "note": DataType.STRING})]


def reasons(process: ChildProcess, event: str) -> list[str]:
    """Why a process has waited, as its log says it."""
    logged = [json.loads(line) for line in process.log_lines() if f'"{event}"' in line]
    return [entry["reason"] for entry in logged]


@pytest.mark.kafka
@pytest.mark.slow
async def test_each_stage_that_is_away_stops_the_one_before_and_nothing_is_lost(
    tmp_path: Path,
    mosquitto: MosquittoBroker,
    database_dsn: str,
    postgres_server: PostgresServer,
    kafka_server: KafkaServer,
) -> None:
    kafka_server.start()
    cloud = Cloud(tmp_path, mosquitto.url, database_dsn, kafka=kafka_server.bootstrap, share=True)
    document = json.loads(cloud.config.read_text())
    document["ingest"]["pending_max"] = "1MB"
    cloud.configure(document)
    ingest, historian = cloud.replica("ingest-0", "ingest"), cloud.replica("historian-0", "historian")
    agent = PlayedAgent(group="back-pressure")
    metric: Callable[[ChildProcess, str], float] = cloud.metric_of
    try:
        ingest.wait_until(lambda: "sharing_online" in ingest.log(), timeout_s=WAIT_S_MAX)
        async with line(mosquitto.url) as connection:
            await connection.deliver(agent, *beginning(agent), *(samples(agent) for _ in range(10)), first=1)

            postgres_server.kill()  # the log fills: batches are still acknowledged, as it has them
            first = agent.next
            await connection.deliver(agent, *(samples(agent) for _ in range(10)), first=first)
            await eventually(lambda: any("PostgreSQL" in reason for reason in reasons(historian, "store_waiting")))

            kafka_server.kill()  # nothing is acknowledged, and what waits for the log is bounded
            first, refusing = agent.next, metric(ingest, "lineside_ingest_messages_dropped_total")
            wires = [samples(agent, 50_000) for _ in range(60)]
            delivering = asyncio.create_task(connection.deliver(agent, *wires, first=first))
            await eventually(lambda: metric(ingest, "lineside_ingest_messages_dropped_total") > refusing)
            held = metric(ingest, "lineside_ingest_pending_bytes")
            assert 0 < held <= PENDING_BYTES_MAX + 60_000
            assert not delivering.done()
            await eventually(lambda: any("Kafka" in reason for reason in reasons(ingest, "append_failed")))

            postgres_server.start()
            kafka_server.start()
            await delivering
            await eventually(lambda: metric(ingest, "lineside_ingest_pending_bytes") == 0)
        own = ("ledger", "--agent", str(agent.name))  # the topic may have messages of other tests
        await eventually(lambda: f"1-{agent.last} " in cloud.command(*own).stdout)
        done = cloud.command(*own, "--json")
        (entry,) = json.loads(done.stdout)["agents"]
        assert done.returncode == 0
        assert (entry["missing"], entry["arrived"], entry["samples"]) == (0, agent.last, 2 * (agent.last - 2))
    finally:
        ingest.kill()
        historian.kill()
