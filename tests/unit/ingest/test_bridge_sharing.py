"""Several processes share numbered batches; what needs an order goes through the host alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bridge_steps import STATE_TOPIC, FakeLog, Stage, eventually, quick_retries, settled

from cloud_ingest.ingest import sharing
from cloud_ingest.observability import steadiness
from cloud_ingest.observability.ingest_events import SharingLost
from connectors.model.datatypes import DataType
from connectors.model.errors import StatementRefused
from connectors.observability.events import Event, listen, listen_no_more
from connectors.sparkplug.state import decode_state
from connectors.sparkplug.topics import Verb
from tests.played_agent import PlayedAgent, Sample, Wire

NODE_BIRTH = Wire("spBv1.0/plant/NBIRTH/stranger", b"\x08\x01\x18\x00")
NODE_DATA = Wire("spBv1.0/plant/DDATA/stranger/press", b"\x08\x02\x18\x01")
SHARED = [("$share/lineside/spBv1.0/+/NDATA/+", 0), ("$share/lineside/spBv1.0/+/DDATA/+/+", 0)]
PLAIN = [(f"spBv1.0/+/{verb}", 0) for verb in ("NBIRTH/+", "NDEATH/+", "DBIRTH/+/+", "DDEATH/+/+")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


def batches(agent: PlayedAgent) -> list[Wire]:
    wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
    return [*wires, *(agent.samples("press", [Sample("force", 1, 1.0)]) for _ in range(3))]


async def shared_online(stage: Stage) -> None:
    await eventually(lambda: stage.shared.filters == SHARED)


def topics(stage: Stage) -> list[str]:
    return sorted(record.header("mqtt-topic").decode() for record in stage.log.records())


async def test_the_host_hears_what_needs_an_order_and_every_process_its_part_of_the_batches() -> None:
    stage = Stage(shares=True)
    async with stage.running():
        await shared_online(stage)
        assert stage.broker.filters == [*PLAIN, (STATE_TOPIC, 1)]
        assert stage.shared.wills == [], "only the host has a will"
        agent = PlayedAgent()
        for wire in batches(agent):
            stage.shared.deliver(*wire)
        stage.send(agent.born(1), agent.died(1))
        await eventually(lambda: stage.shared.acknowledged()[0] == [1, 2, 3, 4, 5])
        assert stage.broker.commands() == []
        await eventually(lambda: len(stage.log.records()) == 7)


async def test_a_process_that_stands_by_as_host_takes_its_part_of_the_batches() -> None:
    stage = Stage(shares=True)
    stage.database.lock_is_free = False
    async with stage.running(online=False):
        await shared_online(stage)
        stage.shared.deliver(*PlayedAgent().start())
        await eventually(lambda: stage.shared.acknowledged()[0] == [1])
        assert stage.broker.connects == []


async def test_a_node_that_does_not_acknowledge_is_taken_by_the_host_alone_and_once() -> None:
    stage = Stage(shares=True)
    stage.database.plain.add(("plant", "stranger"))
    async with stage.running():
        await shared_online(stage)
        data = [("spBv1.0/plant/NDATA/stranger", 0), ("spBv1.0/plant/DDATA/stranger/+", 0)]
        await eventually(lambda: stage.broker.filters[-2:] == data)
        stage.shared.deliver(*NODE_DATA)
        stage.send(NODE_DATA)
        await eventually(lambda: topics(stage) == [NODE_DATA.topic])
        await settled()
        assert topics(stage) == [NODE_DATA.topic]


@pytest.mark.parametrize("heard_of_by", ["its birth", "its data"])
async def test_a_node_that_nobody_knows_is_subscribed_to(heard_of_by: str) -> None:
    stage = Stage(shares=True)
    async with stage.running():
        await shared_online(stage)
        if heard_of_by == "its birth":
            stage.send(NODE_BIRTH)
        else:
            stage.shared.deliver(*NODE_DATA)
        await eventually(lambda: ("spBv1.0/plant/DDATA/stranger/+", 0) in stage.broker.filters)
        assert stage.database.plain == {("plant", "stranger")}


async def test_the_birth_of_an_agent_that_numbers_its_batches_makes_no_subscription() -> None:
    stage = Stage(shares=True)
    async with stage.running():
        await shared_online(stage)
        stage.send(PlayedAgent().born(1))
        await eventually(lambda: len(stage.log.records()) == 1)
        await settled()
        assert stage.broker.filters == [*PLAIN, (STATE_TOPIC, 1)]


async def test_a_damaged_batch_of_an_agent_that_is_known_is_logged_to_be_set_aside() -> None:
    stage = Stage(shares=True)
    agent = PlayedAgent()
    damaged = Wire(agent.topic(Verb.DDATA, "press"), b"\x12\xff\xff\xff\xff\x7f")
    async with stage.running():
        await shared_online(stage)
        stage.shared.deliver(*agent.start())
        stage.shared.deliver(*damaged)
        await eventually(lambda: damaged.topic in topics(stage))


async def test_the_loss_of_one_connection_leaves_the_other_as_it_is() -> None:
    stage = Stage(shares=True)
    async with stage.running():
        await shared_online(stage)
        stage.shared.lose()
        await eventually(lambda: len(stage.shared.connects) == 2)
        assert stage.broker.connects == ["mqtts://one"]
        stage.broker.lose()
        await eventually(lambda: len(stage.broker.connects) == 2)
        assert len(stage.shared.connects) == 2
        assert decode_state(stage.broker.published[-1].payload).online


async def test_batches_are_taken_on_the_broker_where_the_host_is() -> None:
    stage = Stage(shares=True, brokers=("mqtts://one", "mqtts://two"))
    stage.database.lock_is_free = False
    async with stage.running(online=False):
        await eventually(lambda: stage.shared.connects == ["mqtts://one"])
        stage.database.host_broker = "mqtts://two"
        await eventually(lambda: stage.shared.connects == ["mqtts://one", "mqtts://two"])


async def test_a_batch_that_is_not_in_the_ledger_is_not_acknowledged_for_the_place_of_the_historian() -> None:
    """Other processes append, too: the log can have lost its end and have grown again without our seeing it."""
    stage = Stage(acknowledge="projected", shares=True, log=FakeLog(survives_power_loss=False))
    agent, other = PlayedAgent(), PlayedAgent()
    async with stage.running():
        await shared_online(stage)
        for wire in (*batches(agent), *batches(other)):
            stage.shared.deliver(*wire)
        await eventually(lambda: len(stage.log.records()) == 10)
        stage.database.stored = {agent.epoch: "{[1,4)}"}
        stage.database.places = dict.fromkeys(range(4), 100)
        await eventually(lambda: stage.shared.acknowledged()[0] == [1, 2, 3])
        await settled()
        assert stage.shared.acknowledged()[0] == [1, 2, 3], "the others are sent again by their agents"


async def test_what_was_being_appended_when_the_role_is_started_again_is_not_forgotten() -> None:
    stage = Stage()
    stage.log.open.clear()
    async with stage.running():
        stage.send(NODE_BIRTH)
        await settled()
    stage.log.open.set()
    assert stage.log.records() == []
    async with stage.running():
        await eventually(lambda: topics(stage) == [NODE_BIRTH.topic])
    await asyncio.sleep(0)


async def test_a_statement_that_is_refused_for_a_while_ends_no_other_part_of_the_role(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(shares=True)
    fetch, is_refused = stage.database.fetch, True

    async def refused(sql: str, *args: Any) -> list[dict[str, Any]]:
        if is_refused and "FROM host" in sql:
            raise StatementRefused("permission denied for table host", sqlstate="42501")
        return await fetch(sql, *args)

    async with stage.running() as running:
        await shared_online(stage)
        monkeypatch.setattr(stage.database, "fetch", refused)
        stage.shared.lose()
        await settled()
        assert not running.done()
        assert len(stage.broker.connects) == 1, "the host has not noticed"
        is_refused = False
        await eventually(lambda: stage.shared.calls[-1] == "subscribe")
        stage.shared.deliver(*PlayedAgent().start())
        await eventually(lambda: stage.shared.acknowledged()[0] == [1])


async def test_a_connection_that_held_is_made_anew_after_the_shortest_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    monkeypatch.setattr(sharing, "RETRY_FIRST_S", 0.1)
    monkeypatch.setattr(sharing, "RETRY_LONGEST_S", 0.8)
    monkeypatch.setattr(steadiness, "STEADY_S", 0.2)
    stage = Stage(shares=True)
    stage.shared.refuses = {"mqtts://one"}
    listen(heard.append)
    try:
        async with stage.running():
            await eventually(lambda: waits(heard)[-1:] > [0.3])
            stage.shared.refuses = set()
            await shared_online(stage)
            await settled(0.5)  # it holds
            before = len(waits(heard))
            stage.shared.lose()
            await eventually(lambda: len(waits(heard)) > before)
    finally:
        listen_no_more(heard.append)
    assert waits(heard)[before] <= 0.1


def waits(heard: list[Event]) -> list[float]:
    return [one.retry_s for one in heard if isinstance(one, SharingLost)]
