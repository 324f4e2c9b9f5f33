"""The bridge acknowledges what the log has, keeps the order, and never holds more than it may."""

from __future__ import annotations

import pytest
from bridge_steps import FakeLog, Stage, eventually, quick_retries, settled
from prometheus_client import generate_latest

from cloud_ingest.event_log.topics import DEFINITIONS, RAW, REPORTS
from cloud_ingest.ingest import pace, refusing
from cloud_ingest.ingest.pending import ENTRY_BYTES
from cloud_ingest.observability.metrics import MESSAGES_DROPPED, PENDING_BYTES, REGISTRY
from cloud_ingest.observability.obstacles import INGEST_PENDING, INGEST_REFUSED, INGEST_SLOW, OBSTACLES
from connectors.model.datatypes import DataType
from connectors.sparkplug.delivery import COMMAND_REPORT
from tests.played_agent import PlayedAgent, Sample, Wire


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


def size_of(wire: Wire) -> int:
    """What a message counts while it waits."""
    return len(wire.payload) + 2 * len(wire.topic) + ENTRY_BYTES


def batches(agent: PlayedAgent, count: int) -> list[Wire]:
    agent.define("press", {"force": DataType.DOUBLE})
    return [agent.samples("press", [Sample("force", number, float(number))]) for number in range(count)]


async def test_a_batch_is_acknowledged_only_after_it_was_appended() -> None:
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.log.open.clear()
        stage.send(agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", [Sample("force", 1, 1.0)]))
        await settled()
        assert stage.broker.commands() == []
        stage.log.open.set()
        await eventually(stage.broker.commands)
    assert stage.broker.acknowledged() == ([1, 2], {})
    assert [record.key for record in stage.log.records()] == [b"plant/line-1"] * 2
    (definition,) = stage.log.records(DEFINITIONS)
    assert definition.value == agent.definitions["press"].body


async def test_reports_of_commands_are_in_their_own_topic_too_before_they_are_acknowledged() -> None:
    stage, agent = Stage(), PlayedAgent()
    report = agent.record({COMMAND_REPORT: "{}"})  # whether it is one, its reader finds out
    hello = agent.hello("ab" * 16)
    async with stage.running():
        stage.log.open.clear()
        stage.send(report, agent.start(), hello)
        await settled()
        assert stage.broker.commands() == []
        stage.log.open.set()
        await eventually(lambda: stage.broker.acknowledged()[0] == [1, 2, 3])
    raw = stage.log.records()
    assert len(raw) == 3
    told = [(record.key, record.value, record.time_ms, record.headers) for record in stage.log.records(REPORTS)]
    assert told == [(record.key, record.value, record.time_ms, record.headers) for record in (raw[0], raw[2])]


async def test_the_bytes_that_wait_for_the_log_are_measured() -> None:
    stage, agent = Stage(), PlayedAgent()
    wires = batches(agent, 5)
    async with stage.running():
        stage.log.server.available = False
        stage.send(*wires)
        await eventually(lambda: PENDING_BYTES._value.get() == sum(map(size_of, wires)))
        stage.log.server.available = True
        await eventually(lambda: len(stage.broker.acknowledged()[0]) == 5)
        await eventually(lambda: PENDING_BYTES._value.get() == 0)


async def test_every_agent_gets_its_own_acknowledgements() -> None:
    stage = Stage()
    agents = [PlayedAgent(f"line-{number}") for number in range(3)]
    async with stage.running():
        for agent in agents:
            stage.send(agent.start(), *batches(agent, 2))
        names = [str(agent.name) for agent in agents]
        await eventually(lambda: all(len(stage.broker.acknowledged(name)[0]) == 3 for name in names))
    assert all(stage.broker.acknowledged(name) == ([1, 3, 4], {}) for name in names)


async def test_births_deaths_and_other_nodes_are_logged_without_an_acknowledgement() -> None:
    stage, agent = Stage(), PlayedAgent()
    agent.define("press", {"force": DataType.DOUBLE})
    wires = [agent.born(), agent.device_born("press"), agent.died(), Wire("spBv1.0/a/NDATA/b", b"\x08\x01")]
    async with stage.running():
        stage.send(*wires, Wire("spBv1.0/plant/NCMD/line-1", b"\x08\x01"))
        await eventually(lambda: len(stage.log.records()) == 4)
        await settled()
    assert sorted(record.value for record in stage.log.records()) == sorted(wire.payload for wire in wires)
    assert stage.broker.commands() == []


async def test_while_the_log_is_down_batches_beyond_the_bound_are_left_to_their_agents() -> None:
    stage, agent = Stage(pending_bytes_max=9_000), PlayedAgent()
    wires = batches(agent, 60)
    largest = max(map(size_of, wires))
    async with stage.running():
        stage.log.server.available = False
        before = MESSAGES_DROPPED._value.get()
        for wire in wires:
            stage.send(wire)
            await settled(0.001)
        assert 0 <= stage.bridge._intake.pending.size_bytes < 9_000 + largest
        dropped = MESSAGES_DROPPED._value.get() - before
        assert 60 - dropped == pytest.approx(9_000 / largest, abs=2)
        assert stage.broker.commands() == []
        stage.log.server.available = True
        await eventually(lambda: len(stage.broker.acknowledged()[0]) == 60 - dropped)
        for wire in wires:
            stage.send(wire)
            await settled(0.001)
        await eventually(lambda: set(stage.broker.acknowledged()[0]) == set(range(2, 62)))
    found = list(dict.fromkeys(record.value for record in stage.log.records()))
    assert found == [wire.payload for wire in wires], "the order was kept, and nothing lost"


async def test_a_node_that_does_not_acknowledge_is_kept_while_batches_are_dropped_and_then_counted() -> None:
    stage, agent = Stage(pending_bytes_max=8_000), PlayedAgent()
    others = [Wire("spBv1.0/plant/NDATA/other", b"\x08\x01\x18" + bytes([number]) * 97) for number in range(1, 31)]
    async with stage.running():
        stage.log.server.available = False
        before = MESSAGES_DROPPED._value.get()
        stage.send(*batches(agent, 20), *others)
        await settled()
        held = stage.bridge._intake.pending.size_bytes
        assert 16_000 <= held < 16_700, "twice the bound, and no more"
        stage.log.server.available = True
        await eventually(lambda: stage.bridge._intake.pending.size_bytes == 0)
        kept = [record.value for record in stage.log.records() if record.value.startswith(b"\x08\x01\x18")]
    assert kept == [wire.payload for wire in others[: len(kept)]]
    assert 8 <= len(kept) < 30
    assert MESSAGES_DROPPED._value.get() - before == 50 - len(stage.log.records())


async def test_a_log_that_answers_slowly_is_named_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("APPEND_S_SLOW", 0.05), ("LOOK_S", 0.01), ("QUICK_AFTER_S", 0.1)):
        monkeypatch.setattr(pace, name, value)
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.log.open.clear()
        stage.send(agent.start())
        await eventually(lambda: "has taken more than 0.05 s" in OBSTACLES.reason(INGEST_SLOW))
        assert 'lineside_cloud_waiting{part="ingest append slow"} 1.0' in generate_latest(REGISTRY).decode()
        stage.log.open.set()
        await eventually(lambda: not OBSTACLES.reason(INGEST_SLOW))
        assert "ingest append slow" not in generate_latest(REGISTRY).decode()


