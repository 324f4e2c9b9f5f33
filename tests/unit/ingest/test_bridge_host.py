"""The bridge as the Sparkplug host: one of several processes, announced as the specification says."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from bridge_steps import STATE_TOPIC, Stage, eventually, quick_retries, settled
from structlog.testing import capture_logs

from cloud_ingest.ingest import bridge
from cloud_ingest.observability import steadiness
from cloud_ingest.observability.ingest_events import HostLost
from cloud_ingest.observability.metrics import BROKER_ONLINE
from connectors.model.datatypes import DataType
from connectors.observability.events import Event, listen, listen_no_more
from connectors.ports.broker import Message
from connectors.sparkplug.birth import REBIRTH
from connectors.sparkplug.node_session import payload_of
from connectors.sparkplug.state import HostState, decode_state, encode_state
from connectors.sparkplug.topics import Verb
from tests.played_agent import PlayedAgent, Sample, Wire


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_retries(monkeypatch)


async def test_the_host_is_announced_after_its_subscriptions_with_the_timestamp_of_its_will() -> None:
    stage = Stage()
    async with stage.running():
        assert stage.broker.calls[:3] == ["connect", "subscribe", "publish"]
        assert stage.broker.filters == [("spBv1.0/#", 0), (STATE_TOPIC, 1)]
        (will,), (birth,) = stage.broker.wills, stage.broker.published
        for message in (will, birth):
            assert (message.topic, message.qos, message.retain) == (STATE_TOPIC, 1, True)
        offline, online = decode_state(will.payload), decode_state(birth.payload)
        assert (offline.online, online.online) == (False, True)
        assert offline.timestamp_ms == online.timestamp_ms


async def test_the_host_says_that_it_leaves_before_it_leaves() -> None:
    stage = Stage()
    async with stage.running():
        pass
    assert stage.broker.calls[-2:] == ["publish", "disconnect"]
    *_, online, offline = stage.broker.states()
    assert (online.online, offline.online) == (True, False)
    assert offline.timestamp_ms >= online.timestamp_ms
    assert stage.broker.published[-1] == Message(STATE_TOPIC, encode_state(offline), 1, retain=True)


async def test_an_old_will_that_comes_late_is_answered_at_once() -> None:
    stage = Stage()
    async with stage.running():
        (online,) = stage.broker.states()
        stage.broker.deliver(STATE_TOPIC, encode_state(HostState(False, online.timestamp_ms - 1000)))
        assert stage.broker.states() == [online, online]


async def test_other_states_are_not_answered_and_not_logged() -> None:
    stage = Stage()
    async with stage.running():
        (online,) = stage.broker.states()
        stage.broker.deliver(STATE_TOPIC, encode_state(online))
        stage.broker.deliver("spBv1.0/STATE/other", encode_state(HostState(False, 1)))
        stage.broker.deliver(STATE_TOPIC, b"OFFLINE")
        stage.broker.deliver(STATE_TOPIC, b"\xff" * 10_000)
        await settled()
        assert stage.broker.states() == [online]
    assert stage.log.records() == []


@pytest.mark.sparkplug("tck-id-operational-behavior-host-application-host-id")
async def test_a_second_process_stands_by_and_takes_over() -> None:
    stage = Stage()
    stage.database.lock_is_free = False
    async with stage.running(online=False):
        await settled(0.1)
        assert stage.broker.connects == []
        assert not stage.bridge.is_online
        stage.database.lock_is_free = True
        await eventually(lambda: stage.bridge.is_online)


async def test_a_host_that_has_lost_its_lock_leaves_without_hiding_the_one_that_has_it() -> None:
    """The other host may be online already: our "offline" must not be newer than its "online"."""
    stage = Stage()
    async with stage.running():
        (online,) = stage.broker.states()
        await asyncio.sleep(0.005)
        stage.database.lock_is_free = False
        stage.database.lock.gone.set()
        await eventually(lambda: not stage.bridge.is_online)
        await eventually(lambda: stage.broker.calls[-1] == "disconnect")
        assert stage.broker.states()[1:] == [HostState(False, online.timestamp_ms)]


@pytest.mark.sparkplug("tck-id-operational-behavior-host-application-multi-server-timestamp")
async def test_on_each_server_the_host_is_online_since_its_connect_there() -> None:
    stage = Stage(brokers=("mqtts://one", "mqtts://two"))
    async with stage.running():
        for _ in range(3):
            await asyncio.sleep(0.005)
            connects = len(stage.broker.connects)
            stage.broker.lose()
            await eventually(lambda connects=connects: len(stage.broker.connects) > connects and stage.bridge.is_online)
    wills = [decode_state(will.payload).timestamp_ms for will in stage.broker.wills]
    online = [state.timestamp_ms for state in stage.broker.states() if state.online]
    assert stage.broker.connects == ["mqtts://one", "mqtts://two"] * 2
    assert online == wills == sorted(set(wills))


@pytest.mark.sparkplug("tck-id-g")
async def test_the_host_writes_down_since_when_it_hears_of_nodes_and_that_it_does_not_any_more() -> None:
    stage = Stage(brokers=("mqtts://one", "mqtts://two"))
    async with stage.running():
        await eventually(lambda: stage.database.hosts)
        (came,) = stage.database.hosts
        assert came == ("came", "mqtts://one", stage.broker.states()[0].timestamp_ms)
        stage.broker.lose()
        await eventually(lambda: len(stage.database.hosts) == 3)
        left, again = stage.database.hosts[1:]
        assert (left[:2], again[:2]) == (("left", came[2]), ("came", "mqtts://two"))
        assert came[2] <= left[2] <= again[2]
    assert stage.database.hosts[3][:2] == ("left", again[2])


async def test_the_next_broker_is_tried_when_one_cannot_be_reached() -> None:
    stage = Stage(brokers=("mqtts://one", "mqtts://two"))
    stage.broker.refuses = {"mqtts://one"}
    async with stage.running():
        assert stage.bridge.broker_url == "mqtts://two"
        assert stage.broker.connects == ["mqtts://one", "mqtts://two"]


def told(logs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each event once, with what it names."""
    return list(dict.fromkeys((log["event"], log.get("broker") or log.get("task", "")) for log in logs))


