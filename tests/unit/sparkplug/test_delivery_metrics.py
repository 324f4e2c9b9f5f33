"""Delivery metrics, acknowledgements and definitions survive the wire, and noise does not pass for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.delivery import SPANS_MAX, BatchRanges, Epoch, new_epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.definition import make_definition, read_definition
from connectors.sparkplug.delivery import (
    _OWN_HEAD,
    ACK,
    DEFINITION_BODY,
    EPOCH_START,
    GAP,
    Acknowledgement,
    Delivery,
    _read_any,
    _read_own,
    data_message,
    decode_acknowledgements,
    encode_acknowledgement,
    read_delivery,
)
from tests.bounded_effort import bounded_effort

EPOCHS = st.integers(1, (1 << 63) - 1).map(Epoch)


@given(EPOCHS, st.integers(0, (1 << 63) - 1), st.text("0123456789abcdef", max_size=32), st.integers(0, 1 << 31))
def test_delivery_metrics_are_read_back(epoch: Epoch, batch: int, definition: str, count: int) -> None:
    sent = Delivery(epoch, batch, definition, count, records={GAP: "{}"})
    metric = pb.Metric(alias=16_384, timestamp=5, double_value=1.5).SerializeToString()
    body = b"\x12" + bytes([len(metric)]) + metric
    ticks = np.array([77], np.uint16)
    message = data_message(publish_ms=1_700_000_000_000, seq=255, delivery=sent, metrics=body, ticks=ticks)
    found = read_delivery(message)
    assert found is not None
    assert (found.epoch, found.batch, found.definition, found.count) == (epoch, batch, definition, count)
    assert found.ticks is not None
    assert found.ticks.tolist() == [77]
    assert found.records == {GAP: "{}"}
    assert message[found.body_at :] == body
    whole = pb.Payload.FromString(message)
    assert (whole.timestamp, whole.seq) == (1_700_000_000_000, 255)
    assert next(metric.name for metric in whole.metrics if metric.name) == "Lineside/Epoch"
    assert all(metric.HasField("timestamp") for metric in whole.metrics)


RECORDS = st.dictionaries(
    st.sampled_from([GAP, EPOCH_START, DEFINITION_BODY]), st.text("{}\u00e4x", max_size=5), max_size=2
).map(lambda found: {name: value.encode() if name == DEFINITION_BODY else value for name, value in found.items()})
MESSAGES = st.builds(
    lambda epoch, batch, definition, count, records, ticks, after: data_message(
        publish_ms=1_700_000_000_000,
        seq=batch % 256,
        delivery=Delivery(epoch, batch, definition, count, records=records),
        metrics=after,
        ticks=np.array(ticks, np.uint16),
    ),
    EPOCHS,
    st.integers(0, (1 << 63) - 1),
    st.text("0123456789abcdef\u00e9", max_size=32),
    st.integers(0, 1 << 33),
    RECORDS,
    st.lists(st.integers(0, 9999), max_size=3),
    st.sampled_from([b"", b"\x12\x02\x10\x01", b"\x12\x04\x0a\x02ab", b"\x18\x05", b"\x12\x7f\x0a"]),
)


def outcome(read: Callable[[bytes], Delivery | None], payload: bytes) -> object:
    try:
        found = read(payload)
    except PayloadInvalid as exc:
        return str(exc)
    return found and (replace(found, ticks=None), None if found.ticks is None else found.ticks.tobytes())


@settings(max_examples=5 * settings.default.max_examples)
@given(MESSAGES, st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=2), st.integers(0, 20))
def test_the_fast_path_says_what_the_careful_one_says(message: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(message[: len(message) - cut])
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    for payload in (message, bytes(damaged)):
        assert outcome(read_delivery, payload) == outcome(_read_any, payload)


def test_messages_of_our_own_take_the_fast_path() -> None:
    delivery = Delivery(new_epoch(), 77, "0" * 32, 5)
    message = data_message(
        publish_ms=1_700_000_000_000, seq=7, delivery=delivery, metrics=b"\x12\x02\x10\x01", ticks=np.arange(5)
    )
    head = _OWN_HEAD.match(message)
    assert head is not None
    assert _read_own(message, head) is not None


def test_a_node_that_does_not_acknowledge_has_no_delivery_metrics() -> None:
    payload = pb.Payload(timestamp=1, seq=0)
    payload.metrics.add(name="Temperature", timestamp=1, double_value=20.5)
    assert read_delivery(payload.SerializeToString()) is None


@settings(max_examples=5 * settings.default.max_examples)
@given(st.binary(max_size=400))
def test_noise_is_refused_or_is_no_delivery(noise: bytes) -> None:
    with bounded_effort(len(noise)), contextlib.suppress(PayloadInvalid):
        assert read_delivery(noise) is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_message_that_breaks_off_in_its_delivery_metrics_is_refused(cut: int) -> None:
    message = data_message(publish_ms=5, seq=1, delivery=Delivery(new_epoch(), 1, "", 0), metrics=b"")
    with pytest.raises(PayloadInvalid):
        read_delivery(message[:-cut])


def test_delivery_metrics_out_of_range_are_refused() -> None:
    message = data_message(publish_ms=5, seq=1, delivery=Delivery(Epoch(0), 1, "", 0), metrics=b"")
    with pytest.raises(PayloadInvalid, match="out of range"):
        read_delivery(message)


@given(EPOCHS, st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 50)), max_size=20))
def test_acknowledgements_survive_the_wire(epoch: Epoch, spans: list[tuple[int, int]]) -> None:
    sent = Acknowledgement(epoch, BatchRanges((first, first + more) for first, more in spans), ((7, "too large"),))
    payload = pb.Payload.FromString(encode_acknowledgement([sent], 5))
    assert not payload.HasField("seq")
    (metric,) = payload.metrics
    assert metric.name == ACK
    assert decode_acknowledgements(metric.string_value) == [sent]


@given(st.text(max_size=200))
def test_text_that_is_no_acknowledgement_is_refused(text: str) -> None:
    try:
        found = decode_acknowledgements(text)
    except PayloadInvalid:
        return
    assert found == []


def test_as_many_ranges_as_an_acknowledgement_may_name_are_read_and_no_more() -> None:
    spans = [[number, number] for number in range(2 * SPANS_MAX, 0, -2)]
    text = json.dumps([{"epoch": "7", "batches": spans, "refused": []}])
    with bounded_effort(len(text)):
        (ack,) = decode_acknowledgements(text)
    assert ack.batches.range_count == SPANS_MAX
    for more in ({"batches": [*spans, [0, 0]]}, {"batches": spans, "refused": [[1, "why"]]}):
        with pytest.raises(PayloadInvalid, match="names 10001 ranges; 10000 is the limit"):
            decode_acknowledgements(json.dumps([{"epoch": "7", **more}]))
    with pytest.raises(PayloadInvalid, match="names 10001 ranges"):
        decode_acknowledgements(json.dumps([{"epoch": "7", "batches": []}] * (SPANS_MAX + 1)))


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("1f"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["epoch", "batches", "refused"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    NESTED
    | st.lists(
        st.fixed_dictionaries(
            {"epoch": st.just("1f") | NESTED, "batches": st.lists(st.lists(st.integers(0, 9))) | NESTED},
            optional={"refused": st.lists(st.tuples(st.integers(0, 9), NESTED)) | NESTED},
        ),
        max_size=3,
    )
)
@settings(max_examples=3 * settings.default.max_examples)
def test_json_that_is_no_acknowledgement_is_refused(document: object) -> None:
    text = json.dumps(document)
    with bounded_effort(len(text)):
        try:
            found = decode_acknowledgements(text)
        except PayloadInvalid:
            return
    for ack in found:
        assert all(0 <= first <= last < 1 << 63 for first, last in ack.batches)
        assert all(0 <= batch < 1 << 63 and reason.encode() is not None for batch, reason in ack.refused)


@pytest.mark.parametrize("text", ["[" * 200_000, '[{"epoch":"1","batches":' + "[" * 200_000, "[" + "9" * 100_000 + "]"])
def test_json_that_is_deep_or_of_endless_digits_is_refused(text: str) -> None:
    with bounded_effort(len(text)), pytest.raises(PayloadInvalid):
        decode_acknowledgements(text)


METRICS = st.lists(
    st.builds(
        MetricDefinition,
        st.integers(0, 10**6),
        st.text(min_size=1, max_size=20).map(TagName),
        st.sampled_from(list(DataType)),
        st.sampled_from(["", "°C", "kN"]),
        st.sampled_from(["", "ram force"]),
    ),
    max_size=20,
    unique_by=lambda metric: metric.alias,
)


@given(METRICS, st.randoms())
def test_a_definition_has_one_hash_whatever_the_order_of_its_metrics(metrics: list[MetricDefinition], rng) -> None:  # type: ignore[no-untyped-def]
    definition = make_definition(DeviceName("press"), metrics)
    rng.shuffle(metrics)
    assert make_definition(DeviceName("press"), metrics).hash == definition.hash
    assert read_definition(definition.body) == definition


def test_two_devices_with_the_same_tags_have_different_definitions() -> None:
    metrics = [MetricDefinition(16_384, TagName("speed"), DataType.DOUBLE)]
    assert make_definition(DeviceName("a"), metrics).hash != make_definition(DeviceName("b"), metrics).hash


@settings(max_examples=3 * settings.default.max_examples)
@given(st.binary(max_size=300))
def test_noise_is_no_definition(noise: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        read_definition(noise)
