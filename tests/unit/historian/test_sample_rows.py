"""The binary COPY stream of samples, against an encoder that takes one value at a time.

The reference follows the PostgreSQL manual, section COPY, Binary Format.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.historian.sample_rows import COLUMNS, SampleRows, copy_data, storable_text
from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.samples import SampleBatch, batch_of_rows
from tests.drawn_batches import batches

TYPED_COLUMNS = {
    ValueFamily.FLOAT: "value_double",
    ValueFamily.INT: "value_int",
    ValueFamily.UINT: "value_int",
    ValueFamily.BOOL: "value_bool",
    ValueFamily.TEXT: "value_text",
    ValueFamily.BYTES: "value_bytes",
}


def reference_row(tenant: int, datatype: DataType, tag: int, time_ns: int, value: Any, quality: int) -> bytes:
    fields: dict[str, bytes | None] = dict.fromkeys(COLUMNS)
    fields["time"] = struct.pack(">q", time_ns // 1000 - 946_684_800 * 1_000_000)
    fields["tag_id"], fields["tenant_id"] = struct.pack(">i", tag), struct.pack(">i", tenant)
    fields["quality"] = struct.pack(">i", quality)
    column = TYPED_COLUMNS[family_of(datatype)]
    if value is None:
        pass
    elif column == "value_double":
        fields[column] = struct.pack(">d", value)
    elif column == "value_int" and value > (1 << 63) - 1:
        fields["value_text"] = str(value).encode()
    elif column == "value_int":
        fields[column] = struct.pack(">q", value)
    elif column == "value_bool":
        fields[column] = b"\x01" if value else b"\x00"
    elif column == "value_text":
        fields[column] = value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode()
    else:
        fields[column] = value
    row = struct.pack(">h", len(COLUMNS))
    for name in COLUMNS:
        field = fields[name]
        row += struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field
    return row


def rows_in(stream: bytes) -> list[bytes]:
    """The rows of a stream, after its header and up to its trailer."""
    assert stream.startswith(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")
    assert stream.endswith(b"\xff\xff")
    rows, at = [], 19
    while at < len(stream) - 2:
        begin = at
        (count,) = struct.unpack_from(">h", stream, at)
        at += 2
        for _ in range(count):
            (size,) = struct.unpack_from(">i", stream, at)
            at += 4 + max(0, size)
        rows.append(stream[begin:at])
    assert at == len(stream) - 2
    return rows


def expected(tenant: int, batch: SampleBatch) -> list[bytes]:
    return [reference_row(tenant, batch.datatype, *row) for row in batch.rows()]


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(st.lists(st.tuples(st.integers(1, (1 << 31) - 1), batches()), max_size=4))
def test_the_stream_is_what_one_value_at_a_time_would_give(parts: list[tuple[int, SampleBatch]]) -> None:
    stream = copy_data([SampleRows.of(tenant, batch) for tenant, batch in parts])
    wanted = [row for tenant, batch in parts for row in expected(tenant, batch)]
    assert Counter(rows_in(stream)) == Counter(wanted)


@pytest.mark.parametrize("datatype", list(DataType), ids=lambda datatype: datatype.label)
def test_every_type_with_and_without_a_value_and_a_quality(datatype: DataType) -> None:
    family = family_of(datatype)
    values = {
        ValueFamily.FLOAT: [0.0, -1.5, float("inf"), float("nan"), 3.4028234663852886e38],
        ValueFamily.INT: [0, -1, 127, -128],
        ValueFamily.UINT: [0, 1, 255],
        ValueFamily.BOOL: [True, False],
        ValueFamily.TEXT: ["", "Grüße 日本 \U0001f527", "a\0b\0"],
        ValueFamily.BYTES: [b"", b"\0\xff", bytes(300)],
    }[family]
    extremes = {
        DataType.INT64: [(1 << 63) - 1, -(1 << 63)],
        DataType.UINT64: [(1 << 63) - 1, 1 << 63, (1 << 64) - 1],
        DataType.UINT32: [(1 << 32) - 1],
        DataType.DATETIME: [-62_135_596_800_000],
    }.get(datatype, [])
    rows = [(tag, tag * 10**15 + 999, value, 0) for tag, value in enumerate([*values, *extremes])]
    rows += [(7, -1, values[0], 0x4090), (8, 0, None, 0x8000), (9, 0, None, 0xFFFF)]
    batch = batch_of_rows(datatype, rows)
    assert Counter(rows_in(copy_data([SampleRows.of(3, batch)]))) == Counter(expected(3, batch))


def test_a_stream_without_rows_is_header_and_trailer() -> None:
    assert rows_in(copy_data([])) == []
    empty = batch_of_rows(DataType.DOUBLE, [])
    assert rows_in(copy_data([SampleRows.of(1, empty)])) == []


def test_source_times_are_kept_to_the_microsecond_before_it() -> None:
    times = [0, 999, 1000, -1, -1000, -1001, (1 << 63) - 1, -(1 << 63)]
    batch = batch_of_rows(DataType.BOOLEAN, [(1, time, True, 0) for time in times])
    assert SampleRows.of(1, batch).time_us.tolist() == [time // 1000 for time in times]


def test_selected_rows_keep_everything_that_belongs_to_them() -> None:
    batch = batch_of_rows(DataType.STRING, [(1, 1000, "a", 0), (2, 2000, None, 0x8000), (3, 3000, "c", 0x4000)])
    rows = SampleRows.of(5, batch)
    chosen = rows.select(np.array([False, True, True]))
    assert (chosen.tenant_id, chosen.time_us.tolist()) == (5, [2, 3])
    assert list(chosen.batch.rows()) == [(2, 2000, None, 0x8000), (3, 3000, "c", 0x4000)]


def test_only_the_character_that_postgresql_cannot_hold_is_replaced() -> None:
    assert storable_text("plain \U0001f527") == "plain \U0001f527"
    assert storable_text("a\0b\0") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