async def test_the_broker_is_named_when_it_is_the_broker_that_is_lost() -> None:
    stage = Stage(brokers=("mqtts://one", "mqtts://two"))
    with capture_logs() as logs:
        async with stage.running():
            stage.broker.lose()
            await eventually(lambda: not stage.bridge.is_online)
            await eventually(lambda: stage.bridge.broker_url == "mqtts://two")
            assert told(logs) == [
                ("host_online", "mqtts://one"),
                ("host_offline", "mqtts://one"),
                ("host_lost", "mqtts://one"),
                ("host_online", "mqtts://two"),
            ]


@pytest.mark.parametrize("what", ["database", "log"])
async def test_the_broker_is_not_blamed_for_a_store_that_is_away_nor_exchanged_for_another(what: str) -> None:
    stage = Stage(brokers=("mqtts://one", "mqtts://two"))
    with capture_logs() as logs:
        async with stage.running():
            if what == "database":
                stage.database.available = False
            else:
                stage.log.server.available = False
            stage.database.lock.gone.set()
            await eventually(lambda: not stage.bridge.is_online)
            assert BROKER_ONLINE._value.get() == 0
            await settled()
            stage.database.available = stage.log.server.available = True
            await eventually(lambda: stage.bridge.is_online)
            assert BROKER_ONLINE._value.get() == 1
    assert told(logs) == [
        ("host_online", "mqtts://one"),
        ("host_offline", "mqtts://one"),
        ("store_waiting", "ingest"),
    ]
    assert all(log["reason"] for log in logs if log["event"] == "store_waiting")


