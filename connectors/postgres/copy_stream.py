"""Records as rows: the stream of a binary COPY, and the headers of a record as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from connectors.ports.event_log import Record

_STREAM_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_STREAM_TRAILER: Final = struct.pack(">h", -1)
_ROW: Final = struct.Struct(">hiiiqiqi")
_LENGTH: Final = struct.Struct(">i")
_LENGTHS: Final = struct.Struct(">HI")
_NULL: Final = _LENGTH.pack(-1)
_COLUMN_COUNT: Final = 6


def copy_stream(rows: Iterable[tuple[int, int, Record]]) -> bytes:
    """The stream for (partition, offset, record) rows, in the order of ``event_log_schema.COLUMNS``."""
    parts = [_STREAM_HEADER]
    for partition, offset, record in rows:
        key, headers, value = record.key, record.headers, record.value
        parts.append(_ROW.pack(_COLUMN_COUNT, 4, partition, 8, offset, 8, record.time_ms, len(key)))
        parts.append(key)
        if headers:
            packed = pack_headers(headers)
            parts.append(_LENGTH.pack(len(packed)))
            parts.append(packed)
        else:
            parts.append(_NULL)
        parts.append(_LENGTH.pack(len(value)))
        parts.append(value)
    parts.append(_STREAM_TRAILER)
    return b"".join(parts)


def pack_headers(headers: tuple[tuple[str, bytes], ...]) -> bytes:
    """Each header as the lengths of name (2 bytes) and value (4 bytes), then both."""
    parts = []
    for name, value in headers:
        encoded = name.encode()
        parts += [_LENGTHS.pack(len(encoded), len(value)), encoded, value]
    return b"".join(parts)


def unpack_headers(packed: bytes | None) -> tuple[tuple[str, bytes], ...]:
    """What ``pack_headers`` was given; nothing for NULL."""
    if not packed:
        return ()
    headers, at = [], 0
    while at < len(packed):
        name_length, value_length = _LENGTHS.unpack_from(packed, at)
        at += _LENGTHS.size
        name_end = at + name_length
        headers.append((packed[at:name_end].decode(), packed[name_end : name_end + value_length]))
        at = name_end + value_length
    return tuple(headers)
