"""Samples as a row of the outbox keeps them: their columns, one after the other.

Layout (little-endian): ``LS``, version, number of parts; then for each part data type (u8), flags (u8), two zero bytes,
count (u32), and its columns: alias int32, source time int64, quality uint16 (flag 1), null uint8 (flag 2), values.
Fixed-width values are an array; texts and bytes are their lengths (uint32) and then all of them together.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch

_MAGIC: Final = b"LS"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<2sBB")
_PART: Final = struct.Struct("<BBxxI")
_HAS_QUALITY: Final = 1
_HAS_NULL: Final = 2
_OBJECT: Final = np.dtype(object)


def pack_columns(parts: Sequence[SampleBatch]) -> bytes:
    """The bytes of ``parts`` (``tag`` holds aliases); at most 255 parts."""
    out = [_HEAD.pack(_MAGIC, _VERSION, len(parts))]
    for part in parts:
        flags = (part.quality is not None) * _HAS_QUALITY | (part.null is not None) * _HAS_NULL
        out.append(_PART.pack(part.datatype, flags, len(part)))
        out.append(part.tag.astype("<i4", copy=False).tobytes())
        out.append(part.time_ns.astype("<i8", copy=False).tobytes())
        if part.quality is not None:
            out.append(part.quality.astype("<u2", copy=False).tobytes())
        if part.null is not None:
            out.append(part.null.astype("u1", copy=False).tobytes())
        out.append(_pack_values(part))
    return b"".join(out)


def unpack_columns(data: bytes) -> list[SampleBatch]:
    """The parts that ``pack_columns`` wrote. Raises ``PayloadInvalid`` when the bytes are damaged."""
    try:
        magic, version, count = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != _VERSION:
            raise PayloadInvalid(f"not a row of samples (begins with {data[:4]!r})")
        if count == 0:
            raise ValueError("it has no samples")
        parts: list[SampleBatch] = []
        at = _HEAD.size
        for _ in range(count):
            part, at = _unpack_part(data, at)
            parts.append(part)
    except (struct.error, ValueError, UnicodeDecodeError) as exc:
        raise PayloadInvalid(f"a row of samples is damaged: {exc}") from exc
    if at != len(data):
        raise PayloadInvalid(f"a row of samples has {len(data) - at} bytes too many")
    return parts


def _pack_values(part: SampleBatch) -> bytes:
    dtype = dtype_of(part.datatype)
    if dtype != _OBJECT:
        return part.value.astype(dtype.newbyteorder("<"), copy=False).tobytes()
    encoded = [value if isinstance(value, bytes) else value.encode("utf-8", "replace") for value in part.value]
    lengths = np.array([len(value) for value in encoded], "<u4")
    return lengths.tobytes() + b"".join(encoded)


def _unpack_part(data: bytes, at: int) -> tuple[SampleBatch, int]:
    number, flags, count = _PART.unpack_from(data, at)
    datatype = DataType(number)
    if count == 0:
        raise ValueError("it has a part without samples")
    at += _PART.size
    tag, at = _column(data, at, "<i4", count)
    time_ns, at = _column(data, at, "<i8", count)
    quality = null = None
    if flags & _HAS_QUALITY:
        quality, at = _column(data, at, "<u2", count)
    if flags & _HAS_NULL:
        null, at = _column(data, at, "?", count)
    dtype = dtype_of(datatype)
    if dtype != _OBJECT:
        value, at = _column(data, at, dtype.newbyteorder("<"), count)
    else:
        value, at = _unpack_objects(data, at, count, datatype)
    return SampleBatch(datatype, tag, time_ns, value, quality, null), at


def _column(data: bytes, at: int, dtype: Any, count: int) -> tuple[NDArray[Any], int]:
    column: NDArray[Any] = np.frombuffer(data, dtype, count, at)
    return column, at + column.nbytes


def _unpack_objects(data: bytes, at: int, count: int, datatype: DataType) -> tuple[NDArray[Any], int]:
    lengths, at = _column(data, at, "<u4", count)
    value = np.empty(count, object)
    for index, length in enumerate(lengths.tolist()):
        piece = data[at : at + length]
        if len(piece) != length:
            raise ValueError("a text is cut off")
        value[index] = piece if datatype is DataType.BYTES else piece.decode("utf-8")
        at += length
    return value, at
