"""The bulk codec says the same as the protobuf library, for whatever samples there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_decode import AliasTypes, decode_metrics
from connectors.sparkplug.bulk_encode import HISTORICAL, encode_metrics, encoded_bytes_max, sub_millisecond_ticks
from connectors.sparkplug.metric_value import metric_value
from tests.bounded_effort import bounded_effort

TIMES = st.one_of(
    st.integers(1_700_000_000_000_000_000, 1_700_000_100_000_000_000),
    st.integers(-(10**18), 4 * 10**18),
    st.just(1_700_000_000_000_000_000),
).map(lambda ns: ns // 100 * 100)
ALIASES = st.one_of(st.integers(16_384, 16_500), st.integers(0, 5_000_000))
QUALITIES = st.sampled_from([0, 0, 0, 0x8000, 0x8034, 0x4090, 0x80AB])


def values(datatype: DataType) -> st.SearchStrategy[Any]:
    family = family_of(datatype)
    if family is ValueFamily.TEXT:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
    if family is ValueFamily.BYTES:
        return st.binary(max_size=200)
    if family is ValueFamily.BOOL:
        return st.booleans()
    if family is ValueFamily.FLOAT:
        return st.floats(width=32 if datatype is DataType.FLOAT else 64)
    info = np.iinfo(dtype_of(datatype))
    return st.one_of(st.integers(int(info.min), int(info.max)), st.integers(0, 100), st.integers(100, 127))


@st.composite
def batches(draw: st.DrawFn) -> SampleBatch:
    datatype = draw(st.sampled_from(list(DataType)))
    plain = draw(st.booleans())
    value = values(datatype)

    def row(alias: int, time_ns: int, quality: int, sample: Any, missing: bool) -> tuple[int, int, Any, int]:
        if plain:
            return alias, time_ns, sample, 0
        return (alias, time_ns, None, quality or 0x8000) if missing else (alias, time_ns, sample, quality)

    rows = draw(st.lists(st.builds(row, ALIASES, TIMES, QUALITIES, value, st.booleans()), min_size=1, max_size=60))
    return batch_of_rows(datatype, rows)


def same_value(left: Any, right: Any) -> bool:
    return left == right or (left != left and right != right)


def assert_same(found: SampleBatch, expected: SampleBatch) -> None:
    assert found.datatype is expected.datatype
    for left, right in zip(found.rows(), expected.rows(), strict=True):
        assert (left[0], left[1], left[3]) == (right[0], right[1], right[3])
        assert same_value(left[2], right[2])


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(batches(), st.booleans())
def test_the_protobuf_library_reads_what_the_bulk_encoder_wrote(batch: SampleBatch, historical: bool) -> None:
    body = encode_metrics(batch, HISTORICAL if historical else b"")
    assert len(body) <= encoded_bytes_max(batch)
    metrics = pb.Payload.FromString(body).metrics
    assert len(metrics) == len(batch)
    for metric, (alias, time_ns, value, quality) in zip(metrics, batch.rows(), strict=True):
        assert metric.alias == alias
        assert metric.timestamp == (time_ns // 1_000_000) % (1 << 64)
        assert metric.is_historical is historical
        found, found_quality = metric_value(metric, batch.datatype)
        assert same_value(found, value)
        assert found_quality == quality


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(batches(), st.booleans())
def test_the_bulk_decoder_returns_the_samples_that_were_encoded(batch: SampleBatch, historical: bool) -> None:
    body = encode_metrics(batch, HISTORICAL if historical else b"")
    types = AliasTypes(dict.fromkeys(batch.tag.tolist(), batch.datatype))
    (found,) = decode_metrics(body, types, sub_millisecond_ticks(batch))
    assert_same(found, batch)


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(st.lists(batches(), min_size=2, max_size=4))
def test_mixed_types_in_one_message_come_back_type_by_type_in_their_order(parts: list[SampleBatch]) -> None:
    moved, types = [], {}
    for number, part in enumerate(parts):
        tag = (part.tag % 1000 + 16_384 + 2000 * number).astype(np.int32)
        moved.append(part.with_tags(tag))
        types.update(dict.fromkeys(tag.tolist(), part.datatype))
    body = b"".join(encode_metrics(part) for part in moved)
    ticks = np.concatenate([sub_millisecond_ticks(part) for part in moved])
    decoded = decode_metrics(body, AliasTypes(types), ticks)
    assert {found.datatype for found in decoded} == {part.datatype for part in moved if len(part)}
    assert sum(len(found) for found in decoded) == sum(len(part) for part in moved)
    for found in decoded:
        expected = [row for part in moved if part.datatype is found.datatype for row in part.rows()]
        assert_same(found, batch_of_rows(found.datatype, expected))


@settings(max_examples=max(1, settings.default.max_examples * 150 // 100), deadline=None)
@given(st.data(), st.integers(30, 80))
def test_a_foreign_field_order_changes_nothing(data: st.DataObject, count: int) -> None:
    """A sender may write fields in any order, with data types, and numbers in the wider field."""
    parts = []
    for number in range(count):
        metric = pb.Metric(alias=16_384 + number % 7, timestamp=1_700_000_000_000 + number)
        metric.long_value = data.draw(st.integers(0, 1 << 32)) if number % 3 else 5
        metric.datatype = DataType.UINT32
        encoded = metric.SerializeToString()
        parts.append(b"\x12" + bytes([len(encoded)]) + encoded)
    body = b"".join(parts)
    types = AliasTypes({16_384 + k: DataType.UINT32 for k in range(7)})
    (found,) = decode_metrics(body, types)
    expected = [metric_value(m, DataType.UINT32)[0] for m in pb.Payload.FromString(body).metrics]
    assert found.value.tolist() == expected


def doubles(count: int) -> SampleBatch:
    tag = np.arange(16_384, 16_384 + count, dtype=np.int32)
    return SampleBatch(DataType.DOUBLE, tag, np.full(count, 1_700_000_000_000_000_000), np.arange(count) * 0.5)


def test_an_unknown_alias_is_named() -> None:
    body = encode_metrics(doubles(50))
    types = AliasTypes({16_384 + k: DataType.DOUBLE for k in range(49)})
    with pytest.raises(PayloadInvalid, match="unknown alias 16433"):
        decode_metrics(body, types)


def test_a_cut_off_message_is_refused() -> None:
    body = encode_metrics(doubles(50))
    types = AliasTypes({16_384 + k: DataType.DOUBLE for k in range(50)})
    for cut in (1, 10, 21, 23, len(body) - 1):
        with pytest.raises(PayloadInvalid):
            decode_metrics(body[:-cut], types)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(st.binary(max_size=3000))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    types = AliasTypes({16_384: DataType.DOUBLE})
    with bounded_effort(len(noise)):
        try:
            decode_metrics(noise, types)
        except PayloadInvalid:
            return
    assert pb.Payload.FromString(noise).metrics or not noise


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(st.data())
def test_flipped_bytes_never_do_more_than_refuse_or_change_values(data: st.DataObject) -> None:
    body = bytearray(encode_metrics(doubles(40), HISTORICAL))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    types = AliasTypes({16_384 + k: DataType.DOUBLE for k in range(40)})
    with bounded_effort(len(body)):
        try:
            found = decode_metrics(bytes(body), types)
        except PayloadInvalid:
            return
    assert sum(len(batch) for batch in found) >= 1


def texts(lengths: Iterable[int]) -> bytes:
    """Metrics of alias 1, each with a text of its own length."""
    return pb.Payload(
        metrics=[pb.Metric(alias=1, timestamp=5, string_value="x" * length) for length in lengths]
    ).SerializeToString()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x12\x00" * 20_000, id="nothing in each"),
        pytest.param(b"\x12\xff\xff\xff\xff\x7f" * 20_000, id="each longer than all"),
        pytest.param(b"\x12" + b"\xff" * 200_000, id="a length without end"),
        pytest.param(texts(range(1000)), id="every one of another length"),
        pytest.param(texts(number % 100 for number in range(10_000)), id="a hundred lengths in turn"),
    ],
)
def test_a_body_of_any_layout_costs_what_its_size_allows(body: bytes) -> None:
    types = AliasTypes({1: DataType.STRING})
    with bounded_effort(len(body)):
        try:
            found = decode_metrics(body, types)
        except PayloadInvalid:
            return
    assert sum(len(batch) for batch in found) == len(pb.Payload.FromString(body).metrics)


def test_the_number_of_ticks_has_to_fit() -> None:
    body = encode_metrics(doubles(30))
    types = AliasTypes({16_384 + k: DataType.DOUBLE for k in range(30)})
    with pytest.raises(PayloadInvalid, match="29 sub-millisecond ticks for 30 metrics"):
        decode_metrics(body, types, np.zeros(29, np.uint16))
