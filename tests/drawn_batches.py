"""Batches of samples as Hypothesis draws them: every data type, with and without qualities and missing values."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.samples import SampleBatch

INT64: Final = st.integers(-(1 << 63), (1 << 63) - 1)
TIMES_NS: Final = st.one_of(st.integers(1_700_000_000_000_000_000, 1_800_000_000_000_000_000), INT64)
DATATYPES: Final = st.sampled_from([DataType.DOUBLE, DataType.STRING, *DataType])


def values(datatype: DataType) -> st.SearchStrategy[Any]:
    """Whatever a column of ``datatype`` can hold."""
    family = family_of(datatype)
    if family is ValueFamily.TEXT:
        return st.text(max_size=12)
    if family is ValueFamily.BYTES:
        return st.binary(max_size=12)
    if family is ValueFamily.BOOL:
        return st.booleans()
    if family is ValueFamily.FLOAT:
        return st.floats(width=32 if datatype is DataType.FLOAT else 64)
    info = np.iinfo(dtype_of(datatype))
    return st.integers(int(info.min), int(info.max))


@st.composite
def batches(
    draw: st.DrawFn,
    *,
    datatypes: st.SearchStrategy[DataType] = DATATYPES,
    tags: st.SearchStrategy[int] = st.integers(0, (1 << 21) - 1),  # noqa: B008  a strategy is a value
    times_ns: st.SearchStrategy[int] = TIMES_NS,
    size_max: int = 6,
) -> SampleBatch:
    """A batch of one to ``size_max`` samples."""
    datatype = draw(datatypes)
    size = draw(st.integers(1, size_max))
    column = np.zeros(size, dtype_of(datatype))
    column[:] = draw(st.lists(values(datatype), min_size=size, max_size=size))
    quality = draw(st.none() | st.lists(st.sampled_from([0, 0x8000, 0x4090, 0x80AB]), min_size=size, max_size=size))
    null = None if quality is None else draw(st.none() | st.lists(st.booleans(), min_size=size, max_size=size))
    return SampleBatch(
        datatype,
        np.array(draw(st.lists(tags, min_size=size, max_size=size)), np.int32),
        np.array(draw(st.lists(times_ns, min_size=size, max_size=size)), np.int64),
        column,
        None if quality is None else np.array(quality, np.uint16),
        None if null is None else np.array(null, np.bool_) & (np.array(quality) != 0),
    )


def plain(batch: SampleBatch) -> tuple[Any, ...]:
    """``batch`` as something that compares as a whole: not a number equals itself, bit by bit."""
    fixed = batch.value.dtype != object
    return (
        batch.datatype,
        batch.tag.tolist(),
        batch.time_ns.tolist(),
        batch.value.tobytes() if fixed else batch.value.tolist(),
        None if batch.quality is None else batch.quality.tolist(),
        None if batch.null is None else batch.null.tolist(),
    )
