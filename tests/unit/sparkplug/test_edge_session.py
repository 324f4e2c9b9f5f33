"""The session of an Edge Node, as a host that reads the specification sees it: births, deaths, seq, bdSeq, STATE."""

from __future__ import annotations

import json
from typing import Final

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.model.tags import DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import REBIRTH, CurrentValue, NodeProperty, rebirth_command
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import Acknowledgement, Delivery, encode_acknowledgement
from connectors.sparkplug.edge_session import (
    Acknowledged,
    Born,
    Disconnect,
    EdgeSession,
    Effect,
    HostChanged,
    Phase,
    Publish,
    Refused,
    Subscribe,
)
from connectors.sparkplug.node_session import NodeSession
from connectors.sparkplug.topics import Verb, parse_topic
from tests.exploration import histories

AGENT: Final = AgentName("plant", "line")
HOST: Final = "scada"
STATE: Final = f"spBv1.0/STATE/{HOST}"
NCMD: Final = "spBv1.0/plant/NCMD/line"
EPOCH: Final = Epoch(7)
NOW_MS: Final = 1_795_000_000_000
DEVICES: Final = ("press", "oven", "robot")


def definition(device: str, version: int = 0) -> DeviceDefinition:
    metric = MetricDefinition(16_384 + version, TagName(f"force {version}"), DataType.DOUBLE)
    return make_definition(DeviceName(device), [metric])


def session(*, host: str = HOST, waits: bool = False) -> EdgeSession:
    return EdgeSession(
        AGENT,
        epoch=EPOCH,
        host=host,
        wait_for_host=waits,
        properties=[NodeProperty("Properties/Version", "1")],
        values=lambda device: {16_384: CurrentValue(1.5, NOW_MS * 1_000_000)},
    )


def state(online: bool, timestamp_ms: int) -> bytes:
    return json.dumps({"online": online, "timestamp": timestamp_ms}).encode()


def read(publish: Publish) -> tuple[str, pb.Payload]:
    topic = parse_topic(publish.topic)
    return f"{topic.verb.value}{' ' + topic.device if topic.device else ''}", pb.Payload.FromString(publish.payload)


def said(effects: list[Effect]) -> list[str]:
    """Messages by verb and device, everything else by its kind."""
    return [read(effect)[0] if isinstance(effect, Publish) else type(effect).__name__ for effect in effects]


def bd_seq(payload: pb.Payload) -> int:
    return next(int(metric.long_value) for metric in payload.metrics if metric.name == "bdSeq")


