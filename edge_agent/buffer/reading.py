"""Rows of the outbox read back from disk, over a connection of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.errors import OutboxUnavailable, PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.rows import Kind, Lane, OutboxStatus, StoredBatch

_LANES: Final = {None: "", True: "AND lane<2", False: "AND lane=2"}


def read_batches(
    connection: sqlite3.Connection, after: int, count_max: int, bytes_max: int, *, urgent: bool | None = None
) -> list[StoredBatch]:
    """The next rows after batch number ``after``, in order: at most so many, and so many bytes (but at least one).

    ``urgent``: only records and alarms, or only samples.

    Raises ``OutboxUnavailable``.
    """
    found: list[StoredBatch] = []
    size = 0
    try:
        query = f"SELECT * FROM outbox WHERE batch>? {_LANES[urgent]} ORDER BY batch LIMIT ?"  # noqa: S608
        for row in connection.execute(query, (after, count_max)):
            found.append(stored_batch(row))
            size += len(row[7])
            if size >= bytes_max:
                break
    except sqlite3.Error as exc:
        raise OutboxUnavailable(f"the outbox cannot be read: {exc}") from exc
    return found


def read_status(connection: sqlite3.Connection, path: Path, epoch: Epoch) -> OutboxStatus:
    """The outbox in numbers. Raises ``OutboxUnavailable``."""
    try:
        batches, samples, oldest = connection.execute(
            "SELECT count(*), coalesce(sum(sample_count), 0), min(created_ms) FROM outbox"
        ).fetchone()
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
    except sqlite3.Error as exc:
        raise OutboxUnavailable(f"the outbox {path} cannot be read: {exc}") from exc
    return OutboxStatus(batches, samples, file_bytes(path), oldest, 0 if row is None else row[0], epoch)


def file_bytes(path: Path) -> int:
    """Bytes that the outbox takes on disk, its write-ahead log included."""
    files: Iterable[Path] = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def stored_batch(row: tuple[int, int, int, str, str, int, int, bytes, int]) -> StoredBatch:
    """A row as a batch. A damaged row of samples has no parts, and the reason as its record."""
    number, epoch, kind, device, definition, created_ms, count, payload, lane = row
    parts: tuple[SampleBatch, ...] = ()
    record = payload
    if kind == Kind.SAMPLES:
        record = b""
        try:
            parts = tuple(unpack_columns(payload))
        except PayloadInvalid as exc:
            record = str(exc).encode()
    return StoredBatch(
        BatchNumber(number),
        Epoch(epoch),
        Kind(kind),
        DeviceName(device),
        DefinitionHash(definition),
        created_ms,
        count,
        len(payload),
        parts,
        record,
        Lane(lane),
    )
