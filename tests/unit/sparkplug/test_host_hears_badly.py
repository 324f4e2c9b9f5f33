"""An Edge Node and its host with a bad network between them: messages are lost, doubled and overtaken, wills come late.

Whatever the network does, no value gets the name of another one; what the host cannot know it asks for; and when the
network has been good for a while and the node has been born again, both know the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import CurrentValue, rebirth_command
from connectors.sparkplug.bulk_encode import encode_metrics
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import Delivery
from connectors.sparkplug.edge_session import Disconnect, EdgeSession, Effect, Publish
from connectors.sparkplug.node_session import NodeReading, NodeSession
from connectors.sparkplug.topics import Topic, Verb, parse_topic
from tests.exploration import histories

AGENT: Final = AgentName("plant", "line")
NCMD: Final = "spBv1.0/plant/NCMD/line"
EPOCH: Final = Epoch(7)
DEVICES: Final = ("press", "oven")
FIRST_ALIAS: Final = 16_384
ALIASES: Final = {
    (device, version): FIRST_ALIAS + 10 * at + version for at, device in enumerate(DEVICES) for version in range(3)
}
NAMES: Final = {f"{device} {version}": alias for (device, version), alias in ALIASES.items()}
"""The value of a tag is always its alias: a value under another name shows itself."""
SEEN_MAX: Final = 100
"""Beyond half of the numbers of seq nobody can say what is late and what was lost."""


def definition(device: str, version: int) -> DeviceDefinition:
    metric = MetricDefinition(ALIASES[device, version], TagName(f"{device} {version}"), DataType.DOUBLE)
    return make_definition(DeviceName(device), [metric])


FATES: Final = st.lists(st.sampled_from(["come", "come", "overtake", "lost", "double"]), min_size=5, max_size=12)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way; ``number`` counts all that the node has published, and is -1 for wills."""

    topic: Topic
    payload: bytes
    number: int


