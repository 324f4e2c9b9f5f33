"""Rows of the outbox read back from disk, over a connection of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer.checksums import StoredRow, is_intact
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.damage import named_errors
from edge_agent.buffer.rows import Kind, Lane, OutboxStatus, StoredBatch
from edge_agent.buffer.sealing import PLAIN, KeyLost, Sealing

_LANES: Final = {None: "", True: "AND lane<2", False: "AND NOT coalesce(lane<2, 0)"}
"""A row whose lane is damaged is in one of the two as well."""


def read_batches(
    connection: sqlite3.Connection,
    after: int,
    count_max: int,
    bytes_max: int,
    *,
    urgent: bool | None = None,
    sealing: Sealing = PLAIN,
) -> list[StoredBatch]:
    """The next rows after batch number ``after``, in order: at most so many, and so many bytes (but at least one).

    ``urgent``: only records and alarms, or only samples.

    Raises ``OutboxUnavailable``, ``OutboxDamaged``.
    """
    found: list[StoredBatch] = []
    size = 0
    with named_errors(None, "read"):
        query = f"SELECT * FROM outbox WHERE batch>? {_LANES[urgent]} ORDER BY batch LIMIT ?"  # noqa: S608
        for row in connection.execute(query, (after, count_max)):
            found.append(stored_batch(row, sealing))
            size += found[-1].size_bytes
            if size >= bytes_max:
                break
    return found


def read_status(connection: sqlite3.Connection, path: Path, epoch: Epoch) -> OutboxStatus:
    """The outbox in numbers, whose work does not grow with it. Raises ``OutboxUnavailable``, ``OutboxDamaged``."""
    with named_errors(path, "read"):
        batches, samples = connection.execute("SELECT batches, samples FROM waiting").fetchone() or (0, 0)
        first = connection.execute("SELECT created_ms FROM outbox ORDER BY batch LIMIT 1").fetchone()
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
    return OutboxStatus(
        batches, samples, file_bytes(path), first[0] if first else None, 0 if row is None else row[0], epoch
    )


def file_bytes(path: Path) -> int:
    """Bytes that the outbox takes on disk, its write-ahead log included."""
    files: Iterable[Path] = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def stored_batch(row: StoredRow, sealing: Sealing = PLAIN) -> StoredBatch:
    """A row as a batch; one that is damaged, or whose key is lost, has neither parts nor record, but says why."""
    if not is_intact(row):
        return _damaged(row)
    number, epoch, kind, device, definition, created_ms, count, payload, lane, _checksum = row
    parts: tuple[SampleBatch, ...] = ()
    record = b""
    unreadable = ""
    try:
        record = sealing.open_batch(payload, epoch, number, lane)
        if kind == Kind.SAMPLES:
            record, parts = b"", tuple(unpack_columns(record))
    except KeyLost as exc:
        unreadable = str(exc)
    except PayloadInvalid as exc:
        record, unreadable = b"", f"the row is damaged: {exc}"
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
        unreadable,
    )


def _damaged(row: StoredRow) -> StoredBatch:
    """A row that is not as it was written: nothing of it but its place can be believed."""
    number, epoch, _, device, *_ = row
    return StoredBatch(
        BatchNumber(number),
        Epoch(epoch if type(epoch) is int else 0),
        Kind.SAMPLES,
        DeviceName(str(device)),
        DefinitionHash(""),
        0,
        0,
        0,
        lane=Lane.SAMPLES,
        unreadable="the row is damaged: its checksum is wrong",
    )
