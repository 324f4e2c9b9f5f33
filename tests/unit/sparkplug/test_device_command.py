"""What a host may ask of an agent and its devices: read as it is meant, bounded before that, and never trusted."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from connectors.commands.envelope import ENVELOPE_BYTES_MAX
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import set_value
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import CANCEL, COMMAND, DEVICE_METRICS, NODE_METRICS, TIME
from connectors.sparkplug.device_command import (
    METRICS_MAX,
    PAYLOAD_BYTES_MAX,
    CommandReceived,
    PlainMetric,
    SignedReceived,
    read_device_command,
)
from connectors.sparkplug.edge_session import NCMD_BYTES_MAX, EdgeSession, Effect, Refused

DCMD = "spBv1.0/plant/DCMD/line/press"
NCMD = "spBv1.0/plant/NCMD/line"
PRESS = DeviceName("press")


def definition() -> DeviceDefinition:
    metrics = [
        MetricDefinition(16_384, TagName("speed"), DataType.INT16),
        MetricDefinition(16_385, TagName("level"), DataType.DOUBLE),
        MetricDefinition(16_386, TagName("go"), DataType.BOOLEAN),
        MetricDefinition(16_387, TagName("name"), DataType.STRING),
    ]
    return make_definition(PRESS, metrics)


def payload(*metrics: tuple[str | int, DataType, Any]) -> bytes:
    message = pb.Payload(timestamp=1)
    for name, datatype, value in metrics:
        metric = message.metrics.add(datatype=datatype)
        if isinstance(name, int):
            metric.alias = name
        else:
            metric.name = name
        set_value(metric, datatype, value)
    return message.SerializeToString()


def received(topic: str, data: bytes) -> list[Effect]:
    edge = EdgeSession(
        AgentName("plant", "line"), epoch=Epoch(7), host="", wait_for_host=False, properties=(), values=lambda _: {}
    )
    edge.connecting(0, 1)
    edge.connected(1)
    edge.device_online(definition(), 1)
    return edge.received(topic, data, 1)


def test_a_command_to_a_device_is_its_envelope_and_what_stands_beside_it() -> None:
    data = payload(("speed", DataType.INT16, -3), (COMMAND, DataType.STRING, "a.b.c"))
    assert received(DCMD, data) == [CommandReceived(DCMD, "press", (PlainMetric("speed", -3),), "a.b.c")]


@pytest.mark.parametrize(
    ("metric", "plain"),
    [
        (("speed", DataType.INT16, -3), PlainMetric("speed", -3)),
        ((16_384, DataType.INT16, -3), PlainMetric("speed", -3)),
        (("level", DataType.DOUBLE, 2.5), PlainMetric("level", 2.5)),
        (("go", DataType.BOOLEAN, True), PlainMetric("go", True)),
        (("name", DataType.STRING, "x"), PlainMetric("name", "x")),
        (("speed", DataType.STRING, "x"), PlainMetric("speed", None)),
        (("unknown", DataType.INT16, 5), PlainMetric("unknown", 5)),
        ((99, DataType.INT16, 5), PlainMetric("alias 99", 5)),
    ],
)
def test_a_plain_metric_is_named_and_read_as_its_birth_says(metric: Any, plain: PlainMetric) -> None:
    assert received(DCMD, payload(metric)) == [CommandReceived(DCMD, "press", (plain,), "")]


def test_the_time_and_a_cancellation_are_signed_documents_for_the_agent() -> None:
    data = payload((TIME, DataType.STRING, "t"), (CANCEL, DataType.STRING, "c"), (COMMAND, DataType.STRING, "a"))
    assert received(NCMD, data) == [
        SignedReceived(NCMD, TIME, "t"), SignedReceived(NCMD, CANCEL, "c"), CommandReceived(NCMD, "", (), "a"),
    ]  # fmt: skip


def test_what_is_too_large_is_not_read() -> None:
    assert received(DCMD, b"\xff" * (PAYLOAD_BYTES_MAX + 1)) == [
        CommandReceived(DCMD, "press", (), "", PAYLOAD_BYTES_MAX + 1)
    ]
    large = payload((COMMAND, DataType.STRING, "x" * (ENVELOPE_BYTES_MAX + 1)))
    assert received(DCMD, large) == [CommandReceived(DCMD, "press", (), "", ENVELOPE_BYTES_MAX + 1)]
    assert received(NCMD, large) == [CommandReceived(NCMD, "", (), "", ENVELOPE_BYTES_MAX + 1)]
    (refused,) = received(NCMD, b"\xff" * (NCMD_BYTES_MAX + 1))
    assert isinstance(refused, Refused)
    assert "is the limit" in refused.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff", "not a Sparkplug payload"),
        (b"", "has no metrics"),
        (payload(*[("speed", DataType.INT16, 1)] * (METRICS_MAX + 1)), "16 is the limit"),
        (payload((COMMAND, DataType.STRING, "")), "is empty"),
        (payload((COMMAND, DataType.STRING, "a"), (COMMAND, DataType.STRING, "b")), "twice"),
    ],
)
def test_what_cannot_be_followed_is_refused(data: bytes, reason: str) -> None:
    (refused,) = received(DCMD, data)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


@given(data=st.binary(max_size=300), cut=st.integers(0, 200))
def test_bytes_of_anybody_make_a_command_or_are_refused(data: bytes, cut: int) -> None:
    whole = payload(("speed", DataType.INT16, -3), (COMMAND, DataType.STRING, "a.b.c"))
    for tried in (data, whole[:cut] + data, data + whole):
        try:
            read_device_command(DCMD, PRESS, tried, definition())
        except PayloadInvalid:
            continue


def test_the_births_name_all_that_may_be_commanded() -> None:
    assert {COMMAND, TIME, CANCEL} <= NODE_METRICS.keys()
    assert COMMAND in DEVICE_METRICS
