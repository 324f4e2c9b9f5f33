"""What waits in the outbox and what its files take on the disk: two numbers that have little to do with each other.

The files keep the size that they once needed, and the write-ahead log is 16 MB long while nothing waits at all.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from connectors.model.errors import OutboxUnavailable
from edge_agent.buffer.schema import open_reader


@dataclass(frozen=True, slots=True)
class OutboxFiles:
    """Bytes on the disk."""

    database_bytes: int
    wal_bytes: int


def outbox_files(path: Path) -> OutboxFiles:
    """The sizes of the files of the outbox at ``path``; 0 for a file that is not there."""
    return OutboxFiles(_size(path), _size(path.with_name(path.name + "-wal")))


def waiting_bytes(path: Path) -> int:
    """The payload of all batches that wait, in a connection of its own: asked by people, who ask seldom.

    Raises ``OutboxUnavailable``.
    """
    with contextlib.closing(open_reader(path)) as connection:
        try:
            (found,) = connection.execute("SELECT coalesce(sum(length(payload)), 0) FROM outbox").fetchone()
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {path} cannot be read: {exc}") from exc
    return int(found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
