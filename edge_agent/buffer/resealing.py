"""What is in an outbox, sealed anew: with the current key, or plain where there is none any more.

At a start of the agent only what stays for long (definitions, names of tags, open gaps), and only when the key is
another one than that of the last start; batches leave by themselves. ``edge-agent buffer reseal`` does all of it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from connectors.model.errors import PayloadInvalid
from edge_agent.buffer.checksums import is_intact, with_checksum
from edge_agent.buffer.sealing import KeyLost, Sealing, alias_place, definition_place, gap_place

KEY_IN_META: Final = "sealed_with"
"""The id of the key of the last start in table ``meta``; empty: it stored plain."""
ROWS_AT_ONCE: Final = 64

_NAMES: Final[tuple[tuple[str, str, str, Callable[..., str], bool], ...]] = (
    ("definition", "hash", "body", definition_place, False),
    ("alias", "alias", "name", alias_place, True),
    ("gap", "device", "detail", gap_place, True),
)
"""Table, key, column, where it belongs, and whether it is a text."""


@dataclass(slots=True)
class Resealed:
    """What was done: values sealed anew (or plain now), and why others stay as they are, by the reason."""

    changed: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    lost_keys: set[str] = field(default_factory=set)

    def refuse(self, error: PayloadInvalid) -> None:
        """One value cannot be opened."""
        self.unreadable[str(error)] += 1
        if isinstance(error, KeyLost):
            self.lost_keys.add(error.key_id)


def seal_names(connection: sqlite3.Connection, sealing: Sealing) -> set[str]:
    """Seal what stays for long with the key of this start, within a transaction.

    Returns the ids of the keys that are needed and not configured. Costs nothing when the last start had the same key.
    """
    row = connection.execute("SELECT value FROM meta WHERE key=?", (KEY_IN_META,)).fetchone()
    if row is not None and row[0] == sealing.key_id:
        return set()
    done = Resealed()
    _seal_names(connection, sealing, done)
    if row is not None and not sealing.knows(row[0]):
        done.lost_keys.add(row[0])
    return done.lost_keys


def reseal_all(connection: sqlite3.Connection, sealing: Sealing, progress: Callable[[], None]) -> Resealed:
    """Seal everything with the current key; ``progress`` is called for each batch.

    In transactions of a few rows each: after an interruption a second run goes on. Raises ``sqlite3.Error``.
    """
    done = Resealed()
    with _transaction(connection):
        _seal_names(connection, sealing, done)
    for reseal in (_reseal_waiting, _reseal_refused):
        after = -1
        while True:
            with _transaction(connection):
                count, after = reseal(connection, sealing, done, after)
            if not count:
                break
            for _ in range(count):
                progress()
    return done


def _seal_names(connection: sqlite3.Connection, sealing: Sealing, done: Resealed) -> None:
    for table, key, column, place_of, is_text in _NAMES:
        rows = connection.execute(f"SELECT {key}, {column} FROM {table} ORDER BY {key}").fetchall()  # noqa: S608
        for owner, stored in rows:
            if sealing.is_current(stored):
                continue
            place = place_of(owner)
            try:
                new: str | bytes = (
                    sealing.seal_text(sealing.open_text(stored, place), place)
                    if is_text
                    else sealing.seal_bytes(sealing.open_bytes(stored, place), place)
                )
            except PayloadInvalid as exc:
                done.refuse(exc)
                continue
            # A tag has two aliases where a key was lost and came back: in plain text the newer one replaces the other.
            connection.execute(f"UPDATE OR REPLACE {table} SET {column}=? WHERE {key}=?", (new, owner))  # noqa: S608
            done.changed += 1
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", (KEY_IN_META, sealing.key_id))


def _reseal_waiting(connection: sqlite3.Connection, sealing: Sealing, done: Resealed, after: int) -> tuple[int, int]:
    """The next rows of table ``outbox``: how many, and the number of the last."""
    query = "SELECT * FROM outbox WHERE batch>? ORDER BY batch LIMIT ?"
    rows = connection.execute(query, (after, ROWS_AT_ONCE)).fetchall()
    for row in rows:
        batch, epoch, payload, lane = row[0], row[1], row[7], row[8]
        try:
            if not is_intact(row):  # a new checksum would make it look whole
                raise PayloadInvalid("the row is damaged")
            if sealing.is_current(payload):
                continue
            new = sealing.reseal_batch(payload, epoch, batch, lane)
        except PayloadInvalid as exc:
            done.refuse(exc)
            continue
        checksum = with_checksum((*row[:7], new, lane))[-1]
        connection.execute("UPDATE outbox SET payload=?, checksum=? WHERE batch=?", (new, checksum, batch))
        done.changed += 1
    return len(rows), rows[-1][0] if rows else after


def _reseal_refused(connection: sqlite3.Connection, sealing: Sealing, done: Resealed, after: int) -> tuple[int, int]:
    """The next rows of table ``refused``: how many, and the rowid of the last."""
    query = "SELECT rowid, epoch, batch, payload FROM refused WHERE rowid>? ORDER BY rowid LIMIT ?"
    rows = connection.execute(query, (after, ROWS_AT_ONCE)).fetchall()
    for rowid, epoch, batch, payload in rows:
        if sealing.is_current(payload):
            continue
        try:
            new = sealing.reseal_batch(payload, epoch, batch, None)
        except PayloadInvalid as exc:
            done.refuse(exc)
            continue
        connection.execute("UPDATE refused SET payload=? WHERE rowid=?", (new, rowid))
        done.changed += 1
    return len(rows), rows[-1][0] if rows else after


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
