"""Samples in columns: the form in which they travel from the wire to the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt16Array = NDArray[np.uint16]
BoolArray = NDArray[np.bool_]
_OBJECT: Final = np.dtype(object)

Rows = slice | NDArray[Any]
"""What chooses entries of a column: a slice, or their positions."""


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples of one data type, of one device, in the order in which the device gave them.

    All columns have the same length ``n``:

    * ``tag``: int32, index into the tag table of the device (on the wire: the alias of the tag);
    * ``time_ns``: int64, source time, nanoseconds since 1970-01-01 UTC;
    * ``value``: the dtype of ``datatype`` (see ``dtype_of``);
    * ``quality``: uint16, upper half of an OPC UA status code, or ``None`` when every sample is good;
    * ``null``: bool, true where there is no value (``value`` then holds a zero or an empty text), or ``None``
      when every sample has one. A missing value is never good.
    """

    datatype: DataType
    tag: Int32Array
    time_ns: Int64Array
    value: NDArray[Any]
    quality: UInt16Array | None = None
    null: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.tag)

    def select(self, chosen: NDArray[Any] | slice) -> SampleBatch:
        """The samples that a boolean mask, an index array or a slice chooses, in its order."""
        return SampleBatch(
            self.datatype,
            self.tag[chosen],
            self.time_ns[chosen],
            self.value[chosen],
            None if self.quality is None else self.quality[chosen],
            None if self.null is None else self.null[chosen],
        )

    def with_tags(self, tag: Int32Array) -> SampleBatch:
        """The same samples under other tag numbers (for example aliases instead of indices)."""
        return SampleBatch(self.datatype, tag, self.time_ns, self.value, self.quality, self.null)

    def qualities(self) -> UInt16Array:
        """The quality column, filled with good where it was left out."""
        return np.zeros(len(self), np.uint16) if self.quality is None else self.quality

    def nulls(self) -> BoolArray:
        """The null column, filled with false where it was left out."""
        return np.zeros(len(self), np.bool_) if self.null is None else self.null

    def rows(self) -> Iterator[tuple[int, int, Any, int]]:
        """(tag, time_ns, value or None, quality) one by one: for tools and tests, never on the hot path."""
        nulls, qualities = self.nulls(), self.qualities()
        for i in range(len(self)):
            value = None if nulls[i] else self.value[i]
            if isinstance(value, np.generic):
                value = value.item()
            yield int(self.tag[i]), int(self.time_ns[i]), value, int(qualities[i])


def rows_of(tag: NDArray[Any]) -> Rows:
    """What chooses the entries of ``tag`` from a column that has one entry a tag.

    A slice where the tags are evenly spaced, rising numbers, as a poll or a publish of many tags has them: NumPy goes
    through one many times as fast as through positions. Then no tag occurs twice; otherwise it is ``tag`` itself.
    """
    last = len(tag) - 1
    if last < 1:
        return tag
    first, step = tag.item(0), tag.item(1) - tag.item(0)
    if step < 1 or tag.item(last) != first + step * last or np.count_nonzero(tag[1:] - tag[:-1] != step):
        return tag
    return slice(first, tag.item(last) + 1, step)


def have_same_tags(one: SampleBatch, other: SampleBatch) -> bool:
    """Whether both have the same tags in the same order, as two polls or two publishes of the same tags."""
    return one.tag is other.tag or (len(one) == len(other) and not np.count_nonzero(one.tag != other.tag))


def batch_of_rows(datatype: DataType, rows: Sequence[tuple[int, int, Any, int]]) -> SampleBatch:
    """A batch from (tag, time_ns, value or None, quality) rows.

    Raises ``ValueError`` when a row has no value and yet a good quality.
    """
    if not rows:
        return SampleBatch(datatype, np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, dtype_of(datatype)))
    tags, times, values, qualities = zip(*rows, strict=True)
    quality = np.array(qualities, np.uint16)
    null: BoolArray | None = None
    if any(value is None for value in values):
        null = np.array([value is None for value in values], np.bool_)
        if (quality[null] >> 14 == 0).any():
            raise ValueError("a sample without a value cannot have a good quality")
        zero: Any = b"" if datatype is DataType.BYTES else "" if dtype_of(datatype) == _OBJECT else 0
        values = tuple(zero if value is None else value for value in values)
    column = np.empty(len(rows), dtype_of(datatype))
    column[:] = values
    return SampleBatch(
        datatype, np.array(tags, np.int32), np.array(times, np.int64), column, quality if quality.any() else None, null
    )


def concatenate(batches: Sequence[SampleBatch]) -> SampleBatch:
    """One batch from several of the same data type, in their order. ``batches`` is not empty."""
    if len(batches) == 1:
        return batches[0]
    has_quality = any(batch.quality is not None for batch in batches)
    has_null = any(batch.null is not None for batch in batches)
    return SampleBatch(
        batches[0].datatype,
        np.concatenate([batch.tag for batch in batches]),
        np.concatenate([batch.time_ns for batch in batches]),
        np.concatenate([batch.value for batch in batches]),
        np.concatenate([batch.qualities() for batch in batches]) if has_quality else None,
        np.concatenate([batch.nulls() for batch in batches]) if has_null else None,
    )
