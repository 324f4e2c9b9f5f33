"""Samples survive the row that keeps them; bytes that are no such row are refused and do nothing else."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch, batch_of_rows
from edge_agent.buffer.columns import pack_columns, unpack_columns
from tests.drawn_batches import batches, plain

PARTS = st.lists(batches(), min_size=1, max_size=4)


@given(PARTS)
def test_columns_are_read_back_as_they_were(parts: list[SampleBatch]) -> None:
    assert [plain(part) for part in unpack_columns(pack_columns(parts))] == [plain(part) for part in parts]


@given(PARTS)
def test_columns_in_the_byte_order_of_the_wire_are_stored_the_same(parts: list[SampleBatch]) -> None:
    swapped = [
        SampleBatch(
            part.datatype,
            part.tag.astype(">i4"),
            part.time_ns.astype(">i8"),
            part.value if part.value.dtype == object else part.value.astype(part.value.dtype.newbyteorder(">")),
            part.quality,
            part.null,
        )
        for part in parts
    ]
    assert pack_columns(swapped) == pack_columns(parts)


def test_a_text_that_is_not_unicode_is_stored_without_its_bad_character() -> None:
    batch = batch_of_rows(DataType.STRING, [(1, 0, "caf\ud800e", 0)])
    (found,) = unpack_columns(pack_columns([batch]))
    assert found.value.tolist() == ["caf?e"]


@given(PARTS, st.data())
def test_a_row_that_breaks_off_is_refused(parts: list[SampleBatch], data: st.DataObject) -> None:
    whole = pack_columns(parts)
    with pytest.raises(PayloadInvalid):
        unpack_columns(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(PARTS, st.binary(min_size=1, max_size=8))
def test_a_row_with_bytes_behind_it_is_refused(parts: list[SampleBatch], more: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        unpack_columns(pack_columns(parts) + more)


@given(PARTS, st.data())
def test_a_damaged_row_is_read_or_refused_and_never_empty(parts: list[SampleBatch], data: st.DataObject) -> None:
    damaged = bytearray(pack_columns(parts))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PayloadInvalid):
        found = unpack_columns(bytes(damaged))
        assert found
        assert all(len(part) for part in found)


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda noise: b"LS\x01" + noise)))
def test_noise_is_refused(noise: bytes) -> None:
    with contextlib.suppress(PayloadInvalid):
        assert pack_columns(unpack_columns(noise))[:4] == noise[:4]


@pytest.mark.parametrize("row", [b"", b"LS\x01\x00", b"LS\x02\x01", b"XX\x01\x01", b"LS\x01\x01\x0a\0\0\0" + bytes(4)])
def test_a_row_without_samples_is_no_row(row: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        unpack_columns(row)


def test_what_is_read_back_needs_no_copy_of_the_row() -> None:
    """Rows are read by the thousand after an outage: their columns are views of the bytes that SQLite gave."""
    batch = batch_of_rows(DataType.DOUBLE, [(at, at, float(at), 0) for at in range(1000)])
    data = pack_columns([batch])
    (found,) = unpack_columns(data)
    assert np.shares_memory(found.value, np.frombuffer(data, np.uint8))
