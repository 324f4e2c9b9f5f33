"""The cloud side as a Host Application, judged by the bytes that it sends to a real broker, by MQTT 5 and MQTT 3.1.1.

The nodes are Eclipse Tahu's, which acknowledges nothing, and a played agent of acknowledged delivery.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from connectors.model.delivery import AgentName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.state import HostState, decode_state, encode_state
from connectors.sparkplug.topics import Topic, Verb
from tests.mqtt_wire import CONNECT, DISCONNECT, PUBLISH, SESSION_EXPIRY, SUBSCRIBE, Packet, Recorder
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Wire
from tests.servers.sparkplug_peers import tahu
from tests.system.cloud_process import Cloud, eventually, line

STATE = "spBv1.0/STATE/lineside"
STRANGER = AgentName("plant", "tahu")
NOW_MS_MAX = 60_000
"""So far from each other are two times of now at most: what is sent may be read late."""
REBIRTH = "Node Control/Rebirth"


@dataclass(frozen=True, slots=True)
class Reign:
    """Two starts of a host, and what its API has told of Tahu's node."""

    version: str
    packets: list[Packet]
    samples: dict[str, list[Any]]
    stale: dict[str, dict[str, bool]]

    def of(self, connection: int, *kinds: int) -> list[Packet]:
        return [packet for packet in self.packets if packet.connection == connection and packet.kind in kinds]

    def states(self, connection: int) -> list[Packet]:
        return [packet for packet in self.of(connection, PUBLISH) if packet.topic == STATE]

    @property
    def commands(self) -> list[tuple[Packet, pb.Payload]]:
        found = [packet for packet in self.packets if packet.kind == PUBLISH and packet.topic != STATE]
        return [(packet, pb.Payload.FromString(packet.payload)) for packet in found]


@pytest.fixture(scope="module", params=["5", "3.1.1"])
def reign(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Reign]:
    folder: Path = tmp_path_factory.mktemp("host")
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    recorder = Recorder(broker.port)
    name = f"host_{request.param.replace('.', '_')}"
    postgres_server.create_database(name)
    cloud = Cloud(folder / "cloud", recorder.url, postgres_server.dsn(name))
    document = json.loads(cloud.config.read_text())
    document["ingest"]["mqtt_version"] = request.param
    cloud.config.write_text(json.dumps(document))
    try:
        samples, stale = asyncio.run(lived(cloud, broker, recorder))
        yield Reign(request.param, recorder.packets, samples, stale)
    finally:
        recorder.close()
        broker.stop()
        postgres_server.drop_database(name)


async def lived(
    cloud: Cloud, broker: MosquittoBroker, recorder: Recorder
) -> tuple[dict[str, list[Any]], dict[str, dict[str, bool]]]:
    """Start the host twice; a stranger is stored, an agent acknowledged, and a late will answered."""
    now_ms = time.time_ns() // 1_000_000
    messages = [Wire(str(Topic(STRANGER, Verb(verb), device)), data) for verb, device, data in tahu().write(now_ms)]
    agent, stale = PlayedAgent(), dict[str, dict[str, bool]]()
    process = cloud.process()
    try:
        cloud.wait_ready(process)
        async with line(broker.url) as connection:
            connection.send(messages[2])
            await eventually(lambda: any(REBIRTH.encode() in packet.payload for packet in recorder.of(PUBLISH)))
            connection.send(*messages[:3])
            await connection.deliver(agent, agent.start(), first=1)
            await eventually(lambda: is_stored_with_data(cloud))
            stale["born"] = {tag["tag"]: tag["stale"] for tag in tags(cloud)}
            samples = {tag["tag"]: values(cloud, tag["tag_id"]) for tag in tags(cloud)}
            late = HostState(False, now_ms - 60_000)
            states = len([packet for packet in recorder.of(PUBLISH) if packet.topic == STATE])
            connection.send(Wire(STATE, encode_state(late)))
            await eventually(lambda: len([packet for packet in recorder.of(PUBLISH) if packet.topic == STATE]) > states)
        process.stop(timeout_s=WAIT_S_MAX)
        process = cloud.process()
        cloud.wait_ready(process)
        stale["host came back"] = {tag["tag"]: tag["stale"] for tag in tags(cloud)}
    finally:
        process.stop(timeout_s=WAIT_S_MAX)
    await eventually(lambda: len(recorder.of(DISCONNECT)) == len(recorder.of(CONNECT)))  # its threads may read late
    return samples, stale


