"""Samples in columns to Sparkplug metrics in bytes, without an object a sample.

The output is what any protobuf library would write for ``repeated Metric metrics = 2`` of a Payload (Sparkplug 3.0,
section 6.4.1): alias, timestamp in milliseconds, optionally ``is_historical``, value; a quality that is not good
adds the ``Quality`` property of section 6.4.15 and beside it ``StatusCode``, the OPC UA code itself.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.quality import is_bad
from connectors.model.samples import SampleBatch

Bytes2D = NDArray[np.uint8]
Column = tuple[Bytes2D, NDArray[np.int64] | None]
"""Bytes of one field, a row a sample, and how many of each row count (``None``: all)."""

NS_PER_MS: Final = 1_000_000
NS_PER_TICK: Final = 100
QUALITY_BAD: Final = 0
QUALITY_GOOD: Final = 192
QUALITY_STALE: Final = 500

_METRICS_TAG: Final = 0x12
_ALIAS_TAG: Final = 0x10
_TIMESTAMP_TAG: Final = 0x18
HISTORICAL: Final = bytes((0x28, 1))
"""``is_historical``: something newer of the tag was published before (6.4.6)."""
TRANSIENT: Final = bytes((0x30, 1))
"""``is_transient``: not to be stored (6.4.6)."""
_NULL: Final = bytes((0x38, 1))
_PROPERTIES_TAG: Final = 0x4A
_VALUE_TAGS: Final = {
    DataType.INT8: b"\x50",
    DataType.INT16: b"\x50",
    DataType.INT32: b"\x50",
    DataType.UINT8: b"\x50",
    DataType.UINT16: b"\x50",
    DataType.UINT32: b"\x50",
    DataType.INT64: b"\x58",
    DataType.UINT64: b"\x58",
    DataType.DATETIME: b"\x58",
    DataType.FLOAT: b"\x65",
    DataType.DOUBLE: b"\x69",
    DataType.BOOLEAN: b"\x70",
    DataType.STRING: b"\x7a",
    DataType.TEXT: b"\x7a",
    DataType.UUID: b"\x7a",
    DataType.BYTES: b"\x82\x01",
}

_PLAIN_BYTES_MAX: Final = 2 + 6 + 11 + 2 + 11
"""No metric of fixed width is longer (head, alias, time, history, value); text and bytes add their own length."""
_EXTRA_BYTES_MAX: Final = 2 + 48
"""What null and the properties of a bad quality add."""


def encode_metrics(batch: SampleBatch, mark: bytes = b"") -> bytes:
    """The metrics of ``batch`` (``tag`` holds aliases, not negative), in its order.

    ``mark`` is ``HISTORICAL``, ``TRANSIENT`` or nothing, and goes into each.
    """
    if not len(batch):
        return b""
    if family_of(batch.datatype) in (ValueFamily.TEXT, ValueFamily.BYTES):
        return _encode_texts(batch, mark)
    if batch.quality is None and batch.null is None:
        value = _value_bytes(batch.datatype, batch.value)
        if value[1] is None and (rows := _alike_rows(batch, value[0].shape[1], mark)) is not None:
            rows[:, rows.shape[1] - value[0].shape[1] :] = value[0]
            return rows.tobytes()
        return _join([*_head(batch, mark), _tag_column(batch), value])
    columns = [*_head(batch, mark), *_nullable_values(batch)]
    if batch.quality is not None:
        columns.append(_properties(batch.quality))
    return _join(columns)


def sub_millisecond_ticks(batch: SampleBatch) -> NDArray[np.uint16]:
    """What a millisecond timestamp leaves out of each source time, in units of 100 ns: 0 to 9,999."""
    return ((batch.time_ns % NS_PER_MS) // NS_PER_TICK).astype(np.uint16)


def encoded_bytes_max(batch: SampleBatch) -> int:
    """An upper bound on the encoded size of ``batch``, cheap enough to decide where to split it."""
    extra = 0 if batch.quality is None and batch.null is None else _EXTRA_BYTES_MAX
    total = len(batch) * (_PLAIN_BYTES_MAX + extra)
    family = family_of(batch.datatype)
    if family is ValueFamily.TEXT:
        total += sum(4 * len(text) + 8 for text in batch.value)
    elif family is ValueFamily.BYTES:
        total += sum(len(data) + 8 for data in batch.value)
    return total


def varint(value: int) -> bytes:
    """One protobuf varint; a negative number counts as its two's complement of 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varints(values: NDArray[np.uint64]) -> Column:
    top = max(1, (int(values.max()).bit_length() + 6) // 7)
    low = max(1, (int(values.min()).bit_length() + 6) // 7)
    out = np.empty((len(values), top), np.uint8)
    for position in range(top):
        out[:, position] = (values >> np.uint64(7 * position)) & np.uint64(0x7F)
    if low == top:
        out[:, : top - 1] |= 0x80
        return out, None
    length = np.ones(len(values), np.int64)
    for position in range(1, top):
        length += values >= np.uint64(1 << (7 * position))
    out[np.arange(top) < (length - 1)[:, None]] |= 0x80
    return out, length


def _constant(rows: int, data: bytes) -> Column:
    return np.broadcast_to(np.frombuffer(data, np.uint8), (rows, len(data))), None


_LOW_14: Final = (
    (np.arange(1 << 14, dtype=np.uint16) & 0x7F) | ((np.arange(1 << 14, dtype=np.uint16) >> 7) << 8) | 0x8080
)
"""The two bytes of the lowest 14 bits in a longer varint, as a little-endian uint16."""

_ALIAS_3_BYTES: Final = (1 << 14, (1 << 21) - 1)


def _alike_rows(batch: SampleBatch, value_width: int, mark: bytes) -> NDArray[np.uint8] | None:
    """Rows of metrics up to the value, for the usual batch: aliases of three bytes, times within 16 seconds.

    ``None`` when the batch is not like that. The constant bytes of all rows are laid down in one copy.
    """
    milliseconds = batch.time_ns // NS_PER_MS
    first, last = int(milliseconds.min()), int(milliseconds.max())
    low, high = int(batch.tag.min()), int(batch.tag.max())
    if first < 1 << 14 or first >> 14 != last >> 14 or low < _ALIAS_3_BYTES[0] or high > _ALIAS_3_BYTES[1]:
        return None
    time = varint(first)
    head = bytes((_ALIAS_TAG, 0x80, 0x80, 0, _TIMESTAMP_TAG)) + time + mark
    head += _VALUE_TAGS[batch.datatype]
    row = bytes((_METRICS_TAG, len(head) + value_width)) + head + bytes(value_width)
    rows, width = len(batch), len(row)
    buffer = bytearray(row * rows)
    grid = np.frombuffer(buffer, np.uint8).reshape(rows, width)
    _uint16_at(buffer, rows, width, 3)[:] = _LOW_14[batch.tag & 0x3FFF]
    grid[:, 5] = batch.tag >> 14
    if first != last:
        _uint16_at(buffer, rows, width, 7)[:] = _LOW_14[milliseconds & 0x3FFF]
    return grid


def _uint16_at(buffer: bytearray, rows: int, width: int, offset: int) -> NDArray[np.uint16]:
    return np.ndarray((rows,), "<u2", buffer, offset, (width,))


def _head(batch: SampleBatch, mark: bytes) -> list[Column]:
    rows = len(batch)
    milliseconds = (batch.time_ns // NS_PER_MS).view(np.uint64)
    columns = [
        _constant(rows, bytes((_ALIAS_TAG,))),
        _varints(batch.tag.astype(np.uint64)),
        _constant(rows, bytes((_TIMESTAMP_TAG,))),
        _varints(milliseconds),
    ]
    if mark:
        columns.append(_constant(rows, mark))
    return columns


def _tag_column(batch: SampleBatch) -> Column:
    return _constant(len(batch), _VALUE_TAGS[batch.datatype])


def _nullable_values(batch: SampleBatch) -> list[Column]:
    rows = len(batch)
    tag, value = _tag_column(batch), _value_bytes(batch.datatype, batch.value)
    if batch.null is None:
        return [tag, value]
    width = value[0].shape[1]
    length = np.full(rows, width, np.int64) if value[1] is None else value[1]
    missing = batch.null
    return [
        (tag[0], np.where(missing, 0, 1)),
        (value[0], np.where(missing, 0, length)),
        (_constant(rows, _NULL)[0], np.where(missing, 2, 0)),
    ]


def _value_bytes(datatype: DataType, value: NDArray[Any]) -> Column:
    rows = len(value)
    if datatype is DataType.DOUBLE:
        return np.ascontiguousarray(value, "<f8").view(np.uint8).reshape(rows, 8), None
    if datatype is DataType.FLOAT:
        return np.ascontiguousarray(value, "<f4").view(np.uint8).reshape(rows, 4), None
    if datatype is DataType.BOOLEAN:
        return value.astype(np.uint8).reshape(rows, 1), None
    if datatype in (DataType.INT64, DataType.DATETIME):
        return _varints(value.astype(np.int64).view(np.uint64))
    if datatype is DataType.UINT64:
        return _varints(value.astype(np.uint64))
    # 32 bits and fewer travel as uint32: a negative number as its two's complement of 32 bits.
    return _varints(value.astype(np.int64).view(np.uint64) & np.uint64(0xFFFFFFFF))


def _properties(quality: NDArray[np.uint16]) -> Column:
    codes, which = np.unique(quality, return_inverse=True)
    encoded = [quality_properties(int(code)) for code in codes]
    width = max(len(data) for data in encoded)
    table = np.zeros((len(codes), width), np.uint8)
    for row, data in enumerate(encoded):
        table[row, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.array([len(data) for data in encoded], np.int64)
    return table[which], lengths[which]


def quality_properties(quality: int) -> bytes:
    """The encoded ``properties`` field for a quality; nothing for plain good.

    ``Quality`` is Int32 with 0 (bad) or 192 (good, and uncertain, which Sparkplug does not know), ``StatusCode``
    UInt32 with the OPC UA status code.
    """
    if quality == 0:
        return b""
    sparkplug = QUALITY_BAD if is_bad(quality) else QUALITY_GOOD
    keys = b"".join(b"\x0a" + bytes((len(key),)) + key for key in (b"Quality", b"StatusCode"))
    body = keys + _property_value(3, sparkplug) + _property_value(7, quality << 16)
    return bytes((_PROPERTIES_TAG, len(body))) + body


def _property_value(datatype: int, value: int) -> bytes:
    body = b"\x08" + varint(datatype) + b"\x18" + varint(value)
    return b"\x12" + bytes((len(body),)) + body


def _join(columns: list[Column]) -> bytes:
    rows = len(columns[0][0])
    widths = [data.shape[1] for data, _ in columns]
    width = sum(widths)
    out = np.empty((rows, width + 2), np.uint8)
    out[:, 0] = _METRICS_TAG
    at = 2
    for (data, _), size in zip(columns, widths, strict=True):
        out[:, at : at + size] = data
        at += size
    if all(length is None for _, length in columns):
        out[:, 1] = width
        return out.tobytes()
    counts = np.ones((rows, width + 2), np.bool_)
    total = np.zeros(rows, np.int64)
    at = 2
    for (_, length), size in zip(columns, widths, strict=True):
        if length is None:
            total += size
        else:
            total += length
            counts[:, at : at + size] = np.arange(size) < length[:, None]
        at += size
    out[:, 1] = total
    return out[counts].tobytes()


def _encode_texts(batch: SampleBatch, mark: bytes) -> bytes:
    head = _join(_head(batch, mark))
    tag = _VALUE_TAGS[batch.datatype]
    qualities, nulls = batch.qualities().tolist(), batch.nulls().tolist()
    out: list[bytes] = []
    at = 0
    for value, quality, missing in zip(batch.value, qualities, nulls, strict=True):
        size = head[at + 1]
        body = head[at + 2 : at + 2 + size]
        at += 2 + size
        if missing:
            body += _NULL
        else:
            data = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
            body += tag + varint(len(data)) + data
        if quality:
            body += quality_properties(quality)
        out.append(b"\x12" + varint(len(body)) + body)
    return b"".join(out)