class EdgeSessionMachine(RuleBasedStateMachine):
    """Whatever happens to the session, the host gets what the specification promises it."""

    @initialize(waits=st.booleans())
    def begin(self, waits: bool) -> None:
        self.waits = waits
        self.session = session(waits=waits)
        self.host = NodeSession()
        self.connects = 0
        self.connected = False
        self.born = False
        self.seq: int | None = None
        self.will: Publish | None = None
        self.online: dict[str, int] = {}
        self.state_ms = -1
        self.batch = 0

    def take(self, effects: list[Effect]) -> None:
        """What a broker and a host do with the effects."""
        for effect in effects:
            match effect:
                case Subscribe():
                    assert not self.born
                    assert effect.filters == ((NCMD, 1), ("spBv1.0/plant/DCMD/line/#", 1), (STATE, 1))
                case Publish():
                    self.published(effect)
                case Born():
                    assert self.born
                    assert self.session.phase is Phase.BORN
                    assert self.seq == len(self.online)
                case Disconnect():
                    self.connected = False
                    self.session.disconnected()

    def published(self, publish: Publish) -> None:
        assert self.connected, "nothing is published without a connection"
        topic = parse_topic(publish.topic)
        payload = pb.Payload.FromString(publish.payload)
        assert publish.qos == (1 if topic.verb is Verb.NDEATH else 0)
        if topic.verb is Verb.NDEATH:
            assert not payload.HasField("seq")
            assert bd_seq(payload) == (self.connects - 1) % 256
            self.born = False
        elif topic.verb is Verb.NBIRTH:
            assert payload.seq == 0
            assert bd_seq(payload) == (self.connects - 1) % 256
            self.born, self.seq = True, 0
        else:
            assert self.born, f"{topic.verb} before the NBIRTH"
            assert self.seq is not None
            self.seq = (self.seq + 1) % 256
            assert payload.seq == self.seq
        if topic.verb in (Verb.NBIRTH, Verb.DBIRTH):
            names = [metric.name for metric in payload.metrics]
            assert len(set(names)) == len(names)
        reading = self.host.receive(topic, publish.payload)
        assert (reading.lost_messages, reading.wants_rebirth, reading.refused) == (0, False, [])

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.will = self.session.connecting(self.connects, NOW_MS)
        verb, payload = read(self.will)
        assert (verb, bd_seq(payload), self.will.qos) == ("NDEATH", self.connects % 256, 1)
        self.connects += 1
        self.connected = True
        self.take(self.session.connected(NOW_MS))
        assert self.born is not self.waits

    @precondition(lambda self: self.connected)
    @rule()
    def lose_the_connection(self) -> None:
        assert self.will is not None
        self.host.receive(parse_topic(self.will.topic), self.will.payload)
        assert not self.host.born
        self.session.disconnected()
        self.connected = self.born = False

    @precondition(lambda self: self.connected)
    @rule()
    def close(self) -> None:
        was_born = self.born
        effects = self.session.closing(NOW_MS)
        assert said(effects) == (["NDEATH", "Disconnect"] if was_born else ["Disconnect"])
        self.take(effects)
        assert not self.born

    @rule(device=st.sampled_from(DEVICES), version=st.integers(0, 2))
    def device_comes(self, device: str, version: int) -> None:
        self.online[device] = version
        effects = self.session.device_online(definition(device, version), NOW_MS)
        assert said(effects) == ([f"DBIRTH {device}"] if self.born else [])
        self.take(effects)

    @rule(device=st.sampled_from(DEVICES))
    def device_goes(self, device: str) -> None:
        was_there = self.online.pop(device, None) is not None
        effects = self.session.device_offline(DeviceName(device), NOW_MS)
        assert said(effects) == ([f"DDEATH {device}"] if self.born and was_there else [])
        self.take(effects)

    @precondition(lambda self: self.born)
    @rule(device=st.sampled_from(DEVICES), count=st.sampled_from([1, 5, 250]))
    def data(self, device: str, count: int) -> None:
        assert self.session.is_born(DeviceName(device)) == (device in self.online)
        for _ in range(count):
            self.batch += 1
            delivery = Delivery(EPOCH, self.batch, "", 0)
            if device in self.online:
                self.take([self.session.device_data(DeviceName(device), delivery, b"", NOW_MS)])
            else:
                self.take([self.session.node_data(delivery, NOW_MS)])

    @precondition(lambda self: self.connected)
    @rule()
    def ask_for_a_rebirth(self) -> None:
        effects = self.session.received(NCMD, rebirth_command(NOW_MS), NOW_MS)
        expected = ["NBIRTH", *(f"DBIRTH {device}" for device in self.online), "Born"] if self.born else []
        assert sorted(said(effects)) == sorted(expected)
        assert said(effects)[:1] == expected[:1]
        self.take(effects)

    @precondition(lambda self: self.connected)
    @rule(online=st.booleans(), timestamp_ms=st.integers(0, 9))
    def host_says(self, online: bool, timestamp_ms: int) -> None:
        effects = self.session.received(STATE, state(online, timestamp_ms), NOW_MS)
        if timestamp_ms < self.state_ms:
            assert effects == [], "an older STATE is an echo"
            return
        self.state_ms = timestamp_ms
        was_born = self.born
        self.take(effects)
        if self.waits:
            assert self.born is online
            assert self.connected is online
            assert ("NDEATH" in said(effects)) == (was_born and not online)
        else:
            assert (self.born, self.connected) == (True, True)

    @invariant()
    def the_host_knows_the_phase(self) -> None:
        assert (self.session.phase is Phase.BORN) == self.born == self.host.born