def tags(cloud: Cloud) -> list[dict[str, Any]]:
    answer = cloud.get("/api/v1/tags", agent=str(STRANGER), limit=1000)
    return list(answer.json()["tags"]) if answer.status_code == 200 else []


def is_stored_with_data(cloud: Cloud) -> bool:
    """Whether the births and the data are stored. Tags are entered before: they may be seen a moment sooner."""
    return any(tag["tag"] == "Int8" and len(values(cloud, tag["tag_id"])) == 2 for tag in tags(cloud))


def values(cloud: Cloud, tag_id: int) -> list[Any]:
    span = {"from": "1970-01-01T00:00:00Z", "to": "2200-01-01T00:00:00Z"}
    answer = cloud.get("/api/v1/samples", tag_id=tag_id, **span)
    return [sample["value"] for sample in answer.json()["samples"]]


@pytest.mark.sparkplug(
    "tck-id-message-flow-phid-sparkplug-clean-session-311", "tck-id-message-flow-phid-sparkplug-clean-session-50"
)
def test_every_session_of_the_host_is_clean(reign: Reign) -> None:
    connects = [packet for packet in reign.packets if packet.kind == CONNECT]
    assert [(packet.level, packet.clean) for packet in connects] == [(5 if reign.version == "5" else 4, True)] * 2
    assert all(packet.properties.get(SESSION_EXPIRY, 0) == 0 for packet in connects)


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-application-connect-will",
    "tck-id-host-topic-phid-death-payload",
    "tck-id-host-topic-phid-death-payload-timestamp-connect",
    "tck-id-operational-behavior-host-application-connect-will-topic",
    "tck-id-operational-behavior-host-application-connect-will-qos",
    "tck-id-operational-behavior-host-application-connect-will-retained",
    "tck-id-payloads-state-will-message",
    "tck-id-payloads-state-will-message-qos",
    "tck-id-payloads-state-will-message-retain",
    "tck-id-host-topic-phid-death-required",
    "tck-id-host-topic-phid-death-topic",
    "tck-id-host-topic-phid-death-qos",
    "tck-id-host-topic-phid-death-retain",
    "tck-id-operational-behavior-host-application-connect-will-payload",
    "tck-id-payloads-state-will-message-payload",
    "tck-id-operational-behavior-host-application-death-payload",
)
def test_the_will_says_offline_since_the_connect(reign: Reign) -> None:
    for number in (0, 1):
        (connect,) = reign.of(number, CONNECT)
        assert connect.will is not None
        assert (connect.will.topic, connect.will.qos, connect.will.retain) == (STATE, 1, True)
        state = decode_state(connect.will.payload)
        assert json.loads(connect.will.payload) == {"online": False, "timestamp": state.timestamp_ms}
        assert abs(state.timestamp_ms - connect.at_ms) < NOW_MS_MAX


@pytest.mark.sparkplug(
    "tck-id-message-flow-phid-sparkplug-subscription",
    "tck-id-operational-behavior-host-application-connect-birth",
    "tck-id-host-topic-phid-birth-payload",
    "tck-id-host-topic-phid-birth-payload-timestamp",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state",
    "tck-id-host-topic-phid-birth-sub-required",
    "tck-id-payloads-state-subscribe",
    "tck-id-host-topic-phid-birth-message",
    "tck-id-host-topic-phid-birth-required",
    "tck-id-host-topic-phid-birth-topic",
    "tck-id-host-topic-phid-birth-qos",
    "tck-id-host-topic-phid-birth-retain",
    "tck-id-message-flow-phid-sparkplug-state-publish",
    "tck-id-payloads-state-birth",
    "tck-id-operational-behavior-host-application-connect-birth-topic",
    "tck-id-operational-behavior-host-application-connect-birth-qos",
    "tck-id-operational-behavior-host-application-connect-birth-retained",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload",
    "tck-id-payloads-state-birth-payload",
    "tck-id-operational-behavior-host-application-connect-birth-payload",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload-timestamp",
)
def test_the_host_subscribes_and_then_says_first_that_it_is_online(reign: Reign) -> None:
    for number in (0, 1):
        connect, subscribe, birth = reign.of(number, CONNECT, SUBSCRIBE, PUBLISH)[:3]
        assert (connect.kind, subscribe.kind, birth.kind) == (CONNECT, SUBSCRIBE, PUBLISH)
        assert {"spBv1.0/#", STATE} <= {topic for topic, _ in subscribe.filters}
        assert (birth.topic, birth.qos, birth.retain) == (STATE, 1, True)
        assert connect.will is not None
        since_ms = decode_state(connect.will.payload).timestamp_ms
        assert json.loads(birth.payload) == {"online": True, "timestamp": since_ms}


