"""What a host learns of a node that does not acknowledge: values by alias, lost messages by seq, deaths by bdSeq."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid
from connectors.model.quality import BAD, GOOD, UNCERTAIN_LAST_USABLE_VALUE
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.node_session import REMEMBERED_MESSAGES, NodeReading, NodeSession
from connectors.sparkplug.topics import Topic, Verb

NODE = AgentName("plant", "foreign")
TIME_MS = 1_795_000_000_000


class PlayedNode:
    """A node of somebody else's, and the host's session of it."""

    def __init__(self) -> None:
        self.host = NodeSession()
        self.seq = -1

    def born(self, bd_seq: int = 0) -> NodeReading:
        self.seq = 0
        payload = pb.Payload(timestamp=TIME_MS, seq=0)
        payload.metrics.add(name="bdSeq", datatype=4, long_value=bd_seq)
        payload.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=False)
        payload.metrics.add(name="uptime", alias=1, datatype=8, long_value=5)
        return self.host.receive(Topic(NODE, Verb.NBIRTH), payload.SerializeToString())

    def device_born(self, device: str, alias: int, datatype: DataType = DataType.DOUBLE) -> NodeReading:
        payload = pb.Payload(timestamp=TIME_MS, seq=self.next())
        payload.metrics.add(name="force", alias=alias, datatype=datatype, is_null=True)
        return self.host.receive(Topic(NODE, Verb.DBIRTH, device), payload.SerializeToString())

    def data(self, device: str, *metrics: pb.Metric, skipped: int = 0) -> NodeReading:
        for _ in range(skipped):
            self.next()
        payload = pb.Payload(timestamp=TIME_MS, seq=self.next())
        payload.metrics.extend(metrics)
        verb = Verb.DDATA if device else Verb.NDATA
        return self.host.receive(Topic(NODE, verb, device), payload.SerializeToString())

    def died(self, bd_seq: int) -> NodeReading:
        payload = pb.Payload(timestamp=TIME_MS)
        payload.metrics.add(name="bdSeq", datatype=4, long_value=bd_seq)
        return self.host.receive(Topic(NODE, Verb.NDEATH), payload.SerializeToString())

    def next(self) -> int:
        self.seq = (self.seq + 1) % 256
        return self.seq


def force(value: float, alias: int = 7) -> pb.Metric:
    return pb.Metric(alias=alias, timestamp=TIME_MS + 1, double_value=value)


@given(st.lists(st.integers(0, 255), max_size=12))
def test_lost_messages_are_counted_and_a_rebirth_is_wanted(skips: list[int]) -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    for number, skipped in enumerate(skips):
        reading = node.data("press", force(float(number)), skipped=skipped)
        assert (reading.lost_messages, reading.wants_rebirth) == (skipped, skipped > 0)
        assert [sample.value for sample in reading.samples] == [float(number)], "what came is taken all the same"


def test_values_are_known_by_the_aliases_of_the_birth() -> None:
    node = PlayedNode()
    assert [(sample.name, sample.value) for sample in node.born().samples] == [("uptime", 5)]
    (sample,) = node.device_born("press", 7).samples
    assert (sample.value, sample.quality) == (None, BAD), "the value before is not the current one any more"
    (sample,) = node.data("press", force(2.5)).samples
    assert (sample.device, sample.name, sample.datatype, sample.value) == ("press", "force", DataType.DOUBLE, 2.5)
    assert (sample.time_ns, sample.quality) == ((TIME_MS + 1) * 1_000_000, GOOD)
    (sample,) = node.data("", pb.Metric(name="uptime", long_value=6)).samples
    assert (sample.device, sample.value, sample.time_ns) == ("", 6, TIME_MS * 1_000_000)


def test_an_alias_of_another_device_or_of_no_birth_is_refused_and_a_rebirth_wanted() -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    node.device_born("oven", 8)
    reading = node.data("press", force(1.0, alias=8), force(2.0), force(3.0, alias=99))
    assert [sample.value for sample in reading.samples] == [2.0]
    assert reading.refused == ["unknown alias 8", "unknown alias 99"]
    assert reading.wants_rebirth


def test_a_new_birth_of_a_device_ends_its_old_aliases_and_leaves_those_of_others() -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    node.device_born("oven", 8)
    node.device_born("press", 9, DataType.INT32)
    assert node.data("press", force(1.0, alias=7)).refused == ["unknown alias 7"]
    assert [sample.value for sample in node.data("oven", force(1.0, alias=8)).samples] == [1.0]
    minus_one = pb.Metric(alias=9, int_value=0xFFFFFFFF)
    assert [sample.value for sample in node.data("press", minus_one).samples] == [-1]


def test_data_before_the_birth_wants_one_and_gives_nothing() -> None:
    node = PlayedNode()
    reading = node.data("press", force(1.0))
    assert (reading.samples, reading.wants_rebirth) == ([], True)
    assert reading.refused == ["a DDATA before the NBIRTH of the node"]


def test_the_will_of_an_earlier_connection_kills_nobody() -> None:
    node = PlayedNode()
    node.born(bd_seq=4)
    assert node.died(3).online is None
    assert node.host.born
    assert node.died(4).online is False
    assert not node.host.born
    assert node.data("", pb.Metric(name="uptime", long_value=6)).wants_rebirth


def test_after_a_restart_of_the_host_the_next_seq_is_taken_as_it_is() -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    node.host.resume()
    reading = node.data("press", force(1.0), skipped=100)
    assert (reading.lost_messages, reading.wants_rebirth) == (0, False)
    assert node.data("press", force(1.0), skipped=1).lost_messages == 1


def test_a_metric_that_says_bad_stale_or_nothing_is_never_good() -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    metrics = []
    for quality in (0, 192, 500):
        metric = force(1.0)
        metric.properties.keys.append("Quality")
        metric.properties.values.add(type=3, int_value=quality)
        metrics.append(metric)
    reading = node.data("press", *metrics, pb.Metric(alias=7, is_null=True), pb.Metric(alias=7))
    assert [(sample.value, sample.quality) for sample in reading.samples] == [
        (1.0, BAD),
        (1.0, GOOD),
        (1.0, UNCERTAIN_LAST_USABLE_VALUE),
        (None, BAD),
        (None, BAD),
    ]


def test_one_metric_that_cannot_be_read_stops_no_other() -> None:
    node = PlayedNode()
    node.born()
    node.device_born("press", 7)
    reading = node.data("press", pb.Metric(alias=7, string_value="text"), force(2.0))
    assert [sample.value for sample in reading.samples] == [2.0]
    assert reading.refused == ["the metric 'alias 7' has a string_value, which cannot be a Double"]
    assert not reading.wants_rebirth


def test_bytes_that_are_no_payload_are_refused() -> None:
    with pytest.raises(PayloadInvalid, match="not a Sparkplug payload"):
        NodeSession().receive(Topic(NODE, Verb.NBIRTH), b"\xff\xff\xff")


@pytest.mark.parametrize("messages", [1, 5, 300, 1000])
def test_messages_that_come_again_as_a_whole_give_nothing_twice_and_lose_nothing(messages: int) -> None:
    host = NodeSession()
    birth = pb.Payload(timestamp=TIME_MS, seq=0)
    birth.metrics.add(name="uptime", alias=1, datatype=8, long_value=5)
    data = [
        pb.Payload(
            timestamp=TIME_MS, seq=number % 256, metrics=[pb.Metric(alias=1, timestamp=TIME_MS + number, long_value=1)]
        )
        for number in range(1, messages + 2)
    ]
    wires = [(Verb.NBIRTH, birth), *((Verb.NDATA, payload) for payload in data[:messages])]
    readings = [
        host.receive(Topic(NODE, verb), payload.SerializeToString())
        for verb, payload in [*wires, *wires, (Verb.NDATA, data[messages])]
    ]
    assert [reading.duplicate for reading in readings] == [False] * len(wires) + [True] * len(wires) + [False]
    assert sum(len(reading.samples) for reading in readings) == messages + 2
    assert not any(reading.lost_messages or reading.wants_rebirth for reading in readings)


def test_a_node_without_a_clock_may_say_the_same_again_when_its_seq_has_come_round() -> None:
    host = NodeSession()
    birth = pb.Payload(seq=0)
    birth.metrics.add(name="uptime", alias=1, datatype=8, long_value=5)
    for _ in range(2):
        host.receive(Topic(NODE, Verb.NBIRTH), birth.SerializeToString())
        for number in range(1, 600):
            payload = pb.Payload(seq=number % 256, metrics=[pb.Metric(alias=1, long_value=5)]).SerializeToString()
            reading = host.receive(Topic(NODE, Verb.NDATA), payload)
            assert (len(reading.samples), reading.lost_messages, reading.duplicate) == (1, 0, False)
            again = host.receive(Topic(NODE, Verb.NDATA), payload)
            assert (len(again.samples), again.lost_messages, again.duplicate) == (0, 0, True)


def test_a_birth_after_a_death_counts_though_it_is_like_the_last_one() -> None:
    node = PlayedNode()
    for _ in range(2):
        node.born()
        assert len(node.device_born("press", 7).refused) == 0
        assert len(node.data("press", force(1.0)).samples) == 1
        assert node.died(0).online is False


def test_what_is_remembered_of_messages_is_bounded() -> None:
    node = PlayedNode()
    node.born()
    for number in range(REMEMBERED_MESSAGES + 10):
        node.data("", pb.Metric(name="uptime", long_value=number))
    assert len(node.host._taken) == REMEMBERED_MESSAGES


def test_a_node_whose_clock_stands_still_may_be_born_again() -> None:
    node = PlayedNode()
    for version in range(3):
        node.born()
        node.device_born("press", 7)
        for number in range(version + 1):
            reading = node.data("press", force(float(10 * version + number)))
            assert (len(reading.samples), reading.lost_messages, reading.wants_rebirth) == (1, 0, False)


def late(node: PlayedNode, *numbers: int, at_ms: int, missing: int) -> list[NodeReading]:
    """Messages of these numbers after the birth, in this order; the others of them were overtaken."""
    readings = []
    for number in numbers:
        payload = pb.Payload(timestamp=TIME_MS + number, seq=(missing + number) % 256)
        payload.metrics.add(name="uptime", long_value=number)
        readings.append(node.host.receive(Topic(NODE, Verb.NDATA), payload.SerializeToString(), at_ms))
    return readings


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-reordering-start", "tck-id-operational-behavior-host-reordering-success"
)
@given(st.integers(0, 255))
def test_messages_that_others_have_overtaken_are_awaited_and_end_the_wait(first: int) -> None:
    node = PlayedNode()
    node.host = NodeSession(reorder_ms=2000)
    node.born()
    late(node, *range(1, first + 1), at_ms=0, missing=0)
    third, first_late, fifth, fourth, second_late, sixth = late(node, 3, 1, 5, 4, 2, 6, at_ms=100, missing=first)
    assert (third.lost_messages, third.wants_rebirth, third.rebirth_after_ms) == (2, True, 2000)
    assert (first_late.found_missing, first_late.lost_messages) == (False, 0), "one of the two"
    assert (fifth.lost_messages, fifth.rebirth_after_ms) == (1, 2000)
    assert (fourth.found_missing, fourth.takes_rebirth_back) == (False, False)
    assert (second_late.found_missing, second_late.takes_rebirth_back) == (True, True)
    assert (sixth.lost_messages, sixth.wants_rebirth) == (0, False)
    assert not node.host.waits_for_missing
    for reading in (third, first_late, fifth, fourth, second_late, sixth):
        assert len(reading.samples) == 1, "nobody waits for the order to take a value"


@pytest.mark.sparkplug("tck-id-operational-behavior-host-reordering-rebirth")
def test_a_message_that_comes_after_the_reorder_timeout_takes_no_rebirth_back() -> None:
    node = PlayedNode()
    node.host = NodeSession(reorder_ms=2000)
    node.born()
    (gap,) = late(node, 2, at_ms=1000, missing=0)
    assert (gap.wants_rebirth, gap.rebirth_after_ms) == (True, 2000)
    (too_late,) = late(node, 1, at_ms=3001, missing=0)
    assert (too_late.found_missing, too_late.takes_rebirth_back, too_late.lost_messages) == (False, False, 0)
    assert [sample.value for sample in too_late.samples] == [1]
    (following,) = late(node, 3, at_ms=3002, missing=0)
    assert (following.lost_messages, following.wants_rebirth) == (0, False)


def test_a_seq_that_has_come_round_is_not_taken_for_the_one_that_is_missing() -> None:
    node = PlayedNode()
    node.host = NodeSession(reorder_ms=2000)
    node.born()
    readings = late(node, *range(2, 600), at_ms=0, missing=0)
    assert [reading.lost_messages for reading in readings] == [1, *[0] * 597]
    assert not any(reading.takes_rebirth_back for reading in readings), "number 1 has never come"
    assert not node.host.waits_for_missing


def test_a_birth_ends_the_wait_for_what_is_missing() -> None:
    node = PlayedNode()
    node.host = NodeSession(reorder_ms=2000)
    node.born()
    late(node, 2, at_ms=1000, missing=0)
    assert node.born(bd_seq=1).takes_rebirth_back
    (reading,) = late(node, 1, at_ms=1001, missing=0)
    assert (reading.found_missing, reading.lost_messages) == (False, 0)


def test_values_that_are_transient_are_counted_and_not_taken() -> None:
    node = PlayedNode()
    node.born()
    reading = node.data("", pb.Metric(name="uptime", long_value=1, is_transient=True), pb.Metric(alias=1, long_value=2))
    assert ([sample.value for sample in reading.samples], reading.transient) == ([2], 1)


def test_values_that_are_historical_are_taken_like_others() -> None:
    node = PlayedNode()
    node.born()
    old = pb.Metric(alias=1, long_value=1, timestamp=TIME_MS - 86_400_000, is_historical=True)
    (sample,) = node.data("", old).samples
    assert (sample.value, sample.time_ns) == (1, (TIME_MS - 86_400_000) * 1_000_000)


def test_what_has_no_column_is_taken_in_the_form_in_which_it_is_stored() -> None:
    node = PlayedNode()
    node.born()
    birth = pb.Payload(timestamp=TIME_MS, seq=node.next())
    motor = pb.Template(is_definition=False, template_ref="Motor", metrics=[pb.Metric(name="rpm", datatype=3)])
    birth.metrics.add(name="motor", alias=20, datatype=19, template_value=motor)
    birth.metrics.add(name="curve", alias=21, datatype=23, is_null=True)
    birth.metrics.add(name="file", alias=22, datatype=18, bytes_value=b"MZ")
    node.host.receive(Topic(NODE, Verb.DBIRTH, "press"), birth.SerializeToString())
    changed = pb.Template(is_definition=False, template_ref="Motor", metrics=[pb.Metric(name="rpm")])
    changed.metrics[0].int_value = 0xFFFF_FFFF
    reading = node.data(
        "press",
        pb.Metric(alias=20, template_value=changed),
        pb.Metric(alias=21, bytes_value=bytes((0xD0, 0x8A, 1, 0))),
        pb.Metric(alias=22, bytes_value=b"ELF"),
        pb.Metric(alias=21, is_null=True),
    )
    assert reading.refused == []
    assert [(s.name, s.datatype, s.about.type_number, s.value) for s in reading.samples] == [
        ("motor", DataType.TEXT, 19, '{"template": "Motor", "members": {"rpm": -1}}'),
        ("curve", DataType.TEXT, 23, "[-30000, 1]"),
        ("file", DataType.BYTES, 18, b"ELF"),
        ("curve", DataType.TEXT, 23, None),
    ]


def test_a_template_definition_is_no_value() -> None:
    node = PlayedNode()
    birth = pb.Payload(timestamp=TIME_MS, seq=0)
    definition = pb.Template(is_definition=True, metrics=[pb.Metric(name="rpm", datatype=3)])
    birth.metrics.add(name="Motor", datatype=19, template_value=definition)
    assert node.host.receive(Topic(NODE, Verb.NBIRTH), birth.SerializeToString()).samples == []
    instance = pb.Template(template_ref="Motor", metrics=[pb.Metric(name="rpm", int_value=0xFFFF_FFFE)])
    device = pb.Payload(timestamp=TIME_MS, seq=1)
    device.metrics.add(name="motor", datatype=19, template_value=instance)
    (sample,) = node.host.receive(Topic(NODE, Verb.DBIRTH, "press"), device.SerializeToString()).samples
    assert sample.value == '{"template": "Motor", "members": {"rpm": -2}}'


def with_properties(**properties: str) -> pb.Metric:
    metric = pb.Metric(name="uptime", alias=1, datatype=8, long_value=1)
    for key, text in properties.items():
        metric.properties.keys.append(key)
        metric.properties.values.add(type=12, string_value=text)
    return metric


def test_what_a_node_tells_of_a_metric_is_kept_and_changed_by_data() -> None:
    node = PlayedNode()
    birth = pb.Payload(timestamp=TIME_MS, seq=0, metrics=[with_properties(engUnit="s", documentation="d", asset="A7")])
    (sample,) = node.host.receive(Topic(NODE, Verb.NBIRTH), birth.SerializeToString()).samples
    assert (sample.about.unit, sample.about.description, sample.about.properties) == ("s", "d", '{"asset": "A7"}')
    node.seq = 0
    changed = with_properties(asset="B1", room="9")
    changed.ClearField("name")
    changed.ClearField("datatype")
    (sample,) = node.data("", changed).samples
    assert (sample.about.unit, sample.about.description) == ("s", "d")
    assert sample.about.properties == '{"asset": "B1", "room": "9"}'


def test_a_damaged_property_set_is_set_aside_and_its_value_taken() -> None:
    node = PlayedNode()
    node.born()
    metric = pb.Metric(alias=1, long_value=3)
    metric.properties.keys.extend(["a", "b"])
    metric.properties.values.add(type=12, string_value="x")
    reading = node.data("", metric)
    assert [sample.value for sample in reading.samples] == [3]
    assert reading.refused == ["the metric 1: a property set has 2 keys and 1 values"]
