"""Whatever a node sends: its host takes it or refuses it with a reason; no crash, no hang, no unbounded memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import batch_of_rows
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import varint
from connectors.sparkplug.node_session import NodeReading, NodeSession
from connectors.sparkplug.state import decode_state
from connectors.sparkplug.topics import Topic, Verb
from connectors.sparkplug.type_numbers import ARRAYS, is_structured
from tests.bounded_effort import bounded_effort

NODE = AgentName("plant", "foreign")
REASON_CHARS_MAX = 600

NAMES = st.sampled_from(["", "a", "b", "bdSeq", "Node Control/Rebirth", "Lineside/Epoch"]) | st.text(max_size=6)
KEYS = st.sampled_from(["Quality", "StatusCode", "engUnit", "documentation"]) | NAMES
TYPES = st.integers(0, 36) | st.integers(0, (1 << 32) - 1)
UINT32, UINT64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
SIMPLE = st.one_of(
    st.fixed_dictionaries({"int_value": UINT32}),
    st.fixed_dictionaries({"long_value": UINT64}),
    st.fixed_dictionaries({"float_value": st.floats(width=32)}),
    st.fixed_dictionaries({"double_value": st.floats()}),
    st.fixed_dictionaries({"boolean_value": st.booleans()}),
    st.fixed_dictionaries({"string_value": st.text(max_size=8)}),
    st.just({}),
)


def properties(inner: st.SearchStrategy[pb.PropertyValue]) -> st.SearchStrategy[pb.PropertySet]:
    return st.builds(pb.PropertySet, keys=st.lists(KEYS, max_size=3), values=st.lists(inner, max_size=3))


def property_value(number: int, is_null: bool | None, value: dict[str, Any]) -> pb.PropertyValue:
    return pb.PropertyValue(type=number, is_null=is_null, **value)


PROPERTY = st.recursive(
    st.builds(property_value, TYPES, st.none() | st.booleans(), SIMPLE),
    lambda inner: st.builds(
        property_value,
        TYPES,
        st.none(),
        properties(inner).map(lambda found: {"propertyset_value": found})
        | st.lists(properties(inner), max_size=2).map(
            lambda found: {"propertysets_value": pb.PropertySetList(propertyset=found)}
        ),
    ),
    max_leaves=4,
)
ELEMENT = SIMPLE.map(lambda value: pb.DataSet.Value(**value))
DATA_SET = st.builds(
    pb.DataSet,
    num_of_columns=UINT64,
    columns=st.lists(NAMES, min_size=2, max_size=2) | st.lists(NAMES, max_size=3),
    types=st.lists(TYPES, min_size=2, max_size=2) | st.lists(TYPES, max_size=3),
    rows=st.lists(st.builds(pb.DataSet.Row, elements=st.lists(ELEMENT, min_size=2, max_size=2)), max_size=3),
)
PARAMETER = st.builds(
    lambda name, number, value: pb.Template.Parameter(name=name, type=number, **value), NAMES, TYPES, SIMPLE
)


def metric(value: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[pb.Metric]:
    return st.builds(
        lambda value, **more: pb.Metric(**value, **{key: each for key, each in more.items() if each is not None}),
        value,
        name=NAMES,
        alias=st.none() | st.integers(0, 4) | UINT64,
        timestamp=st.none() | UINT64,
        datatype=st.none() | TYPES,
        is_null=st.none() | st.booleans(),
        is_transient=st.none() | st.booleans(),
        is_historical=st.none() | st.booleans(),
        metadata=st.none() | st.builds(pb.MetaData, description=st.text(max_size=5)),
        properties=st.none() | properties(PROPERTY),
    )


def template(members: st.SearchStrategy[pb.Metric]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        pb.Template,
        version=st.none() | st.text(max_size=3),
        metrics=st.lists(members, max_size=3),
        parameters=st.lists(PARAMETER, max_size=2),
        template_ref=st.none() | NAMES,
        is_definition=st.none() | st.booleans(),
    ).map(lambda found: {"template_value": found})


ARRAY = st.fixed_dictionaries({"bytes_value": st.binary(max_size=20)})
METRIC = metric(
    SIMPLE
    | ARRAY
    | DATA_SET.map(lambda found: {"dataset_value": found})
    | template(metric(SIMPLE | ARRAY | template(metric(SIMPLE))))
)
PAYLOAD = st.builds(
    lambda metrics, **more: pb.Payload(
        metrics=metrics, **{key: value for key, value in more.items() if value is not None}
    ),
    st.lists(METRIC, max_size=4),
    timestamp=st.none() | UINT64,
    seq=st.none() | st.integers(0, 5) | UINT64,
).map(pb.Payload.SerializeToString)
DAMAGE = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["flip", "cut", "double"]), st.integers(1, 255)), max_size=2
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[Topic, bytes]:
    verb = draw(st.sampled_from([Verb.NBIRTH, Verb.NDATA, Verb.DBIRTH, Verb.DDATA, Verb.NDEATH, Verb.DDEATH]))
    device = draw(st.sampled_from(["press", "oven"])) if verb.value[0] == "D" else ""
    payload = bytearray(draw(PAYLOAD))
    for at, how, number in draw(DAMAGE):
        if payload and how == "flip":
            payload[at % len(payload)] ^= number
        elif payload and how == "cut":
            del payload[at % len(payload) :]
        elif payload:
            payload[at % len(payload) :] *= 2
    return Topic(NODE, verb, device), bytes(payload)


def take(session: NodeSession, topic: Topic, payload: bytes) -> None:
    """What the host does with a message, and what has to be true of all that it gives."""
    with bounded_effort(len(payload)):
        try:
            reading = session.receive(topic, payload)
        except PayloadInvalid as exc:
            reading = NodeReading(refused=[str(exc)])
    for sample in reading.samples:
        batch_of_rows(sample.datatype, [(0, sample.time_ns, sample.value, sample.quality)])
        assert sample.device == topic.device
        texts = [sample.name, sample.about.unit, sample.about.description, sample.about.properties]
        if is_structured(sample.about.type_number) and sample.value is not None:
            json.loads(sample.value, parse_constant=pytest.fail)
            texts.append(sample.value)
        assert all(isinstance(text, str) and text.encode() is not None for text in texts)
        assert not sample.about.properties or json.loads(sample.about.properties, parse_constant=pytest.fail)
    assert all(reason and len(reason) < REASON_CHARS_MAX for reason in reading.refused)


LONG = "x" * 1_000_000
BIRTH = pb.Payload(timestamp=1, seq=0)
for number in (3, 9, 16, 19, *ARRAYS):
    BIRTH.metrics.add(name="ab"[number % 2] + str(number % 3), alias=number % 5, datatype=number, is_null=True)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(begun=st.booleans(), sent=st.lists(messages(), min_size=1, max_size=5))
def test_whatever_a_node_sends_is_taken_or_refused_with_a_reason(begun: bool, sent: list[tuple[Topic, bytes]]) -> None:
    session = NodeSession(reorder_ms=2000)
    if begun:
        take(session, Topic(NODE, Verb.NBIRTH), BIRTH.SerializeToString())
        take(session, Topic(NODE, Verb.DBIRTH, "press"), BIRTH.SerializeToString())
    for topic, payload in sent:
        take(session, topic, payload)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_taken_or_refused_with_a_reason(noise: bytes) -> None:
    session = NodeSession()
    for verb in (Verb.NBIRTH, Verb.NDATA, Verb.NDEATH):
        take(session, Topic(NODE, verb), noise)


def nested_properties(depth: int) -> pb.Metric:
    made = pb.Metric(name="deep", datatype=3, int_value=1)
    inner = made.properties
    for _ in range(depth):
        inner.keys.append("k")
        inner = inner.values.add(type=20).propertyset_value
    return made


def nested_templates(depth: int) -> pb.Metric:
    made = outer = pb.Metric(name="deep", datatype=19)
    for _ in range(depth):
        outer = outer.template_value.metrics.add(name="m", datatype=19)
    return made


def array(number: int, data: bytes) -> pb.Metric:
    return pb.Metric(name="large", datatype=number, bytes_value=data)


def data_set(**content: Any) -> pb.Metric:
    return pb.Metric(name="large", datatype=16, dataset_value=pb.DataSet(**content))


@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param([nested_properties(30)], id="properties in properties"),
        pytest.param([nested_templates(30)], id="templates in templates"),
        pytest.param([array(32, b"\xff" * 200_000)], id="booleans that are not there"),
        pytest.param([array(32, (1_600_000).to_bytes(4, "little") + bytes(200_000))], id="booleans"),
        pytest.param([array(33, bytes(200_000))], id="empty strings"),
        pytest.param([array(31, b"\xff" * 200_000)], id="no numbers"),
        pytest.param([pb.Metric()] * 20_000, id="metrics without anything"),
        pytest.param([pb.Metric(name=LONG)], id="a name of a million"),
        pytest.param([pb.Metric(name=LONG, datatype=3, string_value=LONG)], id="and a wrong value"),
        pytest.param([pb.Metric(name=LONG, datatype=16, string_value=LONG)], id="and no data set"),
        pytest.param([data_set(columns=[""] * 20_000, types=[3] * 20_000)], id="columns without rows"),
        pytest.param([data_set(rows=[pb.DataSet.Row()] * 20_000)], id="rows without columns"),
    ],
)
def test_a_message_that_unfolds_costs_what_its_size_allows(metrics: list[pb.Metric]) -> None:
    session = NodeSession()
    payload = pb.Payload(timestamp=1, seq=0, metrics=metrics).SerializeToString()
    take(session, Topic(NODE, Verb.NBIRTH), payload)
    payload = pb.Payload(timestamp=2, seq=1, metrics=metrics).SerializeToString()
    take(session, Topic(NODE, Verb.NDATA), payload)


def test_bytes_that_nest_deeper_than_protobuf_allows_are_refused() -> None:
    metric = b""
    for _ in range(2000):  # a template (field 18 of a metric) that has a metric (field 2) that has a template …
        inside = b"\x12" + varint(len(metric)) + metric
        metric = b"\x92\x01" + varint(len(inside)) + inside
    payload = b"\x12" + varint(len(metric)) + metric
    with pytest.raises(PayloadInvalid), bounded_effort(len(payload)):
        NodeSession().receive(Topic(NODE, Verb.NBIRTH), payload)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(
    payload=st.binary(max_size=100)
    | st.fixed_dictionaries(
        {}, optional={"online": st.booleans() | st.none() | st.text(), "timestamp": st.integers() | st.floats()}
    ).map(lambda document: json.dumps(document).encode())
    | st.integers(1, 5000).map(lambda depth: b'{"online":' + b"[" * depth)
    | st.integers(1, 4000).map(lambda digits: b'{"online":true,"timestamp":' + b"9" * digits + b"}")
)  # fmt: skip
def test_whatever_is_said_to_be_a_state_is_one_or_is_refused(payload: bytes) -> None:
    with bounded_effort(len(payload)):
        try:
            state = decode_state(payload)
        except PayloadInvalid:
            return
    assert isinstance(state.online, bool)
    assert isinstance(state.timestamp_ms, int)
