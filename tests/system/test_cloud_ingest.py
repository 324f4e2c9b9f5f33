"""``cloud-ingest`` as it runs in production: its own process, a real broker, database and event log."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from connectors.model.datatypes import DataType
from connectors.sparkplug.topics import Verb
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Sample, Wire
from tests.servers.kafka import KafkaServer
from tests.system.cloud_process import Cloud, Line, eventually, line

NOW_NS = time.time_ns() // 1_000_000 * 1_000_000
Start = Callable[..., ChildProcess]
STORING = "ingest,historian"
"""The roles that take and store samples. To start the one that answers questions takes most of a start."""


@pytest.fixture
def cloud(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Cloud:
    return Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)


@pytest.fixture
def start(cloud: Cloud) -> Iterator[Start]:
    """Starts processes that are ended with the test."""
    started: list[ChildProcess] = []

    def launch(roles: str = "ingest,historian,gateway", *, wait: bool = True) -> ChildProcess:
        process = cloud.process(roles)
        started.append(process)
        if wait:
            cloud.wait_ready(process)
        return process

    yield launch
    for process in started:
        process.kill()


def beginning(agent: PlayedAgent) -> list[Wire]:
    return [agent.start(), agent.define("press", {"force": DataType.DOUBLE}, unit="kN")]


def samples(agent: PlayedAgent, count: int = 10) -> Wire:
    first = agent.next * 1_000
    rows = [Sample("force", NOW_NS - 60 * 10**9 + (first + n) * 1_000_000, float(first + n)) for n in range(count)]
    return agent.samples("press", rows)


def stored(cloud: Cloud, agent: PlayedAgent) -> list[tuple[int, float]]:
    """All samples of a tag as the API gives them: microseconds and value."""
    answer = cloud.get(
        "/api/v1/samples", agent=str(agent.name), device="press", tag="force", limit=10_000,
        **{"from": "1970-01-01T00:00:00Z", "to": "2200-01-01T00:00:00Z"},
    )  # fmt: skip
    if answer.status_code == 404:
        return []  # the tag has not come yet
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["next"] is None
    return sorted((_us(sample["time"]), sample["value"]) for sample in page["samples"])


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def sent(agent: PlayedAgent) -> list[tuple[int, float]]:
    return sorted((row.time_us, row.value) for rows in agent.rows.values() for row in rows)


async def deliver_some(connection: Line, agents: list[PlayedAgent], count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            first = agent.next
            wires = beginning(agent) if first == 1 else []
            wires += [samples(agent) for _ in range(count)]
            tasks.create_task(connection.deliver(agent, *wires, first=first))


async def is_complete(cloud: Cloud, agents: list[PlayedAgent]) -> None:
    """Every sample is stored once, and the ledger says so."""
    for agent in agents:
        await eventually(lambda agent=agent: len(stored(cloud, agent)) >= len(sent(agent)))
        assert stored(cloud, agent) == sent(agent)
    own = {str(agent.name) for agent in agents}  # a Kafka log keeps the agents of earlier tests, too
    entries = [entry for entry in cloud.get("/api/v1/ledger").json() if entry["agent"] in own]
    assert [(entry["missing"], entry["dead_letters"]) for entry in entries] == [(0, 0)] * len(own)


@pytest.mark.parametrize("roles", [["ingest,historian,gateway"], ["ingest", "historian", "gateway"]],
                         ids=["one process", "one process each"])  # fmt: skip
async def test_delivered_samples_are_stored_and_can_be_asked_for(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker, roles: list[str]
) -> None:
    processes = [start(part) for part in roles]
    agents = [PlayedAgent(f"line-{number}") for number in range(3)]
    async with line(mosquitto.url) as connection:
        connection.send(*(agent.born(1, version="1.2.3") for agent in agents))
        await deliver_some(connection, agents, 20)
        await is_complete(cloud, agents)
    for process in processes:
        process.stop(timeout_s=WAIT_S_MAX)
        assert process._process is not None
        assert process._process.returncode == 0, process.log_tail()
        assert "cloud_stopped" in process.log()
        assert '"level": "error"' not in process.log()


@pytest.mark.kafka
async def test_the_same_over_kafka(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, kafka_server: KafkaServer
) -> None:
    kafka_server.start()
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn, kafka=kafka_server.bootstrap)
    agents = [PlayedAgent(f"line-{number}", group="over-kafka") for number in range(3)]
    process = cloud.process()
    try:
        cloud.wait_ready(process)
        async with line(mosquitto.url) as connection:
            await deliver_some(connection, agents, 5)
            process.kill()
            process = cloud.process()
            cloud.wait_ready(process)
            await deliver_some(connection, agents, 5)
            await is_complete(cloud, agents)
    finally:
        process.kill()


@pytest.mark.slow
async def test_killed_at_any_time_and_started_again_everything_is_stored_once(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker
) -> None:
    agents = [PlayedAgent(f"line-{number}") for number in range(4)]
    source = random.Random(11)
    start("gateway")
    process = start(STORING)
    async with line(mosquitto.url) as connection:
        await deliver_some(connection, agents, 1)
        for _ in range(4):
            delivering = asyncio.create_task(deliver_some(connection, agents, 30))
            await asyncio.sleep(source.uniform(0.02, 0.4))
            process.kill()
            process = start(STORING)
            await delivering
        await is_complete(cloud, agents)
    assert {entry["arrived"] for entry in cloud.get("/api/v1/ledger").json()} == {agents[0].last}


async def test_two_processes_of_every_role_share_the_work_and_replace_each_other(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker
) -> None:
    agents = [PlayedAgent(f"line-{number}") for number in range(4)]
    start("gateway")
    first = start(STORING)
    second = cloud.process("historian,ingest")
    try:
        second.wait_until(lambda: "host_standby" in second.log(), timeout_s=WAIT_S_MAX)
        async with line(mosquitto.url) as connection:
            await deliver_some(connection, agents, 5)
            first.kill()
            await deliver_some(connection, agents, 5)
            await is_complete(cloud, agents)
        assert "host_online" in second.log()
    finally:
        second.kill()


async def test_noise_is_counted_and_set_aside_and_the_stream_goes_on(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker
) -> None:
    agent = PlayedAgent()
    start()
    async with line(mosquitto.url) as connection:
        await deliver_some(connection, [agent], 1)
        connection.send(
            Wire(agent.topic(Verb.DDATA, "press"), b"\x12\xff\xff\xff\xff\x7f"),
            Wire(agent.topic(Verb.DDATA, "press"), random.Random(3).randbytes(1_000_000)),
            Wire("spBv1.0/nobody/knows/this", b"{}"),
            Wire("spBv1.0/plant/DDATA/stranger/press", b"\x08\x01"),
        )
        first = agent.next
        unknown_alias = agent.raw("press", b"\x12\x0e\x10\xff\x01\x18\x80\x80\xc8\xcd\xf1\x33\x69" + bytes(2), 1)
        too_few = agent.raw("press", b"", 3)
        await connection.deliver(agent, unknown_alias, too_few, first=first)
        await deliver_some(connection, [agent], 5)
        await eventually(lambda: len(stored(cloud, agent)) == len(sent(agent)))
        assert stored(cloud, agent) == sent(agent)
        await eventually(lambda: cloud.metric("lineside_historian_dead_letters_total") == 6)
    (entry,) = (entry for entry in cloud.get("/api/v1/ledger").json() if entry["agent"] == "plant/line-1")
    assert entry["epochs"][0]["missing"] == [[first, first + 1]]
    assert entry["dead_letters"] == 4
    ledger = cloud.command("ledger")
    assert ledger.returncode == 1
    assert "missing 2" in ledger.stdout


async def test_a_process_without_its_database_waits_and_says_so_and_makes_the_tables_when_it_is_there(
    tmp_path: Path, mosquitto: MosquittoBroker, empty_database_dsn: str, postgres_server: PostgresServer
) -> None:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, empty_database_dsn)
    postgres_server.stop()
    process = cloud.process()
    try:
        await lives_through_outages(cloud, process, postgres_server)
    finally:
        process.kill()


async def lives_through_outages(cloud: Cloud, process: ChildProcess, postgres_server: PostgresServer) -> None:
    agent = PlayedAgent()

    def answers() -> bool:
        return cloud.get("/healthz").status_code == 200

    process.wait_until(lambda: "store_waiting" in process.log(), timeout_s=WAIT_S_MAX)
    assert answers()
    not_ready = cloud.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["status"]) == (503, "not ready")
    assert "cannot be reached" in not_ready.json()["reason"]
    postgres_server.start()
    cloud.wait_ready(process)
    assert '"migrated"' in process.log()
    async with line(cloud.broker) as connection:
        await deliver_some(connection, [agent], 2)
        postgres_server.kill()
        assert cloud.get("/readyz").status_code == 503
        answer = cloud.get("/api/v1/agents")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answers()
        delivering = asyncio.create_task(deliver_some(connection, [agent], 5))
        await asyncio.sleep(1.0)
        assert not delivering.done(), "nothing is acknowledged while the log is away"
        postgres_server.start()
        await delivering
        await is_complete(cloud, [agent])


async def test_a_node_of_another_maker_is_asked_for_its_birth(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker
) -> None:
    start()
    async with line(mosquitto.url) as connection:
        connection.send(Wire("spBv1.0/plant/NDATA/stranger", b"\x08\x80\x80\xc8\xcd\xf1\x33\x18\x05"))
        await eventually(lambda: any(b"Node Control/Rebirth" in message.payload for message in connection.commands))
        assert {message.topic for message in connection.commands} == {"spBv1.0/plant/NCMD/stranger"}


@pytest.mark.slow
async def test_sigterm_while_samples_come_in_loses_nothing(
    cloud: Cloud, start: Start, mosquitto: MosquittoBroker
) -> None:
    agent = PlayedAgent()
    start("gateway")
    async with line(mosquitto.url) as connection:
        process = start(STORING)
        for pause_s in (0.05, 0.15, 0.3):
            delivering = asyncio.create_task(deliver_some(connection, [agent], 40))
            await asyncio.sleep(pause_s)
            process.stop(signal.SIGTERM, timeout_s=WAIT_S_MAX)
            assert process._process is not None
            assert process._process.returncode == 0, process.log_tail()
            process = start(STORING)
            await delivering
        await is_complete(cloud, [agent])