@pytest.mark.sparkplug("tck-id-message-flow-hid-sparkplug-state-message-delivered")
def test_an_offline_of_its_own_is_answered_with_the_same_online(reign: Reign) -> None:
    birth, *answers, _ = reign.states(0)
    assert answers, "once for each of its two subscriptions that a broker delivers it to"
    assert {(answer.payload, answer.qos, answer.retain) for answer in answers} == {(birth.payload, 1, True)}


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-application-termination",
    "tck-id-operational-behavior-host-application-disconnect-intentional",
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
    "tck-id-components-ph-state",
    "tck-id-intro-sparkplug-host-state",
    "tck-id-conformance-primary-host",
    "tck-id-operational-behavior-host-application-death-topic",
    "tck-id-operational-behavior-host-application-death-qos",
    "tck-id-operational-behavior-host-application-death-retained",
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
)
def test_the_host_says_that_it_is_offline_before_it_leaves(reign: Reign) -> None:
    for number in (0, 1):
        death, goodbye = reign.of(number, PUBLISH, DISCONNECT)[-2:]
        assert (death.topic, death.qos, death.retain) == (STATE, 1, True)
        state = decode_state(death.payload)
        assert (state.online, abs(state.timestamp_ms - death.at_ms) < NOW_MS_MAX) == (False, True)
        assert (goodbye.kind, goodbye.reason) == (DISCONNECT, 0 if reign.version == "5" else None)


@pytest.mark.sparkplug(
    "tck-id-topics-ncmd-topic",
    "tck-id-topics-ncmd-mqtt",
    "tck-id-topics-ncmd-timestamp",
    "tck-id-topics-ncmd-payload",
    "tck-id-payloads-ncmd-seq",
    "tck-id-payloads-name-cmd-requirement",
    "tck-id-operational-behavior-data-commands-ncmd-verb",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
    "tck-id-operational-behavior-data-commands-ncmd-metric-name",
    "tck-id-operational-behavior-data-commands-ncmd-metric-value",
    "tck-id-payloads-ncmd-qos",
    "tck-id-payloads-ncmd-retain",
    "tck-id-payloads-ncmd-timestamp",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
)
def test_commands_are_as_nodes_expect_them(reign: Reign) -> None:
    asked = {packet.topic: payload.metrics[0] for packet, payload in reign.commands}
    assert asked.keys() == {"spBv1.0/plant/NCMD/tahu", "spBv1.0/plant/NCMD/line-1"}
    rebirth = asked["spBv1.0/plant/NCMD/tahu"]
    assert (rebirth.name, rebirth.datatype, rebirth.boolean_value) == (REBIRTH, 11, True)
    assert asked["spBv1.0/plant/NCMD/line-1"].name in (REBIRTH, "Lineside/Ack")
    for packet, payload in reign.commands:
        assert (packet.qos, packet.retain, payload.HasField("seq")) == (0, False, False)
        assert abs(payload.timestamp - packet.at_ms) < NOW_MS_MAX
        assert len(payload.metrics) == 1


def test_a_node_that_acknowledges_nothing_is_stored(reign: Reign) -> None:
    assert reign.samples["Int8"] == [-128, -1]
    assert reign.samples["UInt32"] == [(1 << 32) - 1, 2]
    assert reign.samples["String"] == ["ä€", ""]
    assert [json.loads(value) for value in reign.samples["Int16Array"]] == [[-32768, 32767], [-1]]


@pytest.mark.sparkplug("tck-id-g")
def test_tags_are_stale_until_their_node_is_heard_of_by_a_host_that_has_come(reign: Reign) -> None:
    assert set(reign.stale["born"].values()) == {False}
    assert set(reign.stale["host came back"].values()) == {True}