TestEdgeSession = EdgeSessionMachine.TestCase
TestEdgeSession.settings = settings(max_examples=histories(80), stateful_step_count=40, deadline=None)


@pytest.mark.sparkplug("tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq")
def test_bd_seq_begins_again_after_255() -> None:
    edge = session()
    assert bd_seq(read(edge.connecting(256, NOW_MS))[1]) == 0
    effects = edge.connected(NOW_MS)
    assert bd_seq(read(next(e for e in effects if isinstance(e, Publish)))[1]) == 0


@pytest.mark.sparkplug(
    "tck-id-payloads-sequence-num-incrementing",
    "tck-id-topics-dbirth-seq",
    "tck-id-topics-ndata-seq-num",
    "tck-id-topics-ddata-seq-num",
    "tck-id-topics-ddeath-seq-num",
)
def test_seq_is_one_count_of_all_messages_and_begins_again_after_255() -> None:
    edge = session()
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    found = []
    for number in range(300):
        delivery = Delivery(EPOCH, number, "", 0)
        effects: list[Effect] = edge.device_online(definition("press"), NOW_MS)
        effects += [edge.device_data(DeviceName("press"), delivery, b"", NOW_MS), edge.node_data(delivery, NOW_MS)]
        effects += edge.device_offline(DeviceName("press"), NOW_MS)
        found += [read(effect)[1].seq for effect in effects if isinstance(effect, Publish)]
    assert found == [number % 256 for number in range(1, 1201)]


@pytest.mark.sparkplug(
    "tck-id-message-flow-edge-node-ncmd-subscribe",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs",
)
def test_commands_and_state_are_subscribed_before_the_birth() -> None:
    edge = session()
    edge.device_online(definition("press"), NOW_MS)
    edge.connecting(0, NOW_MS)
    assert said(edge.connected(NOW_MS)) == ["Subscribe", "NBIRTH", "DBIRTH press", "Born"]


def test_a_node_without_a_host_subscribes_to_commands_only() -> None:
    edge = session(host="", waits=True)
    edge.connecting(0, NOW_MS)
    subscribe, birth, born = edge.connected(NOW_MS)
    assert subscribe == Subscribe(((NCMD, 1), ("spBv1.0/plant/DCMD/line/#", 1)))
    assert said([birth, born]) == ["NBIRTH", "Born"]