async def test_that_batches_are_dropped_is_an_obstacle_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, agent = Stage(pending_bytes_max=2_000), PlayedAgent()
    async with stage.running():
        stage.log.server.available = False
        stage.send(*batches(agent, 60))
        await eventually(lambda: "bytes wait for the event log" in OBSTACLES.reason(INGEST_PENDING))
        stage.log.server.available = True
        await eventually(lambda: not OBSTACLES.reason(INGEST_PENDING))


async def test_messages_without_content_take_room_too() -> None:
    stage = Stage(pending_bytes_max=8_000)
    async with stage.running():
        stage.log.server.available = False
        stage.send(*(Wire("spBv1.0/plant/NDATA/other", b"") for _ in range(10_000)))
        await settled()
        assert len(stage.bridge._intake.pending) <= 30


async def test_an_append_without_an_answer_is_repeated_in_order_and_acknowledged_once() -> None:
    stage, agent = Stage(), PlayedAgent()
    wires = batches(agent, 5)
    async with stage.running():
        stage.log.answers_lost = 1
        stage.send(*wires[:3])
        await eventually(lambda: not stage.log.server.available)
        stage.send(*wires[3:])
        stage.log.server.available = True
        await eventually(lambda: len(stage.broker.acknowledged()[0]) >= 5)
        await settled()
    payloads = [wire.payload for wire in wires]
    assert [record.value for record in stage.log.records()] == payloads[:3] + payloads
    assert stage.broker.acknowledged() == ([2, 3, 4, 5, 6], {})


async def test_a_record_that_the_log_refuses_is_told_to_its_agent_and_set_aside() -> None:
    stage, agent = Stage(log=FakeLog(record_bytes_max=500)), PlayedAgent()
    agent.define("press", {"text": DataType.STRING})
    large = agent.samples("press", [Sample("text", 1, "x" * 600)])
    others = [agent.samples("press", [Sample("text", 2, "y")]) for _ in range(3)]
    async with stage.running():
        stage.send(others[0], large, *others[1:])
        await eventually(lambda: stage.broker.acknowledged()[1] and len(stage.broker.acknowledged()[0]) == 3)
    told, refused = stage.broker.acknowledged()
    assert told == [3, 4, 5]
    assert list(refused) == [2]
    assert "the most is 500" in refused[2]
    ((_tenant, agent_id, epoch, batch, topic, payload, reason, _received, brings),) = stage.database.dead_letters
    assert (agent_id, epoch, batch) == (7, agent.epoch, 2), "closing it says which batch is explained"
    assert (topic, payload, reason, brings) == (large.topic, large.payload, refused[2], None)
    assert [record.value for record in stage.log.records()] == [wire.payload for wire in others]


