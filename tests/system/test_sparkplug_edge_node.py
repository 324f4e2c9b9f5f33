"""The agent as an Edge Node, judged by the bytes that it sends to a real broker, by MQTT 5 and MQTT 3.1.1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.topics import Topic, parse_topic
from tests.mqtt_wire import CONNECT, DISCONNECT, PUBLISH, SESSION_EXPIRY, SUBSCRIBE, Packet, Recorder
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, press
from tests.system.sparkplug_host import PlayedHost, until

BD_SEQ, REBIRTH = "bdSeq", "Node Control/Rebirth"
UTC_WINDOW_MS = 60_000
WRITES = 100


@dataclass(frozen=True, slots=True)
class Said:
    """A Sparkplug message of the agent."""

    packet: Packet
    topic: Topic
    payload: pb.Payload

    @property
    def verb(self) -> str:
        return self.topic.verb.value

    def named(self, name: str) -> pb.Metric:
        (metric,) = [metric for metric in self.payload.metrics if metric.name == name]
        return metric


class Life:
    """Two starts of an agent: data, a rebirth, the loss of its machine, and an orderly end of each."""

    def __init__(self, version: str, packets: list[Packet]) -> None:
        self.version = version
        self.packets = packets
        self.said = [
            Said(packet, parse_topic(packet.topic), pb.Payload.FromString(packet.payload))
            for packet in packets
            if packet.kind == PUBLISH
        ]
        self.connects = [packet for packet in packets if packet.kind == CONNECT]

    def of(self, *verbs: str) -> list[Said]:
        return [said for said in self.said if said.verb in verbs]

    def sessions(self) -> list[list[Said]]:
        """The messages of each connection."""
        numbers = sorted({packet.connection for packet in self.packets})
        return [[said for said in self.said if said.packet.connection == number] for number in numbers]


@pytest.fixture(scope="module", params=["5", "3.1.1"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder: Path = tmp_path_factory.mktemp("edge")
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    recorder, server, host = Recorder(broker.port), OpcUaServer(), PlayedHost(broker.port)
    server.start()
    server.add("force", "Double", 1.5)
    server.add("count", "Int16", -5)
    server.add("state", "String", "ready")
    broker_url = type("Proxy", (), {"url": recorder.url})
    tags = press(server, "force", "count", "state")
    version = f", mqtt_version: '{request.param}'"
    agent = AgentProcess(folder / "agent", broker_url, tags, uplink=version, resend_after="5min")
    try:
        agent.start()
        until(lambda: all(host.values("press", tag) for tag in ("force", "count", "state")))
        for number in range(WRITES):
            server.write("force", "Double", float(number))
            time.sleep(0.01)
        until(lambda: host.values("press", "force")[-1:] == [float(WRITES - 1)])
        host.command(REBIRTH, datatype=11, boolean_value=True)
        until(lambda: len(host.of("DBIRTH")) == 2)
        server.write("count", "Int16", -6)
        until(lambda: host.values("press", "count")[-1:] == [0xFFFF_FFFA])
        server.kill()
        until(lambda: host.of("DDEATH"))
        agent.stop()
        agent.start()
        until(lambda: len(host.of("NBIRTH")) == 3)
        agent.stop()
        until(lambda: len(recorder.of(DISCONNECT)) == len(recorder.of(CONNECT)))  # its threads may read late
        yield Life(request.param, recorder.packets)
    finally:
        agent.stop()
        host.close()
        server.kill()
        recorder.close()
        broker.stop()


@pytest.mark.sparkplug(
    "tck-id-principles-persistence-clean-session-311", "tck-id-principles-persistence-clean-session-50"
)
def test_every_session_is_clean(life: Life) -> None:
    assert [packet.level for packet in life.connects] == [5 if life.version == "5" else 4] * 2
    assert all(packet.clean for packet in life.connects)
    assert all(packet.properties.get(SESSION_EXPIRY, 0) == 0 for packet in life.connects)


@pytest.mark.sparkplug(
    "tck-id-payloads-ndeath-will-message", "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
    "tck-id-payloads-ndeath-bdseq", "tck-id-payloads-nbirth-bdseq", "tck-id-topics-ndeath-payload",
    "tck-id-topics-ndeath-seq", "tck-id-message-flow-edge-node-birth-publish-will-message",
    "tck-id-message-flow-edge-node-birth-publish-will-message-topic",
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload",
    "tck-id-message-flow-edge-node-birth-publish-will-message-qos", "tck-id-payloads-ndeath-will-message-qos",
    "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained",
    "tck-id-payloads-ndeath-will-message-retain", "tck-id-payloads-ndeath-seq",
    "tck-id-topics-nbirth-bdseq-included", "tck-id-topics-nbirth-bdseq-matching",
    "tck-id-payloads-nbirth-bdseq-repeat", "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
)  # fmt: skip
def test_the_will_is_the_death_of_the_birth_that_follows(life: Life) -> None:
    for number, (connect, session) in enumerate(zip(life.connects, life.sessions(), strict=True)):
        will = connect.will
        assert will is not None
        assert (will.topic, will.qos, will.retain) == ("spBv1.0/plant/NDEATH/line", 1, False)
        payload = pb.Payload.FromString(will.payload)
        assert not payload.HasField("seq")
        (metric,) = payload.metrics
        assert (metric.name, metric.datatype, metric.long_value) == (BD_SEQ, 4, number), "from 0, one more at a CONNECT"
        births = [said.named(BD_SEQ) for said in session if said.verb == "NBIRTH"]
        assert [(birth.datatype, birth.long_value) for birth in births] == [(4, number)] * len(births)


@pytest.mark.sparkplug("tck-id-message-flow-edge-node-ncmd-subscribe", "tck-id-message-flow-device-dcmd-subscribe")
def test_commands_are_subscribed_before_the_birth(life: Life) -> None:
    for number in (0, 1):
        kinds = [packet for packet in life.packets if packet.connection == number]
        assert [packet.kind for packet in kinds[:3]] == [CONNECT, SUBSCRIBE, PUBLISH]
        filters = dict(kinds[1].filters)
        assert (filters["spBv1.0/plant/NCMD/line"], filters["spBv1.0/plant/DCMD/line/#"]) == (1, 1)


@pytest.mark.sparkplug(
    "tck-id-principles-birth-certificates-order",
    "tck-id-message-flow-edge-node-birth-publish-connect",
    "tck-id-message-flow-device-birth-publish-nbirth-wait",
    "tck-id-payloads-dbirth-order",
    "tck-id-operational-behavior-data-commands-rebirth-action-2",
    "tck-id-payloads-ndata-order",
    "tck-id-payloads-ddata-order",
)
def test_births_come_first_and_together_also_when_they_were_asked_for(life: Life) -> None:
    first, second = ([said.verb for said in session] for session in life.sessions())
    assert first[0] == second[0] == "NBIRTH"
    born = [number for number, verb in enumerate(first) if verb == "NBIRTH"]
    assert len(born) == 2
    assert first[born[1] + 1] == "DBIRTH"
    data = first.index("DDATA")
    assert "DBIRTH" in first[:data]


@pytest.mark.sparkplug(
    "tck-id-topic-structure", "tck-id-topics-nbirth-topic",
    "tck-id-topic-structure-namespace-device-id-associated-message-types",
    "tck-id-topic-structure-namespace-device-id-non-associated-message-types",
    "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic", "tck-id-topic-structure-namespace-a",
    "tck-id-topics-ndata-topic", "tck-id-topics-ndeath-topic", "tck-id-topics-dbirth-topic",
    "tck-id-topics-ddata-topic", "tck-id-topics-ddeath-topic",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-topic",
    "tck-id-message-flow-device-birth-publish-dbirth-topic",
)  # fmt: skip
def test_topics_are_of_the_one_form(life: Life) -> None:
    for said in life.said:
        parts = said.packet.topic.split("/")
        assert (parts[0], parts[1], parts[3]) == ("spBv1.0", "plant", "line")
        assert parts[2:3] == [said.verb]
        assert parts[4:] == (["press"] if said.verb[0] == "D" else [])


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-mqtt", "tck-id-topics-dbirth-mqtt", "tck-id-topics-ndata-mqtt",
    "tck-id-topics-ddata-mqtt", "tck-id-topics-ddeath-mqtt", "tck-id-payloads-nbirth-qos",
    "tck-id-payloads-nbirth-retain", "tck-id-message-flow-edge-node-birth-publish-nbirth-qos",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-retained", "tck-id-payloads-dbirth-qos",
    "tck-id-payloads-dbirth-retain", "tck-id-message-flow-device-birth-publish-dbirth-qos",
    "tck-id-message-flow-device-birth-publish-dbirth-retained", "tck-id-payloads-ndata-qos",
    "tck-id-payloads-ndata-retain", "tck-id-payloads-ddata-qos", "tck-id-payloads-ddata-retain",
)  # fmt: skip
def test_nothing_is_retained_and_all_but_the_death_of_the_node_has_qos_0(life: Life) -> None:
    assert {said.verb for said in life.said} == {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"}
    for said in life.said:
        assert (said.packet.qos, said.packet.retain) == (int(said.verb == "NDEATH"), False)


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-seq-num", "tck-id-payloads-nbirth-seq", "tck-id-payloads-sequence-num-always-included",
    "tck-id-payloads-sequence-num-incrementing", "tck-id-topics-dbirth-seq", "tck-id-topics-ndata-seq-num",
    "tck-id-topics-ddata-seq-num", "tck-id-topics-ddeath-seq-num", "tck-id-payloads-sequence-num-req-nbirth",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq", "tck-id-payloads-dbirth-seq",
    "tck-id-payloads-dbirth-seq-inc", "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
    "tck-id-payloads-ndata-seq", "tck-id-payloads-ndata-seq-inc", "tck-id-payloads-ddata-seq",
    "tck-id-payloads-ddata-seq-inc", "tck-id-payloads-ddeath-seq", "tck-id-payloads-ddeath-seq-inc",
)  # fmt: skip
def test_seq_counts_all_messages_from_the_birth_on(life: Life) -> None:
    for session in life.sessions():
        expected = 0
        for said in session:
            if said.verb == "NDEATH":
                assert not said.payload.HasField("seq")
                continue
            expected = 0 if said.verb == "NBIRTH" else (expected + 1) % 256
            assert (said.payload.HasField("seq"), said.payload.seq) == (True, expected)


@pytest.mark.sparkplug(
    "tck-id-payloads-timestamp-in-UTC", "tck-id-topics-nbirth-timestamp", "tck-id-topics-dbirth-timestamp",
    "tck-id-topics-ndata-timestamp", "tck-id-topics-ddata-timestamp", "tck-id-payloads-ddeath-timestamp",
    "tck-id-payloads-name-birth-data-requirement", "tck-id-payloads-metric-timestamp-in-UTC",
    "tck-id-payloads-nbirth-timestamp", "tck-id-payloads-dbirth-timestamp", "tck-id-payloads-ndata-timestamp",
    "tck-id-payloads-ddata-timestamp",
)  # fmt: skip
def test_every_payload_and_every_metric_says_its_time_in_utc(life: Life) -> None:
    for said in life.said:
        assert abs(said.packet.at_ms - said.payload.timestamp) < UTC_WINDOW_MS
        for metric in said.payload.metrics:
            assert metric.HasField("timestamp")
            assert abs(said.packet.at_ms - metric.timestamp) < UTC_WINDOW_MS


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-metrics",
    "tck-id-topics-dbirth-metrics",
    "tck-id-payloads-metric-datatype-req",
    "tck-id-payloads-metric-datatype-value",
    "tck-id-operational-behavior-data-publish-nbirth-values",
    "tck-id-operational-behavior-data-publish-dbirth-values",
)
def test_every_metric_of_a_birth_has_its_name_its_type_and_its_value_or_says_that_it_has_none(life: Life) -> None:
    fields = {"int_value": range(1, 8), "long_value": (4, 8, 13), "double_value": (10,), "boolean_value": (11,),
              "string_value": (12, 14, 15), "bytes_value": (17,), "float_value": (9,)}  # fmt: skip
    for birth in life.of("NBIRTH", "DBIRTH"):
        for metric in birth.payload.metrics:
            assert metric.name
            field = metric.WhichOneof("value")
            assert (field is None) == metric.is_null
            assert metric.datatype in (fields[field] if field else range(1, 18))


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-rebirth-metric",
    "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
    "tck-id-payloads-nbirth-rebirth-req",
    "tck-id-operational-behavior-data-commands-rebirth-name",
    "tck-id-operational-behavior-data-commands-rebirth-datatype",
    "tck-id-operational-behavior-data-commands-rebirth-value",
)
def test_every_node_birth_offers_the_rebirth_without_an_alias(life: Life) -> None:
    for birth in life.of("NBIRTH"):
        metric = birth.named(REBIRTH)
        assert (metric.datatype, metric.boolean_value, metric.HasField("boolean_value")) == (11, False, True)
        assert not metric.HasField("alias")


@pytest.mark.sparkplug(
    "tck-id-topics-nbirth-metric-reqs",
    "tck-id-topics-dbirth-metric-reqs",
    "tck-id-payloads-name-requirement",
    "tck-id-payloads-alias-birth-requirement",
    "tck-id-payloads-alias-data-cmd-requirement",
    "tck-id-payloads-alias-uniqueness",
    "tck-id-payloads-metric-datatype-not-req",
    "tck-id-operational-behavior-data-publish-nbirth",
    "tck-id-operational-behavior-data-publish-dbirth",
)
def test_data_is_of_metrics_that_the_birth_has_named_by_alias_where_they_have_one(life: Life) -> None:
    born: dict[str, list[pb.Metric]] = {}
    for said in life.said:
        if said.verb in ("NBIRTH", "DBIRTH"):
            born[said.topic.device] = list(said.payload.metrics)
            everything = [metric.alias for metrics in born.values() for metric in metrics if metric.HasField("alias")]
            assert len(set(everything)) == len(everything)
        elif said.verb in ("NDATA", "DDATA"):
            names = {metric.name for metric in born[said.topic.device] if not metric.HasField("alias")}
            aliases = {metric.alias for metric in born[said.topic.device] if metric.HasField("alias")}
            for metric in said.payload.metrics:
                assert metric.alias in aliases if metric.HasField("alias") else metric.name in names
                assert not (metric.name and metric.HasField("alias"))
                assert not metric.HasField("datatype")


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-data-publish-dbirth-order", "tck-id-operational-behavior-data-publish-nbirth-order"
)
def test_the_values_of_a_metric_are_in_the_order_of_their_times(life: Life) -> None:
    for said in life.of("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
        last: dict[object, int] = {}
        for metric in said.payload.metrics:
            key = metric.alias or metric.name
            assert metric.is_historical or metric.timestamp >= last.get(key, 0)
            last[key] = metric.timestamp


@pytest.mark.sparkplug(
    "tck-id-topics-ddata-payload",
    "tck-id-topics-ndata-payload",
    "tck-id-principles-rbe-recommended",
    "tck-id-operational-behavior-data-publish-nbirth-change",
    "tck-id-operational-behavior-data-publish-dbirth-change",
)
def test_every_change_is_published_and_nothing_else(life: Life) -> None:
    values = {"force": [], "count": [], "state": []}  # type: ignore[var-annotated]
    aliases = {metric.alias: metric.name for metric in life.of("DBIRTH")[0].payload.metrics if metric.alias}
    batches = set()
    for said in life.of("DDATA"):
        key = said.named("Lineside/Epoch").long_value, said.named("Lineside/Batch").long_value
        if key in batches or key[1] == 0:
            continue
        batches.add(key)
        for metric in said.payload.metrics:
            if metric.HasField("alias") and metric.WhichOneof("value"):
                values[aliases[metric.alias]].append(getattr(metric, str(metric.WhichOneof("value"))))
    assert values["force"] == [1.5, *(float(number) for number in range(WRITES))]
    assert values["count"] == [0xFFFF_FFFB, 0xFFFF_FFFA], "two's complements of 32 bits"
    assert values["state"] == ["ready"]
    batches.clear()
    for said in life.of("NDATA"):
        batch = said.named("Lineside/Batch").long_value, said.named("Lineside/Epoch").long_value
        assert batch not in batches
        batches.add(batch)


@pytest.mark.sparkplug("tck-id-operational-behavior-device-ddeath", "tck-id-payloads-ddeath-seq-number")
def test_the_loss_of_a_machine_is_its_death(life: Life) -> None:
    first, second = life.sessions()
    assert [said.topic.device for said in first if said.verb == "DDEATH"] == ["press"]
    at = [said.verb for said in first].index("DDEATH")
    assert all(said.verb != "DDATA" for said in first[at:])
    assert all(said.verb != "DDATA" for said in second), "it has not come back"


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
    "tck-id-operational-behavior-edge-node-intentional-disconnect-packet",
    "tck-id-payloads-ndeath-will-message-publisher",
    "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311",
    "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50",
)
def test_an_orderly_end_is_the_death_and_then_the_disconnect(life: Life) -> None:
    for number, session in enumerate(life.sessions()):
        assert session[-1].verb == "NDEATH"
        last = [packet for packet in life.packets if packet.connection == number][-1]
        assert (last.kind, last.reason) == (DISCONNECT, 4 if life.version == "5" else None)


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-data-commands-rebirth-action-1",
    "tck-id-operational-behavior-data-commands-rebirth-action-3",
)
def test_a_rebirth_has_the_same_bd_seq_and_no_data_between_its_births(life: Life) -> None:
    births = [said for said in life.sessions()[0] if said.verb == "NBIRTH"]
    assert len({birth.named(BD_SEQ).long_value for birth in births}) == 1
    at = life.said.index(births[1])
    assert [said.verb for said in life.said[at : at + 2]] == ["NBIRTH", "DBIRTH"]