def test_acknowledgements_and_refusals_are_handed_on() -> None:
    edge = session()
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    acks = [Acknowledgement(EPOCH, BatchRanges([(1, 4), (7, 7)]), ((5, "too large"),))]
    effects = edge.received(NCMD, encode_acknowledgement(acks, NOW_MS), NOW_MS)
    assert effects == [Acknowledged(tuple(acks), NOW_MS)]


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (NCMD, b"\xff\xff", "the command is not a Sparkplug payload"),
        (STATE, b"online", "not a STATE message"),
        (STATE, b'{"online": 1, "timestamp": 5}', "a STATE message with values of a wrong type"),
        ("spBv1.0/plant/DCMD/line/press", b"", "the command has no metrics"),
        ("spBv1.0/plant/NCMD/other", b"", "this agent does not listen to that"),
        ("spBv1.0/plant/DCMD/other/press", b"", "this agent does not listen to that"),
        ("some/topic", b"", "not a Sparkplug topic"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_reason(topic: str, payload: bytes, reason: str) -> None:
    edge = session()
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    (refused,) = edge.received(topic, payload, NOW_MS)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_an_unknown_command_is_refused_and_the_others_beside_it_are_followed() -> None:
    edge = session()
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    command = pb.Payload(timestamp=NOW_MS)
    command.metrics.add(name="Node Control/Reboot", datatype=11, boolean_value=True)
    command.metrics.add(name=REBIRTH, datatype=11, boolean_value=False)
    command.metrics.add(name=REBIRTH, datatype=11, boolean_value=True)
    assert said(edge.received(NCMD, command.SerializeToString(), NOW_MS)) == ["Refused", "NBIRTH", "Born"]


def test_a_host_that_says_the_same_twice_has_not_changed() -> None:
    edge = session()
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    assert edge.received(STATE, state(True, 5), NOW_MS) == [HostChanged(online=True)]
    assert edge.received(STATE, state(True, 6), NOW_MS) == []
    assert edge.received(STATE, state(False, 6), NOW_MS) == [HostChanged(online=False)]


@pytest.mark.sparkplug(
    "tck-id-message-flow-edge-node-birth-publish-phid-wait",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-id",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-online",
    "tck-id-operational-behavior-edge-node-birth-sequence-wait",
)
def test_nothing_is_born_before_the_primary_host_itself_says_that_it_is_online() -> None:
    edge = session(waits=True)
    edge.connecting(0, NOW_MS)
    assert said(edge.connected(NOW_MS)) == ["Subscribe"]
    edge.device_online(definition("press"), NOW_MS)
    assert said(edge.received("spBv1.0/STATE/scada2", state(True, 5), NOW_MS)) == ["Refused"]
    assert said(edge.received("spBv1.0/STATE/SCADA", state(True, 5), NOW_MS)) == ["Refused"]
    assert said(edge.received(STATE, state(True, 5), NOW_MS)) == ["HostChanged", "NBIRTH", "DBIRTH press", "Born"]


@pytest.mark.sparkplug(
    "tck-id-message-flow-edge-node-birth-publish-phid-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline-timestamp",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
@pytest.mark.parametrize(("timestamp_ms", "leaves"), [(99, False), (100, True), (101, True)])
def test_the_primary_host_ends_the_session_by_an_offline_that_is_no_older_than_its_online(
    timestamp_ms: int, leaves: bool
) -> None:
    edge = session(waits=True)
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    edge.received(STATE, state(True, 100), NOW_MS)
    effects = edge.received(STATE, state(False, timestamp_ms), NOW_MS)
    assert said(effects) == (["HostChanged", "NDEATH", "Disconnect"] if leaves else [])
    assert effects[-1:] == ([Disconnect(next_broker=True)] if leaves else [])


@pytest.mark.sparkplug("tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp")
def test_the_time_of_a_state_counts_on_its_own_server() -> None:
    edge = session(waits=True)
    edge.connecting(0, NOW_MS, "mqtts://a")
    edge.connected(NOW_MS)
    edge.received(STATE, state(False, 100), NOW_MS)
    edge.disconnected()
    edge.connecting(1, NOW_MS, "mqtts://b")
    edge.connected(NOW_MS)
    assert "NBIRTH" in said(edge.received(STATE, state(True, 50), NOW_MS)), "the host came to b before it came to a"
    edge.disconnected()
    edge.connecting(2, NOW_MS, "mqtts://a")
    edge.connected(NOW_MS)
    assert edge.received(STATE, state(True, 99), NOW_MS) == []


@pytest.mark.sparkplug("tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp")
def test_the_time_of_the_last_state_is_remembered_over_a_reconnect() -> None:
    edge = session(waits=True)
    edge.connecting(0, NOW_MS)
    edge.connected(NOW_MS)
    edge.received(STATE, state(False, 100), NOW_MS)
    edge.disconnected()
    edge.connecting(1, NOW_MS)
    edge.connected(NOW_MS)
    assert edge.received(STATE, state(True, 99), NOW_MS) == []
    assert said(edge.received(STATE, state(True, 100), NOW_MS)) == ["HostChanged", "NBIRTH", "Born"]
