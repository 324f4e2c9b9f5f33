"""Samples are read from the columns of a record as the protobuf library reads them, and of wanted tags alone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.historian.samples_pb2 import SampleBatch
from cloud_ingest.lines.sample_columns import Source, TagSample, samples_of, source_of
from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "ü/c"]),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.integers(0, (1 << 53) - 1),
        st.sampled_from([0, 0x4090, 0x8000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def batch_of(rows: list[tuple[str, int, int, int, bool]]) -> bytes:
    batch = SampleBatch(group="plant-7", agent="line-1", device="press", epoch=1 << 63, batch=300)
    column = batch.columns.add(datatype=DataType.UINT64)
    names = sorted({row[0] for row in rows})
    column.tag_names.extend(names)
    for tag, time_ns, value, quality, missing in rows:
        column.tag.append(names.index(tag))
        column.time_ns.append(time_ns)
        column.uint_values.append(value)
        column.quality.append(quality)
        column.missing.append(missing)
    return batch.SerializeToString()


@given(ROWS)
def test_the_samples_of_wanted_tags_are_read(rows: list[tuple[str, int, int, int, bool]]) -> None:
    source, columns = source_of(batch_of(rows))
    assert source == Source("plant-7/line-1", "press")
    found = [sample for column in columns for sample in samples_of(column, {"a": None, "ü/c": None})]
    expected = []
    for tag, time_ns, value, quality, missing in rows:
        is_bad = missing or quality >> 15 == 1
        if tag != "b":
            expected.append(TagSample(tag, time_ns, None if is_bad else Decimal(value), None, is_bad))
    assert found == expected


@pytest.mark.parametrize(
    ("datatype", "field", "value", "number", "text"),
    [
        (DataType.DOUBLE, "double_values", 0.1, Decimal("0.1"), None),
        (DataType.DOUBLE, "double_values", 1e300, None, None),
        (DataType.DOUBLE, "double_values", float("nan"), None, None),
        (DataType.INT32, "int_values", -3, Decimal(-3), None),
        (DataType.BOOLEAN, "bool_values", True, Decimal(1), None),
        (DataType.STRING, "text_values", "läuft", None, "läuft"),
    ],
)
def test_values_of_each_type(
    datatype: DataType, field: str, value: object, number: Decimal | None, text: str | None
) -> None:
    batch = SampleBatch(group="g", agent="a")
    column = batch.columns.add(datatype=datatype, tag_names=["t"], tag=[0], time_ns=[5])
    getattr(column, field).append(value)
    source, columns = source_of(batch.SerializeToString())
    assert source == Source("g/a", "")
    (sample,) = samples_of(columns[0], {"t": None})
    assert sample == TagSample("t", 5, number, text, number is None and text is None)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_what_is_no_batch_is_refused_and_nothing_else_happens(noise: bytes, cut: int) -> None:
    for record in (noise, batch_of([("a", 1, 2, 0, False)])[:cut] + noise):
        try:
            _, columns = source_of(record)
            for column in columns:
                list(samples_of(column, {"a": None}))
        except PayloadInvalid:
            pass