@pytest.mark.parametrize("what", ["broker", "database", "log"])
async def test_the_host_comes_back_after_any_loss(what: str) -> None:
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.send(agent.start())
        await eventually(stage.broker.commands)
        if what == "database":
            stage.database.available = False
        if what == "log":
            stage.log.server.available = False
        stage.broker.lose()
        await eventually(lambda: not stage.bridge.is_online)
        await settled()
        stage.database.available = stage.log.server.available = True
        await eventually(lambda: stage.bridge.is_online)
        stage.send(agent.define("press", {"force": DataType.DOUBLE}))
        await eventually(lambda: stage.broker.acknowledged()[0] == [1, 2])
    first, second = (decode_state(will.payload).timestamp_ms for will in stage.broker.wills[-2:])
    assert first <= second


async def test_what_arrived_before_the_connection_was_lost_is_still_appended() -> None:
    stage, agent = Stage(), PlayedAgent()
    async with stage.running():
        stage.log.open.clear()
        stage.send(agent.born())
        await settled()
        stage.send(agent.start())
        stage.broker.lose()
        await eventually(lambda: not stage.bridge.is_online)
        stage.log.open.set()
        await eventually(lambda: len(stage.log.records()) == 2)
        await eventually(stage.broker.commands)
    assert stage.broker.acknowledged() == ([1], {})


async def test_wanted_rebirths_are_asked_of_their_nodes() -> None:
    stage = Stage()
    async with stage.running():
        stage.database.rebirths = [("plant", "a"), ("plant", "b")]
        await eventually(lambda: stage.broker.commands("plant/b"))
        await settled()
    for node in ("plant/a", "plant/b"):
        (payload,) = stage.broker.commands(node)
        (metric,) = payload_of(payload).metrics
        assert (metric.name, metric.boolean_value) == (REBIRTH, True)


async def test_no_message_however_broken_ends_the_connection() -> None:
    source = random.Random(7)
    stage, agent = Stage(), PlayedAgent()
    agent.define("press", {"force": DataType.DOUBLE})
    good = agent.samples("press", [Sample("force", 1, 1.0)])
    odd_topics = ["spBv1.0/a/b", "spBv1.0/STATE/x", "spBv1.0//DDATA//", "spBv1.0/ÿ/NDATA/x"]
    topics = [good.topic, agent.topic(Verb.NDATA), *odd_topics]
    async with stage.running() as task:
        for number in range(500):
            payload = bytearray(good.payload)
            for _ in range(source.randint(1, 3)):
                payload[source.randrange(len(payload))] = source.randrange(256)
            broken = bytes(payload[: source.randint(0, len(payload))]) if number % 2 else os.urandom(number)
            stage.broker.deliver(source.choice(topics), broken)
        stage.send(Wire("spBv1.0/plant/NBIRTH/line-1", bytes(1_000_000)), good)
        await eventually(lambda: 2 in stage.broker.acknowledged()[0])
        assert not task.done()
        assert len(stage.broker.connects) == 1


async def test_a_broker_that_ends_every_connection_at_once_is_asked_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "RETRY_FIRST_S", 0.1)
    monkeypatch.setattr(bridge, "RETRY_LONGEST_S", 0.8)
    monkeypatch.setattr(steadiness, "STEADY_S", 0.5)
    heard: list[Event] = []
    stage = Stage()
    subscribe = stage.broker.subscribe

    async def ends_at_once(filters: Sequence[tuple[str, int]]) -> None:
        await subscribe(filters)
        asyncio.get_running_loop().call_soon(stage.broker.lose)

    listen(heard.append)
    try:
        monkeypatch.setattr(stage.broker, "subscribe", ends_at_once)
        async with stage.running(online=False):
            await eventually(lambda: waits(heard)[-1:] >= [0.5])
            monkeypatch.setattr(stage.broker, "subscribe", subscribe)
            await eventually(lambda: stage.bridge.is_online)
            await settled(1.0)  # it holds
            before = len(waits(heard))
            stage.broker.lose()
            await eventually(lambda: len(waits(heard)) > before)
    finally:
        listen_no_more(heard.append)
    assert waits(heard)[before] <= 0.1, "after a connection that held, it begins with the shortest wait"


def waits(heard: list[Event]) -> list[float]:
    return [one.retry_s for one in heard if isinstance(one, HostLost)]
