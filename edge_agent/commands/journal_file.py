"""The file of the command journal: how it is opened, so that what is committed survives a power cut."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connectors.commands.states import ENDED
from connectors.model.errors import LinesideError
from edge_agent.commands.journal_rows import SCHEMA

BUSY_MS: Final = 5000
WAL_BYTES_MAX: Final = 4_000_000
SCHEMA_VERSION: Final = 1


COMMANDS_KEPT_MAX: Final = 100_000
"""Of commands that have ended, and that can never come again because they have expired."""
KEPT_MS_MIN: Final = 86_400_000
PRUNED_EVERY: Final = 1000


class JournalUnavailable(LinesideError):
    """The journal cannot be written now (disk full, for example): the caller does nothing that it would announce."""


class JournalTooNew(JournalUnavailable):
    """The journal was written by a newer version: the caller takes no command, and says so."""


def open_journal_file(path: Path) -> sqlite3.Connection:
    """The journal at ``path``, made when it is not there; checked, as it is small. Any thread may use it, one a time.

    Raises ``sqlite3.OperationalError`` when the disk does not let it, another ``sqlite3.DatabaseError`` when it is
    damaged, ``JournalTooNew``.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
        connection.execute("PRAGMA trusted_schema=OFF")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise JournalTooNew(
                f"the command journal {path} was written by a newer Lineside (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version again, or move the file away"
            )
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(str(problem))
    except BaseException:
        connection.close()
        raise
    return connection


def open_journal_reader(path: Path) -> sqlite3.Connection:
    """A read-only look into the journal, also while the agent runs, for who may read its files and write none.

    SQLite makes a file beside one with a write-ahead log, also to read it, which not everybody may in that folder. When
    there is no log, as after every proper stop, nobody writes, and the file alone is all there is.
    Raises ``sqlite3.Error``.
    """
    where = f"file:{quote(str(path))}?mode=ro"
    try:
        return _looked_into(where)
    except sqlite3.OperationalError:
        if _has_log(path):
            raise
        return _looked_into(f"{where}&immutable=1")


def _looked_into(where: str) -> sqlite3.Connection:
    connection = sqlite3.connect(where, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _has_log(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True


def prune(connection: sqlite3.Connection, now_ms: int) -> None:
    """Commands that ended long ago leave, when there are very many; their place in the audit log stays."""
    query = "SELECT number FROM command ORDER BY number DESC LIMIT 1 OFFSET ?"
    row = connection.execute(query, (COMMANDS_KEPT_MAX,)).fetchone()
    if row is None:
        return
    ended = ",".join(f"'{state}'" for state in ENDED)
    old = f"SELECT number FROM command WHERE number <= ? AND state IN ({ended}) AND expires_ms < ? AND changed_ms < ?"  # noqa: S608
    bound = (row[0], now_ms - KEPT_MS_MIN, now_ms - KEPT_MS_MIN)
    connection.execute(f"DELETE FROM step WHERE command IN ({old})", bound)  # noqa: S608
    connection.execute(f"DELETE FROM approval WHERE command IN ({old})", bound)  # noqa: S608
    connection.execute(f"DELETE FROM command WHERE number IN ({old})", bound)  # noqa: S608
