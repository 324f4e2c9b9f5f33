"""Epochs: one a start of the agent, each declared to the cloud, first to last number, by the starts that follow."""

from __future__ import annotations

import json
import sqlite3

from connectors.model.delivery import Epoch
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.definitions import reserve_aliases
from edge_agent.buffer.high_water import EpochBegun, Mark
from edge_agent.buffer.losses import Losses, known_devices, known_epochs, spread
from edge_agent.buffer.rows import EpochSpan


def begin_epoch(connection: sqlite3.Connection, epoch: Epoch, first: int, now_ms: int) -> bytes:
    """Enter ``epoch``, whose first batch number is ``first``; the record that tells the cloud, within a transaction."""
    earlier = _earlier_epochs(connection, first)
    _forget_epochs(connection, first)
    connection.execute("INSERT INTO epoch (epoch, first_batch, started_ms) VALUES (?,?,?)", (epoch, first, now_ms))
    document = {
        "epoch": format_epoch(epoch),
        "first": first,
        "started_ms": now_ms,
        "earlier": [{"epoch": format_epoch(e.epoch), "first": e.first, "last": e.last} for e in earlier],
    }
    return json.dumps(document).encode()


def last_number(connection: sqlite3.Connection) -> int:
    """The highest batch number that the file knows of."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
    return max(_newest_row(connection)[0], row[0] if row is not None and type(row[0]) is int else 0)


def learn_from_mark(connection: sqlite3.Connection, mark: Mark | None, now_ms: int) -> tuple[int, Losses]:
    """The highest number that was given, and what the file has forgotten, within a transaction.

    Starts that it does not know any more are entered, so that the cloud hears how far they went.
    """
    held = last_number(connection)
    if mark is None:
        return held, Losses()
    reserve_aliases(connection, mark.alias)
    epochs = known_epochs(connection)
    newest, newest_ms = _newest_row(connection)
    if any(each.epoch == mark.newest.epoch for each in epochs) and held > mark.last:
        held = max(mark.last, newest)  # the file's own count has no checksum, and no row is behind it
        connection.execute("UPDATE sqlite_sequence SET seq=? WHERE name='outbox'", (held,))
    if held >= mark.last:
        return held, Losses()
    forgotten = spread([(held + 1, mark.last)], mark.epochs)
    entered = [each for each in mark.epochs if each.epoch in forgotten and each not in epochs]
    connection.executemany(
        "INSERT OR IGNORE INTO epoch (epoch, first_batch, started_ms) VALUES (?,?,?)",
        [(each.epoch, max(each.first, held + 1), each.started_ms) for each in entered],
    )
    gone = spread([(max(held + 1, mark.oldest), mark.last)] if mark.last >= mark.oldest else [], mark.epochs)
    count = sum(len(ranges) for ranges in gone.values())
    detail = (
        f"the outbox knows nothing of its last {count} batches: was its write-ahead log lost, or the disk set back?"
    )
    return mark.last, Losses(gone, newest_ms or mark.since_ms, now_ms, detail, known_devices(connection))


def mark_of_start(
    connection: sqlite3.Connection, before: Mark | None, begun: EpochBegun, last: int, alias: int
) -> Mark:
    """The mark with which a start begins."""
    earlier = tuple(each for each in known_epochs(connection) if each.epoch != begun.epoch)
    if before is None:
        oldest = min((each.first for each in earlier), default=begun.first)
        since_ms = min((each.started_ms for each in earlier), default=begun.started_ms)
        return Mark(begun, last, oldest, since_ms, alias, earlier)
    return Mark(begun, last, before.oldest, before.since_ms, max(alias, before.alias), earlier)


def _newest_row(connection: sqlite3.Connection) -> tuple[int, int]:
    row = connection.execute("SELECT batch, created_ms FROM outbox ORDER BY batch DESC LIMIT 1").fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def _forget_epochs(connection: sqlite3.Connection, first: int) -> None:
    """Forget the starts that the cloud knows to have ended, and of which no row is left."""
    rows = connection.execute("SELECT epoch, first_batch, declared FROM epoch ORDER BY first_batch").fetchall()
    ends = [row[1] for row in rows[1:]] + [first]
    for (epoch, begun, declared), end in zip(rows, ends, strict=False):
        query = "SELECT 1 FROM outbox WHERE batch>=? AND batch<? LIMIT 1"
        if declared and connection.execute(query, (begun, end)).fetchone() is None:
            connection.execute("DELETE FROM epoch WHERE epoch=?", (epoch,))


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
