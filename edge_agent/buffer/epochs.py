"""Epochs: one a start of the agent, each declared to the cloud, first to last number, by the starts that follow."""

from __future__ import annotations

import json
import sqlite3

from connectors.model.delivery import Epoch
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.rows import EpochSpan


def begin_epoch(connection: sqlite3.Connection, epoch: Epoch, first: int, now_ms: int) -> bytes:
    """Enter ``epoch``, whose first batch number is ``first``; the record that tells the cloud, within a transaction."""
    earlier = _earlier_epochs(connection, first)
    connection.execute("INSERT INTO epoch (epoch, first_batch, started_ms) VALUES (?,?,?)", (epoch, first, now_ms))
    connection.execute("DELETE FROM epoch WHERE declared AND epoch NOT IN (SELECT DISTINCT epoch FROM outbox)")
    document = {
        "epoch": format_epoch(epoch),
        "first": first,
        "started_ms": now_ms,
        "earlier": [{"epoch": format_epoch(e.epoch), "first": e.first, "last": e.last} for e in earlier],
    }
    return json.dumps(document).encode()


def _earlier_epochs(connection: sqlite3.Connection, first: int) -> list[EpochSpan]:
    """Epochs whose end the cloud does not know yet, and how far each went."""
    rows = connection.execute(
        "SELECT epoch, first_batch, declared FROM epoch ORDER BY first_batch, started_ms"
    ).fetchall()
    ends = [row[1] - 1 for row in rows[1:]] + [first - 1]
    return [
        EpochSpan(Epoch(epoch), begun, last)
        for (epoch, begun, declared), last in zip(rows, ends, strict=False)
        if not declared
    ]
