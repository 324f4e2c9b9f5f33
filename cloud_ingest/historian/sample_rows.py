"""Samples in columns to rows of table ``sample``, as PostgreSQL's binary COPY wants them, without an object a row.

The format is that of the PostgreSQL manual, section COPY, Binary Format: each row is a count of fields, then each field
with its length; numbers are big-endian; -1 as length is NULL; time is microseconds since 2000-01-01.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import ValueFamily, family_of
from connectors.model.samples import SampleBatch

COLUMNS: Final = (
    "time", "tag_id", "tenant_id", "quality", "value_double", "value_int", "value_bool", "value_text", "value_bytes",
)  # fmt: skip
HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER: Final = struct.pack(">h", -1)
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
BIGINT_MAX: Final = (1 << 63) - 1

_NULL: Final = struct.pack(">i", -1)
_FIELDS: Final = struct.pack(">h", len(COLUMNS))
_FIXED: Final = _FIELDS + b"".join(struct.pack(">i", size) + bytes(size) for size in (8, 4, 4, 4))
_TIME_AT, _TAG_AT, _TENANT_AT, _QUALITY_AT = 6, 18, 26, 34
_VALUE_AT: Final = len(_FIXED) + 4
_PLACE: Final = {
    ValueFamily.FLOAT: (0, 8, ">f8"),
    ValueFamily.INT: (1, 8, ">i8"),
    ValueFamily.UINT: (1, 8, ">i8"),
    ValueFamily.BOOL: (2, 1, "?"),
}
_TEXT_PLACE: Final = {ValueFamily.TEXT: 3, ValueFamily.BYTES: 4}
_VALUE_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Samples that are to be stored: ``batch.tag`` holds tag ids, all of one tenant.

    ``time_us`` is microseconds since 1970, UTC: PostgreSQL keeps no more than that of a source time.
    """

    tenant_id: int
    batch: SampleBatch
    time_us: NDArray[np.int64]

    @classmethod
    def of(cls, tenant_id: int, batch: SampleBatch) -> SampleRows:
        """The rows of ``batch``."""
        return cls(tenant_id, batch, batch.time_ns // 1000)

    def select(self, chosen: NDArray[Any]) -> SampleRows:
        """The rows that a mask or an index array chooses."""
        return SampleRows(self.tenant_id, self.batch.select(chosen), self.time_us[chosen])


def copy_data(parts: Sequence[SampleRows]) -> bytes:
    """A whole COPY stream with the rows of ``parts``, in their order."""
    pieces = [HEADER]
    for part in parts:
        pieces += _rows(part)
    pieces.append(TRAILER)
    return b"".join(pieces)


def _rows(part: SampleRows) -> list[bytes]:
    null = part.batch.null
    if null is not None:
        return [*_missing_rows(part.select(null)), *_value_rows(_without_nulls(part.select(~null)))]
    return _value_rows(part)


def _without_nulls(part: SampleRows) -> SampleRows:
    batch = part.batch
    present = SampleBatch(batch.datatype, batch.tag, batch.time_ns, batch.value, batch.quality)
    return SampleRows(part.tenant_id, present, part.time_us)


def _missing_rows(part: SampleRows) -> list[bytes]:
    return [_filled(part, _FIXED + _NULL * _VALUE_COLUMNS)] if len(part.batch) else []


def _value_rows(part: SampleRows) -> list[bytes]:
    batch = part.batch
    if not len(batch):
        return []
    family = family_of(batch.datatype)
    if family in _TEXT_PLACE:
        return _text_rows(part, _TEXT_PLACE[family])
    if family is ValueFamily.UINT and (big := batch.value > BIGINT_MAX).any():
        digits = _as_digits(part.select(big))
        return [*_text_rows(digits, _TEXT_PLACE[ValueFamily.TEXT]), *_value_rows(part.select(~big))]
    column, size, dtype = _PLACE[family]
    before, after = _NULL * column, _NULL * (_VALUE_COLUMNS - 1 - column)
    row = _FIXED + before + struct.pack(">i", size) + bytes(size) + after
    buffer = _filled_buffer(part, row)
    at = _VALUE_AT + len(before)
    np.ndarray((len(batch),), dtype, buffer, at, (len(row),))[:] = batch.value
    return [bytes(buffer)]


def _as_digits(part: SampleRows) -> SampleRows:
    digits = np.array([str(value) for value in part.batch.value.tolist()], object)
    batch = part.batch
    return SampleRows(
        part.tenant_id, SampleBatch(batch.datatype, batch.tag, batch.time_ns, digits, batch.quality), part.time_us
    )


def _text_rows(part: SampleRows, column: int) -> list[bytes]:
    fixed = _filled(part, _FIXED)
    width = len(_FIXED)
    before, after = _NULL * column, _NULL * (_VALUE_COLUMNS - 1 - column)
    rows: list[bytes] = []
    for index, value in enumerate(part.batch.value):
        data = value if isinstance(value, bytes) else storable_text(value).encode("utf-8", "replace")
        rows += (fixed[index * width : (index + 1) * width], before, struct.pack(">i", len(data)), data, after)
    return rows


def storable_text(text: str) -> str:
    """``text`` without the one character that PostgreSQL's text cannot hold: U+0000 becomes U+FFFD."""
    return text.replace("\x00", "�") if "\x00" in text else text


def _filled(part: SampleRows, row: bytes) -> bytes:
    return bytes(_filled_buffer(part, row))


def _filled_buffer(part: SampleRows, row: bytes) -> bytearray:
    """``row`` once for each sample, with time, tag, tenant and quality filled in."""
    batch, count, width = part.batch, len(part.batch), len(row)
    tenant = struct.pack(">i", part.tenant_id)
    buffer = bytearray((row[:_TENANT_AT] + tenant + row[_TENANT_AT + 4 :]) * count)
    np.ndarray((count,), ">i8", buffer, _TIME_AT, (width,))[:] = part.time_us - POSTGRES_EPOCH_US
    np.ndarray((count,), ">i4", buffer, _TAG_AT, (width,))[:] = batch.tag
    if batch.quality is not None:
        np.ndarray((count,), ">i4", buffer, _QUALITY_AT, (width,))[:] = batch.quality
    return buffer
