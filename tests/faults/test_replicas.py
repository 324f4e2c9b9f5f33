"""Many processes of ingest and historian, killed and added under load, on the real Kafka: nothing lost or doubled."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from connectors.model.datatypes import DataType
from connectors.postgres.database import open_database
from connectors.sparkplug import sparkplug_b_pb2 as pb
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Sample, Wire
from tests.servers.kafka import KafkaServer
from tests.system.cloud_process import Cloud, Line, eventually, line

NOW_NS = time.time_ns() // 1_000_000 * 1_000_000
AGENTS = 6
BATCHES = 15
RECOVERY_S_MAX = 120.0


class Plant:
    """The processes of the cloud side, by name."""

    def __init__(self, cloud: Cloud, cleanup: ExitStack) -> None:
        self.cloud = cloud
        self.alive: dict[str, ChildProcess] = {}
        self._cleanup = cleanup

    def start(self, name: str, roles: str) -> None:
        process = self.alive[name] = self.cloud.replica(name, roles)
        self._cleanup.callback(process.kill)

    def kill(self, name: str) -> None:
        self.alive.pop(name).kill()

    def host(self) -> str:
        """The ingest that is the host now; one that a busy machine has held up may have been it before."""
        (name,) = [name for name, process in self.alive.items() if is_host(process)]
        return name

    def has_host(self) -> bool:
        return any(map(is_host, self.alive.values()))

    def ingests(self) -> list[ChildProcess]:
        return [process for name, process in self.alive.items() if name.startswith("ingest")]


@pytest.fixture
def plant(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, kafka_server: KafkaServer) -> Iterator[Plant]:
    kafka_server.start()
    cloud = Cloud(
        tmp_path, mosquitto.url, database_dsn, kafka=kafka_server.bootstrap, share=True, acknowledge="projected"
    )
    with ExitStack() as cleanup:
        yield Plant(cloud, cleanup)


def is_host(process: ChildProcess) -> bool:
    said = process.log()
    return said.rfind("host_online") > said.rfind("host_offline")


class OrdinaryNode:
    """A Sparkplug node that knows nothing of acknowledgements, and counts."""

    def __init__(self, connection: Line) -> None:
        self._connection = connection
        self._seq = 0
        self.sent = 0

    def _payload(self, *metrics: dict[str, Any]) -> bytes:
        payload = pb.Payload(timestamp=NOW_NS // 1_000_000 + self.sent, seq=self._seq)
        self._seq = (self._seq + 1) % 256
        for metric in metrics:
            payload.metrics.add(timestamp=payload.timestamp, **metric)
        return payload.SerializeToString()

    def be_born(self) -> None:
        self._seq = 0
        born = self._payload({"name": "bdSeq", "datatype": 4, "long_value": 0})
        self._connection.send(Wire("spBv1.0/replicas/NBIRTH/ordinary", born))
        device = self._payload({"name": "count", "alias": 7, "datatype": 4, "long_value": self.sent})
        self._connection.send(Wire("spBv1.0/replicas/DBIRTH/ordinary/press", device))

    def count(self) -> None:
        self.sent += 1
        data = self._payload({"alias": 7, "long_value": self.sent})
        self._connection.send(Wire("spBv1.0/replicas/DDATA/ordinary/press", data))

    async def count_forever(self) -> None:
        seen = 0
        while True:
            asked = [m for m in self._connection.commands if m.topic.endswith("/NCMD/ordinary")]
            if len(asked) > seen:
                seen = len(asked)
                self.be_born()
            self.count()
            await asyncio.sleep(0.02)


async def rows_of(dsn: str, statement: str) -> list[Any]:
    database = await open_database(dsn, connections_max=1, application_name="tests")
    try:
        async with database.session() as session:
            return list(await session.fetch(statement))
    finally:
        await database.close()


async def newest_count(dsn: str, *, above: int) -> bool:
    """Whether a number of the ordinary node above ``above`` is stored: the host of then has heard it."""
    return bool(
        await rows_of(
            dsn,
            "SELECT 1 FROM sample JOIN tag USING (tag_id) JOIN agent USING (agent_id) "
            f"WHERE agent.name = 'ordinary' AND value_int > {above} LIMIT 1",
        )
    )


async def deliver(connection: Line, agents: list[PlayedAgent]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            first = agent.next
            wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})] if first == 1 else []
            for _ in range(BATCHES):
                at = agent.next * 10
                wires.append(
                    agent.samples(
                        "press", [Sample("force", NOW_NS + (at + n) * 1000, float(at + n)) for n in range(10)]
                    )
                )
            tasks.create_task(connection.deliver(agent, *wires, first=first, within_s=RECOVERY_S_MAX))


@asynccontextmanager
async def under_load(connection: Line, agents: list[PlayedAgent]) -> AsyncIterator[None]:
    """Agents deliver all the time, one round after the other, and a last one after the last process was replaced."""
    stopping = asyncio.Event()

    async def work() -> None:
        while not stopping.is_set():
            await deliver(connection, agents)
        await deliver(connection, agents)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        try:
            yield
        finally:
            stopping.set()


@pytest.mark.kafka
@pytest.mark.slow
async def test_processes_that_are_killed_and_added_under_load_lose_and_double_nothing(plant: Plant) -> None:
    agents = [PlayedAgent(f"line-{number}", group="replicas") for number in range(AGENTS)]
    for number in range(3):
        plant.start(f"ingest-{number}", "ingest")
    for number in range(2):
        plant.start(f"historian-{number}", "historian")
    for process in plant.ingests():
        process.wait_until(lambda process=process: "sharing_online" in process.log(), timeout_s=WAIT_S_MAX)
    await eventually(plant.has_host)

    async with line(plant.cloud.broker) as connection:
        node = OrdinaryNode(connection)
        node.be_born()
        counting = asyncio.create_task(node.count_forever())
        async with under_load(connection, agents):
            await asyncio.sleep(2)
            plant.kill(plant.host())
            await asyncio.sleep(1)
            plant.start("ingest-3", "ingest")
            plant.kill("historian-0")
            await eventually(plant.has_host)
            before = node.sent
            await asyncio.sleep(2)
            plant.kill(next(name for name in plant.alive if name.startswith("ingest") and name != plant.host()))
            plant.start("historian-2", "historian")
            await eventually(lambda: "sharing_online" in plant.alive["ingest-3"].log())
            await asyncio.sleep(2)
        counting.cancel()

    shares = {one.name: plant.cloud.metric_of(one, "lineside_ingest_messages_total") for one in plant.ingests()}
    assert all(shares.values()), shares
    done = plant.cloud.command("ledger", "--json")
    entries = json.loads(done.stdout)["agents"]  # the topic may have messages of other tests
    ledger = {entry["agent"]: entry for entry in entries if entry["agent"].startswith("replicas/")}
    assert {name: (entry["missing"], entry["dead_letters"], entry["parked"]) for name, entry in ledger.items()} == {
        str(agent.name): (0, 0, 0) for agent in agents
    }
    for agent in agents:
        assert ledger[str(agent.name)]["arrived"] == agent.last

    await eventually(lambda: newest_count(plant.cloud.dsn, above=before), within_s=RECOVERY_S_MAX)
    rows = await rows_of(
        plant.cloud.dsn,
        "SELECT agent.name, (extract(epoch FROM time) * 1000000)::bigint AS time_us, value_double, value_int "
        "FROM sample JOIN tag USING (tag_id) JOIN agent USING (agent_id) "
        "WHERE agent.group_name = 'replicas' AND device = 'press'",
    )
    for agent in agents:
        stored = Counter((row["time_us"], row["value_double"]) for row in rows if row["name"] == agent.name.name)
        assert stored == Counter((row.time_us, row.value) for one in agent.rows.values() for row in one)

    set_aside = await rows_of(
        plant.cloud.dsn, "SELECT reason FROM dead_letter JOIN agent USING (agent_id) WHERE group_name = 'replicas'"
    )
    assert set_aside == []
    counted = [row["value_int"] for row in rows if row["name"] == "ordinary"]
    twice = [number for number, times in Counter(counted).items() if times > 1]
    born = [row for row in twice if row]  # a rebirth repeats the last value, with its own time
    assert len(born) <= len([m for m in connection.commands if m.topic.endswith("/NCMD/ordinary")]) + 1
    missing = sorted(set(range(1, node.sent + 1)) - set(counted))
    gaps = await rows_of(
        plant.cloud.dsn,
        "SELECT reason FROM gap JOIN agent USING (agent_id) WHERE agent.name = 'ordinary' AND reason = 'sequence_gap'",
    )
    inner = [number for number in missing if number < max(counted)]  # the last ones may still be on their way
    assert not inner or gaps, "what the node lost while there was no host is declared"
