"""Our decoder of data changes reads what asyncua's own reads, in columns or one by one; damage is an error."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any, Final
from uuid import UUID

import hypothesis.strategies as st
import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import example, given

from connectors.model.datatypes import DataType
from connectors.model.quality import BAD, BAD_TYPE_MISMATCH, GOOD
from connectors.model.samples import SampleBatch
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.notification import RUN_MIN, DataChangeDecoder

RECEIVED_NS: Final = 1_795_000_000_000_000_123
UNKNOWN: Final = 999
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIMES: Final = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))
FLOATS: Final = st.floats(allow_nan=True)


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


V = ua.VariantType
KINDS: Final[list[tuple[Any, DataType, st.SearchStrategy[Any]]]] = [
    (V.Boolean, DataType.BOOLEAN, st.booleans()),
    (V.SByte, DataType.INT8, integers(8, signed=True)),
    (V.Byte, DataType.UINT8, integers(8, signed=False)),
    (V.Int16, DataType.INT16, integers(16, signed=True)),
    (V.UInt16, DataType.UINT16, integers(16, signed=False)),
    (V.Int32, DataType.INT32, integers(32, signed=True)),
    (V.UInt32, DataType.UINT32, integers(32, signed=False)),
    (V.Int64, DataType.INT64, integers(64, signed=True)),
    (V.UInt64, DataType.UINT64, integers(64, signed=False)),
    (V.Float, DataType.FLOAT, st.floats(width=32)),
    (V.Double, DataType.DOUBLE, FLOATS),
    (V.String, DataType.STRING, st.none() | st.text(max_size=8)),
    (V.DateTime, DataType.DATETIME, TIMES),
    (V.Guid, DataType.UUID, st.uuids()),
    (V.ByteString, DataType.BYTES, st.none() | st.binary(max_size=8)),
    (V.LocalizedText, DataType.STRING, st.text(max_size=8).map(lambda text: ua.LocalizedText(ua.String(text)))),
]
TAG_OF: Final = {kind: tag for tag, (kind, _, _) in enumerate(KINDS)}


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[int, ua.DataValue]]:
    """Items of one shape that follow each other: often enough of them to be read in one step."""
    kind, _datatype, values = draw(st.sampled_from(KINDS))
    count = draw(st.sampled_from([1, 2, RUN_MIN - 1, RUN_MIN, 2 * RUN_MIN + 3]))
    handle = draw(st.sampled_from([TAG_OF[kind]] * 9 + [UNKNOWN]))
    drawn = draw(st.lists(values, min_size=1, max_size=3))
    has_status, has_source, has_server = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    status = draw(st.lists(st.sampled_from([0, 0x40900000, 0x80AB0000, 0x00000480]), min_size=1, max_size=3))
    times = draw(st.lists(TIMES, min_size=1, max_size=3))
    picoseconds = draw(st.none() | st.integers(0, 9999))
    odd = draw(st.none() | st.integers(0, count - 1))  # one in the run that has no value
    items = []
    for at in range(count):
        value = drawn[at % len(drawn)]
        items.append(
            (
                handle,
                ua.DataValue(
                    Value=None if at == odd else ua.Variant(value, kind),
                    StatusCode=ua.StatusCode(ua.UInt32(status[at % len(status)])) if has_status else None,
                    SourceTimestamp=times[at % len(times)] if has_source else None,
                    ServerTimestamp=times[-1] if has_server else None,
                    SourcePicoseconds=ua.UInt16(picoseconds) if picoseconds is not None and has_source else None,
                    ServerPicoseconds=ua.UInt16(picoseconds) if picoseconds is not None and has_server else None,
                ),
            )
        )
    return items


def body_of(items: list[tuple[int, ua.DataValue]]) -> bytes:
    notification = ua.DataChangeNotification()
    notification.MonitoredItems = [ua.MonitoredItemNotification(ua.UInt32(handle), value) for handle, value in items]
    return bytes(struct_to_binary(notification))


def decoder() -> DataChangeDecoder:
    found = DataChangeDecoder(len(KINDS))
    for tag, (_, datatype, _) in enumerate(KINDS):
        found.bind(tag, datatype)
    return found


def to_ns(when: datetime) -> int:
    return (when.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1000


def expected_value(value: Any) -> Any:
    match value:
        case datetime():
            return to_ns(value) // 1_000_000
        case UUID():
            return str(value)
        case ua.LocalizedText():
            return value.Text or ""
        case _:
            return value


def expected(body: bytes) -> dict[DataType, list[tuple[int, int, Any, int]]]:
    """What asyncua reads, as samples by type: (tag, time, value or None, quality)."""
    rows: dict[DataType, list[tuple[int, int, Any, int]]] = {}
    for item in struct_from_binary(ua.DataChangeNotification, Buffer(body)).MonitoredItems:
        if item.ClientHandle == UNKNOWN:
            continue
        data = item.Value
        variant = data.Value
        value = None if variant is None or variant.Value is None else expected_value(variant.Value)
        code = 0 if data.StatusCode is None else int(data.StatusCode.value)
        quality = BAD if value is None and code >> 30 == 0 else code >> 16
        when = data.SourceTimestamp or data.ServerTimestamp
        time_ns = RECEIVED_NS if when is None else to_ns(when)
        rows.setdefault(KINDS[item.ClientHandle][1], []).append((int(item.ClientHandle), time_ns, value, quality))
    return rows


def overflows(body: bytes) -> list[tuple[int, int]]:
    """(tag, time) of the samples with the Overflow bit, as asyncua reads them, sorted."""
    found: list[tuple[int, int]] = []
    for item in struct_from_binary(ua.DataChangeNotification, Buffer(body)).MonitoredItems:
        data = item.Value
        if item.ClientHandle != UNKNOWN and data.StatusCode is not None and data.StatusCode.value & 0x480 == 0x480:
            when = data.SourceTimestamp or data.ServerTimestamp
            found.append((int(item.ClientHandle), RECEIVED_NS if when is None else to_ns(when)))
    return sorted(found)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other) and type(one) is type(other)


def by_type(batches: list[SampleBatch]) -> dict[DataType, list[tuple[int, int, Any, int]]]:
    rows: dict[DataType, list[tuple[int, int, Any, int]]] = {}
    for batch in batches:
        rows.setdefault(batch.datatype, []).extend(batch.rows())
    return rows


def in_turns(parts: list[list[tuple[int, ua.DataValue]]]) -> list[tuple[int, ua.DataValue]]:
    """The items of runs as they come when each run gives one after the other."""
    return [item for at in zip_longest(*parts) for item in at if item is not None]


@given(st.lists(runs(), max_size=4), st.booleans())
def test_what_is_decoded_is_what_asyncua_reads(parts: list[list[tuple[int, ua.DataValue]]], takes_turns: bool) -> None:
    items = in_turns(parts) if takes_turns else [item for part in parts for item in part]
    body = body_of(items)
    reader = decoder()
    found, wanted = by_type(reader.decode(body, RECEIVED_NS)), expected(body)
    assert set(found) == set(wanted)
    for datatype, rows in wanted.items():
        assert len(found[datatype]) == len(rows)
        for row, (tag, time_ns, value, quality) in zip(found[datatype], rows, strict=True):
            assert (row[0], row[1], row[3]) == (tag, time_ns, quality)
            assert same(row[2], value)
    assert reader.unknown_handles == sum(handle == UNKNOWN for handle, _ in items)
    overflowed = overflows(body)
    assert reader.overflows == len(overflowed)
    assert sorted(reader.take_overflowed()) == overflowed
    assert reader.take_overflowed() == []
    assert reader.mismatched == set()


@given(st.lists(st.sampled_from([RUN_MIN, RUN_MIN + 1, 3 * RUN_MIN]), max_size=8), st.data())
def test_what_came_before_changes_nothing(counts: list[int], data: st.DataObject) -> None:
    reader = decoder()
    for count in counts:
        kinds = data.draw(st.lists(st.sampled_from(list(PLAIN)), min_size=1, max_size=3, unique=True))
        items = [item for kind in kinds for item in plain_items(kind, count)]
        if data.draw(st.booleans()):
            items[data.draw(st.integers(0, len(items) - 1))] = plain_items(V.Int16, 1)[0]
        body = body_of(items)
        assert by_type(reader.decode(body, RECEIVED_NS)) == expected(body)


PLAIN = {
    V.Double: 1.5,
    V.Float: -0.25,
    V.Int32: 7,
    V.Boolean: True,
    V.String: "step",
    V.DateTime: datetime(2026, 1, 2),
    V.Int16: 3,
}


def plain_items(kind: Any, count: int, status: int = 0) -> list[tuple[int, ua.DataValue]]:
    code, when = ua.StatusCode(ua.UInt32(status)) if status else None, datetime(2026, 1, 1)
    value = ua.DataValue(ua.Variant(PLAIN[kind], kind), StatusCode=code, SourceTimestamp=when)
    return [(TAG_OF[kind], value)] * count


def test_types_that_take_turns_are_gathered_and_each_becomes_one_batch() -> None:
    body = body_of(in_turns([plain_items(kind, 10) for kind in PLAIN]))
    batches = decoder().decode(body, RECEIVED_NS)
    assert len(batches) == len(PLAIN)
    assert by_type(batches) == expected(body)


@pytest.mark.parametrize(
    "odd",
    [
        plain_items(V.Double, 1, 0x40900000),
        [(UNKNOWN, ua.DataValue(ua.Variant(1.0, V.Double), SourceTimestamp=datetime(2026, 1, 1)))],
        [(TAG_OF[V.Double], ua.DataValue(ua.Variant(None, V.Null), SourceTimestamp=datetime(2026, 1, 1)))],
    ],
)
def test_one_that_is_out_of_the_ordinary_among_them_keeps_its_place(odd: list[tuple[int, ua.DataValue]]) -> None:
    items = in_turns([plain_items(kind, 10) for kind in PLAIN])
    body = body_of(items[:40] + odd + items[40:])
    assert by_type(decoder().decode(body, RECEIVED_NS)) == expected(body)


def test_tags_that_are_bound_anew_are_not_taken_for_those_that_they_were() -> None:
    reader, body = decoder(), body_of(plain_items(V.Double, RUN_MIN))
    assert len(by_type(reader.decode(body, RECEIVED_NS))[DataType.DOUBLE]) == RUN_MIN
    reader.unbind(TAG_OF[V.Double])
    assert reader.decode(body, RECEIVED_NS) == []


@given(st.lists(runs(), min_size=1, max_size=3), st.data())
def test_damaged_bytes_are_an_error_or_something_else_and_never_a_crash(
    parts: list[list[tuple[int, ua.DataValue]]], data: st.DataObject
) -> None:
    body = bytearray(body_of([item for part in parts for item in part]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    try:
        batches = decoder().decode(cut, RECEIVED_NS)
    except DECODING_ERRORS:
        return
    assert all(0 <= tag < len(KINDS) for batch in batches for tag in batch.tag)


@given(st.binary(max_size=64))
@example(b"\xff\xff\xff\x7f")
@example(b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\xff")
def test_noise_is_an_error_or_nothing(noise: bytes) -> None:
    try:
        decoder().decode(noise, RECEIVED_NS)
    except DECODING_ERRORS:
        return


@pytest.mark.parametrize("length", [1, 20, 0x7FFFFFFF])
@pytest.mark.parametrize("kind", [0x80, 0x86, 0x8B, 0xC0])
def test_an_array_that_is_longer_than_its_message_is_refused_at_once(kind: int, length: int) -> None:
    item = (0).to_bytes(4, "little") + bytes([1, kind]) + length.to_bytes(4, "little")
    with pytest.raises(DECODING_ERRORS):
        decoder().decode((1).to_bytes(4, "little") + item, RECEIVED_NS)


def one(handle: int, value: Any, kind: Any) -> tuple[Any, int]:
    """(value, quality) of one item."""
    body = body_of([(handle, ua.DataValue(ua.Variant(value, kind), SourceTimestamp=datetime(2026, 1, 1)))])
    ((_tag, _time, found, quality),) = [row for batch in decoder().decode(body, RECEIVED_NS) for row in batch.rows()]
    return found, quality


@pytest.mark.parametrize(
    ("bound", "sent", "value", "expected_value"),
    [
        (V.Double, V.Int16, -7, -7.0),
        (V.Double, V.UInt64, 1 << 40, float(1 << 40)),
        (V.Double, V.Float, 0.25, 0.25),
        (V.Float, V.Double, 0.25, 0.25),
        (V.Float, V.Double, math.nan, math.nan),
        (V.Float, V.Double, math.inf, math.inf),
        (V.Int32, V.Int64, 70_000, 70_000),
        (V.UInt16, V.Double, 12.0, 12),
        (V.Int32, V.Boolean, True, 1),
        (V.String, V.LocalizedText, ua.LocalizedText(ua.String("da")), "da"),
        (V.String, V.Int32, [1, 2, 3], "[1, 2, 3]"),
        (V.String, V.String, ["ü", None], '["ü", null]'),
    ],
)
def test_a_value_of_another_type_is_converted_where_that_loses_nothing(
    bound: Any, sent: Any, value: Any, expected_value: Any
) -> None:
    found, quality = one(TAG_OF[bound], value, sent)
    assert same(found, expected_value)
    assert quality == GOOD


@pytest.mark.parametrize(
    ("bound", "sent", "value"),
    [
        (V.Int16, V.Int32, 70_000),
        (V.UInt32, V.Int32, -1),
        (V.Int32, V.Double, 1.5),
        (V.Int32, V.Double, math.nan),
        (V.Float, V.Double, 0.1),
        (V.Float, V.Double, 1e300),
        (V.Double, V.Int64, (1 << 53) + 1),
        (V.Double, V.String, "12"),
        (V.Boolean, V.Int32, 1),
        (V.String, V.Double, 1.0),
        (V.DateTime, V.Int64, 5),
        (V.ByteString, V.UInt32, 5),
        (V.ByteString, V.String, "abc"),
        (V.Guid, V.Int32, 5),
        (V.Double, V.Double, [1.0, 2.0]),
        (V.Double, V.DateTime, datetime(2026, 1, 1)),
    ],
)
def test_a_value_that_would_lose_its_meaning_is_bad_and_remembered(bound: Any, sent: Any, value: Any) -> None:
    reader = decoder()
    body = body_of([(TAG_OF[bound], ua.DataValue(ua.Variant(value, sent)))])
    ((_tag, _time, found, quality),) = [row for batch in reader.decode(body, RECEIVED_NS) for row in batch.rows()]
    assert (found, quality) == (None, BAD_TYPE_MISMATCH)
    assert reader.mismatched == {TAG_OF[bound]}
    reader.bind(TAG_OF[bound], KINDS[TAG_OF[bound]][1])
    assert reader.mismatched == set()


def test_where_the_source_gives_no_time_the_server_s_counts_and_then_our_own() -> None:
    nothing, noon = datetime(1601, 1, 1), datetime(2026, 1, 1, 12)
    times = [(noon, nothing), (nothing, noon), (nothing, nothing)]
    one_value = ua.Variant(1.0, V.Double)
    items = [
        (TAG_OF[V.Double], ua.DataValue(one_value, SourceTimestamp=source, ServerTimestamp=server))
        for source, server in times * 4
    ]
    (batch,) = decoder().decode(body_of(items), RECEIVED_NS)
    assert batch.time_ns.tolist() == [to_ns(noon), to_ns(noon), RECEIVED_NS] * 4


def test_many_arrays_are_read_one_by_one_as_text() -> None:
    items = [(TAG_OF[V.String], ua.DataValue(ua.Variant([number], V.Int32))) for number in range(20)]
    (batch,) = decoder().decode(body_of(items), RECEIVED_NS)
    assert batch.value.tolist() == [json.dumps([number]) for number in range(20)]
    assert batch.quality is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (V.String, "pi\udce8ce"),
        (V.LocalizedText, ua.LocalizedText(ua.String("pi\udce8ce"))),
        (V.QualifiedName, ua.QualifiedName("pi\udce8ce", 2)),
        (V.NodeId, ua.NodeId("pi\udce8ce", 2)),
        (V.String, ["pi\udce8ce", "plain"]),
        (V.LocalizedText, [ua.LocalizedText(ua.String("pi\udce8ce"))]),
    ],
)
def test_a_text_that_is_no_utf_8_has_a_mark_in_the_wrong_place(kind: Any, value: Any) -> None:
    """asyncua writes a half of a surrogate pair as the byte that it stands for: here è in Latin-1."""
    body = body_of([(TAG_OF[V.String], ua.DataValue(ua.Variant(value, kind)))])
    assert b"pi\xe8ce" in body
    ((_tag, _time, found, quality),) = [row for batch in decoder().decode(body, RECEIVED_NS) for row in batch.rows()]
    assert quality == GOOD
    assert "pi\N{REPLACEMENT CHARACTER}ce" in found
    assert found.encode().decode() == found


def test_alike_values_are_read_in_one_step_whatever_stands_between_them() -> None:
    def doubles(first: int) -> list[tuple[int, ua.DataValue]]:
        return [(TAG_OF[V.Double], ua.DataValue(ua.Variant(float(first + at), V.Double))) for at in range(100)]

    text = [(TAG_OF[V.String], ua.DataValue(ua.Variant("between", V.String)))]
    batches = decoder().decode(body_of([*doubles(0), *text, *doubles(100)]), RECEIVED_NS)
    assert [(batch.datatype, len(batch)) for batch in batches] == [
        (DataType.DOUBLE, 100),
        (DataType.STRING, 1),
        (DataType.DOUBLE, 100),
    ]
    assert np.concatenate([batches[0].value, batches[2].value]).tolist() == [float(at) for at in range(200)]