class BadNetworkMachine(RuleBasedStateMachine):
    """``wire`` is what has been published and not come yet; ``births`` what a host stores of them."""

    @initialize(reorder_ms=st.sampled_from([0, 2000]))
    def begin(self, reorder_ms: int) -> None:
        self.now_ms = 1_795_000_000_000
        self.reorder_ms = reorder_ms
        self.edge = EdgeSession(
            AGENT, epoch=EPOCH, host="", wait_for_host=False, properties=[], values=self._values
        )  # fmt: skip
        self.host = NodeSession(reorder_ms)
        self.births: dict[str, tuple[Topic, bytes]] = {}
        self.versions: dict[str, int] = {}
        self.wire: list[Sent] = []
        self.wills: list[Sent] = []
        self.connects = 0
        self.connected = False
        self.published = self.last_birth = self.heard_birth = -1
        self.heard: set[int] = set()
        self.asked = self.takes_any = False

    def _values(self, device: DeviceName) -> dict[int, CurrentValue]:
        alias = ALIASES[device, self.versions[device]]
        return {alias: CurrentValue(float(alias), self.now_ms * 1_000_000)}

    # -- the node ------------------------------------------------------------------------------------------------------

    def publish(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self.published += 1
                sent = Sent(parse_topic(effect.topic), effect.payload, self.published)
                self.wire.append(sent)
                if sent.topic.verb is Verb.NBIRTH:
                    self.last_birth = sent.number
            elif isinstance(effect, Disconnect):
                self.connected = False
                self.edge.disconnected()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        will = self.edge.connecting(self.connects, self.now_ms)
        self.will = Sent(parse_topic(will.topic), will.payload, -1)
        self.connects += 1
        self.connected = True
        self.publish(self.edge.connected(self.now_ms))

    @precondition(lambda self: self.connected)
    @rule(is_lost=st.booleans())
    def cut(self, is_lost: bool) -> None:
        """The broker notices some time; what was under way may be gone with the connection."""
        self.edge.disconnected()
        self.connected = False
        self.wills.append(self.will)
        if is_lost:
            self.wire.clear()

    @precondition(lambda self: self.connected)
    @rule()
    def leave(self) -> None:
        self.publish(self.edge.closing(self.now_ms))

    @rule(device=st.sampled_from(DEVICES), version=st.integers(0, 2))
    def device_comes(self, device: str, version: int) -> None:
        self.versions[device] = version
        self.publish(self.edge.device_online(definition(device, version), self.now_ms))

    @rule(device=st.sampled_from(DEVICES))
    def device_goes(self, device: str) -> None:
        self.versions.pop(device, None)
        self.publish(self.edge.device_offline(DeviceName(device), self.now_ms))

    @precondition(lambda self: self.connected)
    @rule(
        devices=st.lists(st.sampled_from(DEVICES), min_size=1, max_size=5),
        times=st.sampled_from([1, 1, 40]),
        fates=FATES,
    )
    def data(self, devices: list[str], times: int, fates: list[str]) -> None:
        for device in devices * times:
            self.now_ms += 1
            self.say(device)
        self.carry(fates)

    def say(self, device: str) -> None:
        delivery = Delivery(EPOCH, 0, "", 0)
        if not self.edge.is_born(DeviceName(device)):
            self.publish([self.edge.node_data(delivery, self.now_ms)])
            return
        alias = ALIASES[device, self.versions[device]]
        batch = SampleBatch(
            DataType.DOUBLE, np.array([alias], np.int32), np.array([self.now_ms * 10**6]), np.array([float(alias)])
        )
        self.publish([self.edge.device_data(DeviceName(device), delivery, encode_metrics(batch), self.now_ms)])

    @precondition(lambda self: self.connected)
    @rule()
    def is_asked_for_a_rebirth(self) -> None:
        self.now_ms += 1  # two births of one millisecond are one message to a host
        self.publish(self.edge.received(NCMD, rebirth_command(self.now_ms), self.now_ms))

    @rule(passed_ms=st.sampled_from([1, 500, 3000]))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    # -- the network ---------------------------------------------------------------------------------------------------

    def carry(self, fates: list[str]) -> None:
        for fate in fates:
            if not self.wire:
                return
            if fate == "come":
                self.hear(self.wire.pop(0))
            elif fate == "overtake":
                self.hear(self.wire.pop(min(1, len(self.wire) - 1)))
            elif fate == "lost":
                del self.wire[0]
            else:
                self.wire.insert(min(2, len(self.wire)), self.wire[0])

    @precondition(lambda self: self.wire)
    @rule(is_good=st.booleans())
    def all_come_or_none(self, is_good: bool) -> None:
        while self.wire:
            sent = self.wire.pop(0)
            if is_good:
                self.hear(sent)

    @precondition(lambda self: self.wills)
    @rule()
    def a_will_comes(self) -> None:
        self.hear(self.wills.pop(0))

    # -- the host ------------------------------------------------------------------------------------------------------

    def hear(self, sent: Sent) -> NodeReading:
        reading = self.host.receive(sent.topic, sent.payload, self.now_ms)
        self.heard.add(sent.number)
        for sample in reading.samples:
            if sample.name in NAMES:
                assert sample.value == NAMES[sample.name], "a value under the name of another tag"
                assert sample.name.split()[0] == sample.device
        is_birth = sent.topic.verb in (Verb.NBIRTH, Verb.DBIRTH)
        if sent.topic.verb is Verb.NBIRTH and not reading.duplicate:
            self.births.clear()
            self.heard_birth, self.asked = sent.number, False
        if self.takes_any and sent.number >= 0:
            self.heard_birth, self.takes_any = sent.number, False  # what was lost before it nobody can know
        if is_birth and self.host.born and not reading.duplicate:
            self.births[sent.topic.device] = (sent.topic, sent.payload)
        if reading.takes_rebirth_back:
            self.asked = False
        self.asked = self.asked or reading.wants_rebirth
        return reading

    @rule()
    def the_host_starts_again(self) -> None:
        """From the births that it has stored, as the historian does; what else it knew is gone."""
        asked_before = self.asked
        self.host = NodeSession(self.reorder_ms)
        for _, (topic, payload) in sorted(self.births.items()):
            self.host.receive(topic, payload)
        self.host.resume()
        self.asked, self.takes_any = asked_before, True

    # -- what has to come of it ----------------------------------------------------------------------------------------

    @rule()
    def it_is_quiet_for_a_while(self) -> None:
        """All that is under way comes in its order, and then a message of each device."""
        if not self.connected:
            self.connect()
        while self.wills:
            self.a_will_comes()
        before = len(self.wire)
        for device in DEVICES:
            self.now_ms += 1
            self.say(device)
        for _ in range(before):
            self.hear(self.wire.pop(0))
        for device in DEVICES:
            reading = self.hear(self.wire.pop(0))
            names = [sample.name for sample in reading.samples if sample.name in NAMES]
            version = self.versions.get(device)
            if version is not None and names != [f"{device} {version}"]:
                assert reading.wants_rebirth, f"{reading} from {device}, and the host does not ask"
        lost = set(range(self.heard_birth + 1, self.published + 1)) - self.heard
        # Where a birth was lost too, seq begins again behind the host's back: then its names and aliases have to tell.
        if lost and self.heard_birth >= self.last_birth and self.published - self.heard_birth < SEEN_MAX:
            assert self.asked, f"{lost} are lost, and the host does not ask"

    @precondition(lambda self: self.connected)
    @rule()
    def it_is_quiet_and_the_node_is_born_again(self) -> None:
        self.it_is_quiet_for_a_while()
        self.is_asked_for_a_rebirth()
        while self.wire:
            reading = self.hear(self.wire.pop(0))
            assert (reading.wants_rebirth, reading.lost_messages, reading.refused) == (False, 0, [])
        assert self.host.born
        for device, version in self.versions.items():
            self.now_ms += 1
            self.say(device)
            reading = self.hear(self.wire.pop(0))
            assert [sample.name for sample in reading.samples if sample.name in NAMES] == [f"{device} {version}"]
            assert (reading.wants_rebirth, reading.lost_messages, reading.refused) == (False, 0, [])
        assert not self.host.waits_for_missing
        assert not self.asked

    def teardown(self) -> None:
        if self.connects:
            self.it_is_quiet_for_a_while()
            self.it_is_quiet_and_the_node_is_born_again()


TestBadNetwork: Any = BadNetworkMachine.TestCase
TestBadNetwork.settings = settings(max_examples=histories(150), stateful_step_count=30, deadline=None)


def say_number(host: NodeSession, number: int) -> NodeReading:
    payload = pb.Payload(timestamp=number + 1, seq=number % 256, metrics=[pb.Metric(name="a", datatype=3, int_value=1)])
    return host.receive(Topic(AGENT, Verb.NDATA if number else Verb.NBIRTH), payload.SerializeToString())


def test_when_all_that_was_missing_has_come_a_long_loss_is_not_taken_for_late_messages() -> None:
    host = NodeSession(reorder_ms=2000)
    for number in (0, 1, 3, 2):
        reading = say_number(host, number)
    assert reading.found_missing
    assert (say_number(host, 200).lost_messages, say_number(host, 201).lost_messages) == (196, 0)


def test_births_from_a_store_in_another_order_make_no_later_loss_pass_for_late_messages() -> None:
    host = NodeSession(reorder_ms=2000)
    say_number(host, 0)
    for number, device in ((2, "oven"), (1, "press")):
        payload = pb.Payload(timestamp=number, seq=number, metrics=[pb.Metric(name="a", datatype=3, int_value=1)])
        host.receive(Topic(AGENT, Verb.DBIRTH, device), payload.SerializeToString())
    host.resume()
    assert not host.waits_for_missing
    assert (say_number(host, 3).lost_messages, say_number(host, 200).lost_messages) == (0, 196)
