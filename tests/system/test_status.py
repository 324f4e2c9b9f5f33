"""``cloud-ingest status`` names the stage that is slow, also when its process only stands still."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from connectors.model.datatypes import DataType
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Sample, Wire
from tests.servers.kafka import KafkaServer
from tests.system.cloud_process import Cloud, eventually, line

NOW_NS = time.time_ns()


def batch(agent: PlayedAgent) -> Wire:
    return agent.samples("press", [Sample("force", NOW_NS + agent.next * 1000, float(agent.next))])


def stages(cloud: Cloud) -> dict[str, Any]:
    """What is wrong, by stage; and under "code", how the command ended."""
    done = cloud.command("status", "--json")
    document = json.loads(done.stdout)
    wrong = {stage["stage"]: " ".join(stage["reasons"]) for stage in document["stages"] if not stage["ok"]}
    return {**wrong, "code": done.returncode}


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_stage_that_stands_still_is_named_until_it_goes_on(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, kafka_server: KafkaServer
) -> None:
    kafka_server.start()
    cloud = Cloud(tmp_path, mosquitto.url, database_dsn, kafka=kafka_server.bootstrap)
    ingest, historian = cloud.replica("ingest-0", "ingest"), cloud.replica("historian-0", "historian")
    agent = PlayedAgent(group="status")
    try:
        ingest.wait_until(lambda: "host_online" in ingest.log(), timeout_s=WAIT_S_MAX)
        async with line(mosquitto.url) as connection:
            await connection.deliver(agent, agent.start(), agent.define("press", {"force": DataType.DOUBLE}), first=1)
            await eventually(lambda: stages(cloud) == {"code": 0})

            kafka_server.pause()
            first = agent.next
            delivering = asyncio.create_task(connection.deliver(agent, batch(agent), first=first, within_s=90))
            await eventually(lambda: "event log" in stages(cloud))
            kafka_server.resume()
            await delivering

            historian.pause()
            first = agent.next
            await connection.deliver(agent, batch(agent), batch(agent), first=first)
            await eventually(lambda: "has said nothing for" in stages(cloud).get("historian", ""))
            await eventually(lambda: "not ok" in cloud.command("status").stdout)
            document = json.loads(cloud.command("status", "--json").stdout)
            await eventually(
                lambda: any(
                    one["records"] and one["historian"] is None
                    for one in json.loads(cloud.command("status", "--json").stdout)["partitions"]
                )
            )
            assert [one["silent"] for one in document["processes"] if one["roles"] == ["historian"]] == [True]
            historian.resume()
            await eventually(lambda: "historian" not in stages(cloud))
    finally:
        kafka_server.resume()
        ingest.kill()
        historian.kill()
    again = cloud.replica("ingest-0", "ingest")
    try:
        await eventually(lambda: "ingest" not in stages(cloud))
    finally:
        again.kill()
