"""What the bridge makes of each message: it looks at the topic and the delivery metrics, and at nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.event_log.topics import MQTT_TOPIC
from cloud_ingest.ingest.pending import ENTRY_BYTES, BatchKey, Pending, Taken, batch_of, size_bytes, take_message
from connectors.model.datatypes import DataType
from connectors.model.delivery import Epoch
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import COUNT, EPOCH, TICKS
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire

IDS = st.text("abcäÿ日/+#\x7f ", max_size=4)
TOPICS = st.one_of(
    st.text("spBv1.0/NDATA+#é", max_size=30),
    st.builds("spBv1.0/{}/{}/{}".format, IDS, st.sampled_from(["NBIRTH", "NDATA", "DDATA", "NCMD", "STATE", "?"]), IDS),
    st.builds("spBv1.0/plant/DDATA/line-1/{}".format, IDS),
)


def taken(wire: Wire) -> Taken:
    found = take_message(wire.topic, wire.payload, NOW_MS)
    assert found is not None
    return found


def played() -> tuple[PlayedAgent, Wire, Wire]:
    agent = PlayedAgent()
    definition = agent.define("press", {"force": DataType.DOUBLE})
    return agent, definition, agent.samples("press", [Sample("force", NOW_MS * 1_000_000, 1.5)])


def test_a_batch_goes_into_the_log_as_it_came_and_is_to_be_acknowledged() -> None:
    agent, _, wire = played()
    found = taken(wire)
    assert found.record.key == b"plant/line-1"
    assert found.record.value == wire.payload
    assert found.record.time_ms == NOW_MS
    assert found.record.headers == ((MQTT_TOPIC, wire.topic.encode()),)
    assert batch_of(found) == BatchKey(agent.name, agent.epoch, 2)
    assert found.definition is None


def test_a_definition_goes_to_its_own_topic_too_under_agent_and_hash() -> None:
    agent, wire, _ = played()
    found = taken(wire)
    assert batch_of(found) == BatchKey(agent.name, agent.epoch, 1)
    assert found.definition is not None
    assert found.definition.key == f"plant/line-1 {agent.definitions['press'].hash}".encode()
    assert found.definition.value == agent.definitions["press"].body


def test_births_and_deaths_are_logged_and_never_acknowledged() -> None:
    agent, _, _ = played()
    for wire in (agent.born(), agent.device_born("press"), agent.died(), agent.device_died("press")):
        found = taken(wire)
        assert found.record.key == b"plant/line-1"
        assert batch_of(found) is None


def test_commands_are_not_data() -> None:
    assert take_message("spBv1.0/plant/NCMD/line-1", b"", NOW_MS) is None
    assert take_message("spBv1.0/plant/DCMD/line-1/press", b"anything", NOW_MS) is None


def test_any_other_sparkplug_node_is_logged_and_not_acknowledged() -> None:
    payload = pb.Payload(timestamp=NOW_MS, seq=3)
    payload.metrics.add(alias=7, timestamp=NOW_MS, double_value=1.0)
    found = taken(Wire("spBv1.0/plant/DDATA/other/pump", payload.SerializeToString()))
    assert found.record.key == b"plant/other"
    assert batch_of(found) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (COUNT, {"double_value": float("inf")}),
        (COUNT, {"double_value": float("nan")}),
        (COUNT, {"string_value": "many"}),
        (COUNT, {"dataset_value": pb.DataSet()}),
        (EPOCH, {"string_value": ""}),
        (EPOCH, {"long_value": 0}),
        (EPOCH, {"long_value": 1 << 63}),
        (TICKS, {"int_value": 3}),
        (TICKS, {"bytes_value": b"odd"}),
    ],
)
def test_delivery_metrics_that_make_no_sense_are_logged_all_the_same(name: str, value: dict[str, object]) -> None:
    payload = pb.Payload(timestamp=NOW_MS)
    given_values: dict[str, dict[str, object]] = {EPOCH: {"long_value": 5}, COUNT: {"int_value": 0}, name: value}
    payload.metrics.add(name="Lineside/Batch", long_value=1)
    for metric, field in given_values.items():
        payload.metrics.add(name=metric, **field)  # type: ignore[arg-type]
    found = taken(Wire("spBv1.0/plant/DDATA/line-1/press", payload.SerializeToString()))
    assert batch_of(found) is None
    assert found.record.value == payload.SerializeToString()


def test_a_name_that_is_not_text_is_logged_for_the_dead_letters() -> None:
    found = taken(Wire("spBv1.0/plant/DDATA/line-1/press", b"\x12\x08\x0a\x02\xff\xfe\x10\x05\x18\x01"))
    assert batch_of(found) is None


def test_a_topic_that_is_no_node_s_is_its_own_key() -> None:
    found = taken(Wire("spBv1.0/plant/WHAT/line-1", b"?"))
    assert found.record.key == b"spBv1.0/plant/WHAT/line-1"
    assert batch_of(found) is None


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(TOPICS, st.binary(max_size=200))
def test_no_message_whatever_is_refused_or_changed(topic: str, payload: bytes) -> None:
    found = take_message(topic, payload, NOW_MS)
    assert found is None or (found.record.value == payload and found.topic == topic)


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(st.data())
def test_no_damaged_batch_stops_the_bridge(data: st.DataObject) -> None:
    agent = PlayedAgent(epoch=Epoch(0x1234_5678_9ABC_DEF0))
    wires = [
        agent.start(),
        agent.define("press", {"force": DataType.DOUBLE, "text": DataType.STRING}),
        agent.samples("press", [Sample("force", 123_456, 1.5), Sample("text", 1, "x")]),
        agent.born(),
    ]
    wire = data.draw(st.sampled_from(wires))
    payload = bytearray(wire.payload)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    found = take_message(wire.topic, bytes(payload[:cut]), NOW_MS)
    assert found is not None
    assert found.record.value == payload[:cut]


def message(size: int) -> Taken:
    """A message that takes ``size`` bytes while it waits."""
    topic = "spBv1.0/plant/DDATA/line-1/press"
    found = take_message(topic, bytes(size - ENTRY_BYTES - 2 * len(topic)), NOW_MS)
    assert found is not None
    return found


def test_pending_is_full_at_its_bound_until_what_was_taken_is_in_the_log() -> None:
    pending = Pending(100_000)
    messages = [message(40_000), message(59_000), message(1_000)]
    for one in messages[:2]:
        pending.add(one)
    assert (pending.size_bytes, pending.is_full, len(pending)) == (99_000, False, 2)
    pending.add(messages[2])
    assert pending.is_full
    assert pending.take_all() == messages
    assert (pending.size_bytes, pending.is_full, len(pending)) == (100_000, True, 0)
    pending.still_taken(messages[1:])
    assert (pending.size_bytes, pending.is_full) == (60_000, False)
    pending.still_taken([])
    assert (pending.size_bytes, pending.is_full, len(pending), pending.take_all()) == (0, False, 0, [])


def test_full_pending_has_room_once_more_for_what_nobody_sends_again() -> None:
    agent = PlayedAgent()
    batch, birth = (take_message(*wire, NOW_MS) for wire in (agent.start(), agent.born()))
    assert batch is not None
    assert birth is not None
    pending = Pending(100_000)
    pending.add(message(99_000))
    assert pending.takes(batch)
    pending.add(message(1_000))
    assert not pending.takes(batch)
    assert pending.takes(birth)
    pending.add(message(100_000))
    assert not pending.takes(birth)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "fail", "append"]), st.integers(0, 50)), max_size=40))
def test_pending_keeps_the_order_whatever_could_not_be_appended(steps: list[tuple[str, int]]) -> None:
    pending, added, appended = Pending(1000), [], []
    for step, number in steps:
        if step == "add":
            added.append(message(1_000 + number))
            pending.add(added[-1])
            continue
        messages = pending.take_all()
        done = len(messages) if step == "append" else min(number, len(messages))
        appended += messages[:done]
        pending.put_back(messages[done:])
        assert pending.size_bytes == sum(map(size_bytes, messages[done:]))
    appended += pending.take_all()
    assert list(map(id, appended)) == list(map(id, added))


def test_a_defect_of_the_reader_lets_the_message_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the historian sets it aside; here it would end the connection for everybody, again and again."""

    def broken(_: bytes) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr("cloud_ingest.ingest.pending.read_delivery", broken)
    taken = take_message("spBv1.0/plant/DDATA/line/press", b"\x08\x01", 5)
    assert taken is not None
    assert (taken.agent, taken.delivery, taken.record.value) == (None, None, b"\x08\x01")
