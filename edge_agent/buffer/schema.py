"""The tables of the outbox, and how an older file becomes a current one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Literal

from connectors.model.errors import OutboxDamaged, OutboxTooNew, OutboxUnavailable

PAGE_BYTES: Final = 8192
WAL_PAGES_MAX: Final = 2000
"""The write-ahead log is folded into the file when it has this many pages (16 MB)."""

WAL_PAGES_MIN: Final = 8
BUSY_MS: Final = 5000

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
    """
    -- see checksums.py; none in rows of older versions
    ALTER TABLE outbox ADD COLUMN checksum INTEGER;
    """,
    """
    -- see telling.py
    CREATE TABLE given_up (
        epoch INTEGER NOT NULL, device TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
        first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, sample_count INTEGER NOT NULL, aliases TEXT,
        PRIMARY KEY (epoch, device, reason)
    ) WITHOUT ROWID;
    CREATE TABLE given_up_batches (
        epoch INTEGER NOT NULL, reason TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (epoch, reason, first)
    ) WITHOUT ROWID;
    -- how many there are, so that nobody has to count them
    CREATE TABLE waiting (
        one INTEGER PRIMARY KEY CHECK (one = 1), batches INTEGER NOT NULL, samples INTEGER NOT NULL
    );
    INSERT INTO waiting SELECT 1, count(*), coalesce(sum(max(sample_count, 0)), 0) FROM outbox;
    CREATE TRIGGER outbox_came AFTER INSERT ON outbox BEGIN
        UPDATE waiting SET batches = batches + 1, samples = samples + NEW.sample_count;
    END;
    -- a damaged row may say anything of its samples, and has to leave all the same
    CREATE TRIGGER outbox_left AFTER DELETE ON outbox BEGIN
        UPDATE waiting SET batches = batches - 1, samples = CASE batches WHEN 1 THEN 0 ELSE max(0, samples -
        CASE WHEN typeof(OLD.sample_count) = 'integer' THEN min(max(OLD.sample_count, 0), samples) ELSE 0 END) END;
    END;
    CREATE TRIGGER outbox_thinned AFTER UPDATE OF sample_count ON outbox BEGIN
        UPDATE waiting SET samples = max(0, samples + NEW.sample_count - OLD.sample_count);
    END;
    """,
)
SCHEMA_VERSION: Final = len(_MIGRATIONS)
_TELLS_VERSION: Final = 3
"""From this version on, table ``meta`` names it too."""


def open_outbox_file(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open the outbox at ``path``, creating or migrating it; the connection belongs to the calling thread.

    Raises ``sqlite3.Error``, ``OutboxTooNew`` when it was written by a newer version, and ``OutboxDamaged`` when it
    says two things of its version.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        connection.text_factory = lenient_text
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX}")
        connection.execute("PRAGMA secure_delete=OFF")  # some builds zero deleted pages: each row written twice
        connection.execute("PRAGMA trusted_schema=OFF")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def limit_log(connection: sqlite3.Connection, bytes_max: int) -> int:
    """Fold the write-ahead log when it has taken its share of ``bytes_max``, and cut it off there; pages of it."""
    pages = max(WAL_PAGES_MIN, min(WAL_PAGES_MAX, bytes_max // 5 // PAGE_BYTES))
    connection.execute(f"PRAGMA wal_autocheckpoint={pages}")
    connection.execute(f"PRAGMA journal_size_limit={pages * PAGE_BYTES}")
    return pages


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for another thread. Raises ``OutboxUnavailable``."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        connection.text_factory = lenient_text
        connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error as exc:
        raise OutboxUnavailable(f"the outbox {path} cannot be read: {exc}") from exc
    return connection


def open_fresh_file(path: Path) -> sqlite3.Connection:
    """An empty outbox that nobody else opens yet, and that no crash has to survive. Raises ``sqlite3.Error``."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (f"page_size={PAGE_BYTES}", "journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_damaged_file(path: Path) -> sqlite3.Connection:
    """Read what SQLite can still read of a damaged outbox, without changing it. Raises ``sqlite3.Error``."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    connection.text_factory = lenient_text
    try:
        # It is read although it is shorter than it says, and each page is looked at before it is believed.
        for pragma in ("writable_schema=ON", "trusted_schema=OFF", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of an outbox in an empty database. Raises ``sqlite3.Error``."""
    for number in range(SCHEMA_VERSION):
        connection.executescript(_script(number))


def lenient_text(data: bytes) -> str:
    """A text of the file; bytes that are none, in a damaged row, make no error here: its checksum tells."""
    return data.decode("utf-8", "replace")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version:
        row = connection.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
        told = version if row is None and version < _TELLS_VERSION else None if row is None else row[0]
        if told != version:  # the number in the header is four bytes without a checksum: it alone decides nothing
            raise OutboxDamaged(f"the outbox {path} is damaged: its header names schema {version}, its table {told}")
    if version > SCHEMA_VERSION:
        raise OutboxTooNew(
            f"the outbox {path} was written by a newer Lineside (schema {version}, this one knows {SCHEMA_VERSION}); "
            "install that version again, or move the file away"
        )
    if version == SCHEMA_VERSION:
        return
    for number in range(version, SCHEMA_VERSION):
        connection.executescript(_script(number))


def _script(number: int) -> str:
    """The migration to version ``number + 1``."""
    version = number + 1
    told = f"INSERT OR REPLACE INTO meta (key, value) VALUES ('schema', {version});"  # noqa: S608
    return f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}{told}PRAGMA user_version={version};COMMIT;"