async def test_a_definition_that_the_log_refuses_is_told_to_its_agent_too() -> None:
    stage, agent = Stage(log=FakeLog(record_bytes_max=500)), PlayedAgent()
    small = agent.define("oven", {"t": DataType.DOUBLE})
    large = agent.define("press", {f"tag {number}": DataType.DOUBLE for number in range(60)})
    async with stage.running():
        stage.send(small, large, agent.gap("oven", "refused", 1, 2))
        await eventually(lambda: stage.broker.acknowledged()[1] and len(stage.broker.acknowledged()[0]) == 2)
    told, refused = stage.broker.acknowledged()
    assert (told, list(refused)) == ([1, 3], [2])
    assert [record.value for record in stage.log.records(DEFINITIONS)] == [agent.definitions["oven"].body]
    ((*_, brings),) = stage.database.dead_letters
    assert brings == agent.definitions["press"].hash, "so that the ledger knows which batches wait for it in vain"


async def test_a_message_that_the_log_refuses_holds_nothing_up_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "NOTED_MAX", 2)
    stage, agent = Stage(log=FakeLog(record_bytes_max=500), shares=True), PlayedAgent()
    agent.define("press", {"text": DataType.STRING})
    large = [agent.samples("press", [Sample("text", 1, "x" * 600)]) for _ in range(3)]
    small = [agent.samples("press", [Sample("text", 2, "y")]) for _ in range(3)]
    stage.database.available = False
    async with stage.running(online=False):
        await eventually(lambda: stage.bridge._sharing is not None and stage.bridge._sharing.broker_url)
        for wire in (large[0], small[0], large[1], large[0], large[2], *small[1:]):
            stage.shared.deliver(*wire)
        await eventually(lambda: stage.shared.acknowledged()[0] == [5, 6, 7])
        await settled()
        assert stage.shared.acknowledged()[1] == {}, "what is nowhere yet is not answered"
        assert OBSTACLES.reason(INGEST_REFUSED) == "the database is away"
        stage.database.available = True
        await eventually(lambda: sorted(stage.shared.acknowledged()[1]) == [2, 3])
        assert [letter[3] for letter in stage.database.dead_letters] == [2, 3], "each once; the third comes again"
        await eventually(lambda: not OBSTACLES.reason(INGEST_REFUSED))
        stage.shared.deliver(*large[2])
        await eventually(lambda: sorted(stage.shared.acknowledged()[1]) == [2, 3, 4])


async def test_a_refused_message_of_another_node_is_only_set_aside() -> None:
    stage = Stage(log=FakeLog(record_bytes_max=500))
    async with stage.running():
        stage.send(Wire("spBv1.0/plant/NBIRTH/other", bytes(600)))
        await eventually(lambda: stage.database.dead_letters)
        await settled()
    assert stage.broker.commands("plant/other") == []


async def test_projected_acknowledges_only_what_the_historian_has_passed() -> None:
    stage, agent = Stage(acknowledge="projected"), PlayedAgent()
    async with stage.running():
        stage.send(*batches(agent, 4))
        await eventually(lambda: len(stage.log.records()) == 4)
        await settled()
        assert stage.broker.commands() == []
        partition = stage.log.partition_of(RAW, b"plant/line-1")
        stage.database.places = {partition: 2, (partition + 1) % 4: 100}
        await eventually(stage.broker.commands)
        await settled()
        assert stage.broker.acknowledged() == ([2, 3], {})
        stage.database.places = {partition: 4}
        await eventually(lambda: len(stage.broker.acknowledged()[0]) == 4)
    assert stage.broker.acknowledged() == ([2, 3, 4, 5], {})


@pytest.mark.parametrize(("acknowledge", "waits"), [("auto", True), ("logged", False), ("projected", True)])
async def test_a_log_on_one_machine_s_page_cache_is_not_enough_by_itself(acknowledge: str, waits: bool) -> None:
    stage, agent = Stage(acknowledge=acknowledge, log=FakeLog(survives_power_loss=False)), PlayedAgent()
    async with stage.running():
        stage.send(agent.start())
        await eventually(stage.log.records)
        await settled()
        assert stage.broker.commands() == [] if waits else len(stage.broker.commands()) == 1


async def test_auto_is_content_with_a_log_that_survives_a_power_loss() -> None:
    stage, agent = Stage(acknowledge="auto"), PlayedAgent()
    async with stage.running():
        stage.send(agent.start())
        await eventually(stage.broker.commands)
    assert stage.broker.acknowledged() == ([1], {})


async def test_a_topic_that_was_made_anew_makes_no_batch_wait_for_the_old_one_s_places() -> None:
    stage, agent = Stage(acknowledge="projected"), PlayedAgent()
    wires = batches(agent, 6)
    async with stage.running():
        stage.send(*wires[:5])
        await eventually(lambda: len(stage.log.records()) == 5)
        del stage.log.server.topics[RAW]
        stage.broker.lose()
        await eventually(lambda: len(stage.broker.wills) == 2 and stage.bridge.is_online)
        stage.send(wires[5])
        await eventually(stage.log.records)
        stage.database.places = dict.fromkeys(range(4), 1)
        await eventually(stage.broker.commands)
        await settled()
    assert stage.broker.acknowledged() == ([7], {})
