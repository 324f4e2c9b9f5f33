"""The tables of the outbox, and how an older file becomes a current one.

``sqlite-utils`` opens the file and runs the migrations; the hot path (``outbox.py``) uses its connection directly.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Literal

from connectors.model.errors import OutboxUnavailable

PAGE_BYTES: Final = 8192
WAL_PAGES_MAX: Final = 2000
"""The write-ahead log is folded into the file when it has this many pages (16 MB)."""

Durability = Literal["full", "normal"]

_MIGRATIONS: Final = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    -- one row a start of the agent; declared once the cloud knows how far it went
    CREATE TABLE epoch (
        epoch INTEGER PRIMARY KEY, first_batch INTEGER NOT NULL, started_ms INTEGER NOT NULL,
        declared INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE definition (
        hash TEXT PRIMARY KEY, device TEXT NOT NULL, body BLOB NOT NULL, created_ms INTEGER NOT NULL,
        acknowledged INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    -- an alias belongs to one (device, name, type) for ever
    CREATE TABLE alias (
        alias INTEGER PRIMARY KEY, device TEXT NOT NULL, name TEXT NOT NULL, datatype INTEGER NOT NULL,
        UNIQUE (device, name, datatype)
    );
    CREATE TABLE device_state (
        device TEXT PRIMARY KEY, definition TEXT NOT NULL DEFAULT '', last_source_ns INTEGER,
        last_commit_ns INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE gap (
        device TEXT PRIMARY KEY, reason TEXT NOT NULL, first_ns INTEGER NOT NULL, detail TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE outbox (
        batch INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, kind INTEGER NOT NULL,
        device TEXT NOT NULL, definition TEXT NOT NULL, created_ms INTEGER NOT NULL,
        sample_count INTEGER NOT NULL, payload BLOB NOT NULL
    );
    -- batches that the cloud will never take, set aside with its reason
    CREATE TABLE refused (
        batch INTEGER NOT NULL, epoch INTEGER NOT NULL, device TEXT NOT NULL, definition TEXT NOT NULL,
        created_ms INTEGER NOT NULL, sample_count INTEGER NOT NULL, payload BLOB NOT NULL,
        reason TEXT NOT NULL, refused_ms INTEGER NOT NULL, PRIMARY KEY (epoch, batch)
    );
    """,
    """
    -- see rows.Lane; whatever is not samples leaves first
    ALTER TABLE outbox ADD COLUMN lane INTEGER NOT NULL DEFAULT 2;
    UPDATE outbox SET lane = 0 WHERE kind <> 3;
    CREATE INDEX outbox_urgent ON outbox (batch) WHERE lane < 2;
    -- samples that came while there was no room, summed up until a gap record tells of them
    CREATE TABLE not_taken (
        device TEXT NOT NULL, reason TEXT NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,
        sample_count INTEGER NOT NULL, aliases TEXT, since_ms INTEGER NOT NULL, PRIMARY KEY (device, reason)
    ) WITHOUT ROWID;
    """,
)
SCHEMA_VERSION: Final = len(_MIGRATIONS)


def open_outbox_file(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open the outbox at ``path``, creating or migrating it; the connection belongs to the calling thread.

    Raises ``OutboxUnavailable`` when the file cannot be opened, is not an outbox, or was written by a newer version.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX}")
        connection.execute("PRAGMA secure_delete=OFF")  # some builds zero deleted pages: each row written twice
        connection.execute("PRAGMA trusted_schema=OFF")
        _migrate(connection, path)
    except sqlite3.Error as exc:
        raise OutboxUnavailable(f"the outbox {path} cannot be opened: {exc}") from exc
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for another thread. Raises ``OutboxUnavailable``."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error as exc:
        raise OutboxUnavailable(f"the outbox {path} cannot be read: {exc}") from exc
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise OutboxUnavailable(
            f"the outbox {path} was written by a newer Lineside (schema {version}, this one knows {SCHEMA_VERSION}); "
            "install that version again, or move the file away"
        )
    if version == SCHEMA_VERSION:
        return
    from sqlite_utils import Database  # takes a quarter of a second to load, which most starts need not spend

    database = Database(connection)
    for number in range(version, SCHEMA_VERSION):
        statements = f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}PRAGMA user_version={number + 1};COMMIT;"
        database.conn.executescript(statements)
