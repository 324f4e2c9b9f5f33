"""What the cloud has leaves the outbox; runs inside one of its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from connectors.model.delivery import BatchRanges, Epoch
from edge_agent.buffer.rows import Kind


def delete_acknowledged(connection: sqlite3.Connection, acknowledged: Mapping[Epoch, BatchRanges]) -> None:
    """Delete what is acknowledged, and note what the cloud knows now: definitions, and how far starts went."""
    for epoch, ranges in acknowledged.items():
        for first, last in ranges:
            for hash_, kind in connection.execute(
                "SELECT definition, kind FROM outbox WHERE batch BETWEEN ? AND ? AND epoch=? AND kind IN (?,?)",
                (first, last, epoch, Kind.DEFINITION, Kind.EPOCH_START),
            ).fetchall():
                if kind == Kind.DEFINITION:
                    connection.execute("UPDATE definition SET acknowledged=1 WHERE hash=?", (hash_,))
                else:
                    connection.execute(
                        "UPDATE epoch SET declared=1 WHERE first_batch < (SELECT first_batch FROM epoch WHERE epoch=?)",
                        (epoch,),
                    )
            connection.execute("DELETE FROM outbox WHERE batch BETWEEN ? AND ? AND epoch=?", (first, last, epoch))
