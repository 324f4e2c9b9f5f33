"""A checksum for each row of the outbox, over all of its columns as they are stored.

SQLite has none for its pages: without it, a value that the disk gives back wrongly would be sent as if it were right.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

INSERT_ROW: Final = "INSERT INTO outbox VALUES (?,?,?,?,?,?,?,?,?,?)"
"""Takes what ``with_checksum`` gives."""

Row = tuple[int, int, int, str, str, int, int, bytes, int]
"""Batch, epoch, kind, device, definition, created_ms, sample_count, payload, lane."""

StoredRow = tuple[int, int, int, str, str, int, int, bytes, int, int | None]
"""The same with its checksum, as ``SELECT *`` gives it; ``None`` in a row of an older version of Lineside."""


def with_checksum(row: Row) -> StoredRow:
    """``row`` as it is stored."""
    return (*row, _checksum(row))


def is_intact(row: StoredRow) -> bool:
    """Whether a row that was read is the one that was written; a damaged one may hold any types."""
    checksum = row[-1]
    if checksum is None:
        return _has_types(row)
    return type(row[7]) is bytes and checksum == _checksum(row[:9])


def _checksum(row: Row) -> int:
    batch, epoch, kind, device, definition, created_ms, count, payload, lane = row
    head = f"{batch} {epoch} {kind} {created_ms} {count} {lane} {device}\0{definition}\0"
    return crc32(payload, crc32(head.encode("utf-8", "replace")))


def _has_types(row: tuple[object, ...]) -> bool:
    wanted = (int, int, int, str, str, int, int, bytes, int)
    return all(type(value) is type_ for value, type_ in zip(row, wanted, strict=False))
