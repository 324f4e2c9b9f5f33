"""Whether an outbox file is what it should be: what an error of SQLite means, and what is looked at when one is opened.

The small tables, on which every decision rests, are checked at each start with their indices, and the newest rows
by their checksums: milliseconds. The pages of the whole file are checked for as long as a start can wait; when that is
not enough after a stop that was not clean, ``check_all`` goes on beside the work. What is damaged inside of an older
row is found by its checksum when it is sent.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from edge_agent.buffer.checksums import is_intact
from edge_agent.buffer.high_water import Mark
from edge_agent.buffer.losses import known_epochs
from edge_agent.buffer.schema import PAGE_BYTES, make_tables

CHECK_S_MAX: Final = 0.3
"""So long the pages of the whole file are checked at a start: a gigabyte that is in memory, far less that is not."""

SMALL_TABLES: Final = (
    "meta", "epoch", "definition", "alias", "device_state", "gap", "not_taken", "given_up", "given_up_batches",
    "waiting", "sqlite_sequence",
)  # fmt: skip
HEADER_BYTES: Final = 100
NEWEST_ROWS_MAX: Final = 1000

SQLITE_ERRORS: Final = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""What the module ``sqlite3`` raises on a damaged file."""

_DISK_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_ABORT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH,
    }
)  # fmt: skip
_UNREADABLE_CODES: Final = frozenset(
    {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
)
_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_TYPES: Final = {"INTEGER": ("integer",), "TEXT": ("text",), "BLOB": ("blob",)}
"""By declared type, the types of values."""

_SEALED_TEXTS: Final = {("alias", "name"), ("gap", "detail")}
"""Where a text is a blob when it is sealed."""

_CONSTANTS: Final = (
    (0, (b"SQLite format 3\0",), "it is not a database"),
    (16, (PAGE_BYTES.to_bytes(2, "big"),), "its page size is not that of an outbox"),
    (18, (b"\1\1", b"\2\2"), "its header names no known format"),
    (20, (b"\0\x40\x20\x20",), "its header is damaged"),
    (44, (bytes(4), b"\0\0\0\4"), "its header names no known format of tables"),
    (52, (bytes(4),), "its header is damaged"),
    (56, (bytes(4), b"\0\0\0\1"), "its header names another encoding of texts"),
    (64, (bytes(4),), "its header is damaged"),
    (72, (bytes(20),), "its header is damaged"),
)
"""What never changes in the header of an outbox (https://sqlite.org/fileformat2.html, 1.3), by offset."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``reason``: what is wrong, empty when nothing was found. ``is_complete``: whether every page was looked at."""

    reason: str = ""
    is_complete: bool = True


def is_damage(error: Exception) -> bool:
    """Whether ``error`` says that the file is wrong; otherwise the disk does not do what it should, for now."""
    if isinstance(error, MemoryError | UnicodeDecodeError):  # a size that cannot be; a message that quotes noise
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError)
    return code & 0xFF not in _DISK_CODES


def is_unreadable(error: Exception) -> bool:
    """Whether the disk could not read a part of the file."""
    return getattr(error, "sqlite_errorcode", 0) in _UNREADABLE_CODES


def is_full(error: BaseException) -> bool:
    """Whether ``error``, or what it was made of, says that the disk or a quota has no room."""
    if isinstance(error, OutboxDamaged):  # whatever it was made of: room does not mend a file
        return False
    if isinstance(error, OutboxUnavailable):
        return error.__cause__ is not None and is_full(error.__cause__)
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRNOS
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE  # for the index of the log


def outbox_error(error: Exception, path: Path | None, verb: str) -> OutboxUnavailable:
    """What an error of SQLite means to whoever uses the outbox; ``verb``: opened, read, written."""
    text = f"the outbox{'' if path is None else f' {path}'} cannot be {verb}: {error}"
    return OutboxDamaged(text) if is_damage(error) or is_unreadable(error) else OutboxUnavailable(text)


@contextmanager
def named_errors(path: Path | None, verb: str) -> Iterator[None]:
    """Raise ``OutboxUnavailable`` or ``OutboxDamaged`` where SQLite raises its own."""
    try:
        yield
    except SQLITE_ERRORS as exc:
        raise outbox_error(exc, path, verb) from exc


def header_damage(path: Path) -> str:
    """What is wrong with the first bytes of the file, before SQLite believes them; raises ``OSError``."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    if not header:
        wal = path.with_name(path.name + "-wal")
        return "it is empty, and its write-ahead log is not" if wal.exists() and wal.stat().st_size else ""
    if len(header) < HEADER_BYTES:
        return "it is cut off"
    for offset, allowed, reason in _CONSTANTS:
        if not header.startswith(allowed, offset):
            return reason
    return ""


def find_damage(connection: sqlite3.Connection, mark: Mark | None, *, bounded: bool = True) -> Finding:
    """Look at an outbox that has been opened, and at the mark beside it; unless ``bounded``, however long it takes.

    Raises ``sqlite3.Error`` when the disk cannot read it.
    """
    try:
        reason = _tables_damage(connection) or _newest_damage(connection, mark)
        for table in SMALL_TABLES:
            reason = reason or _small_table_damage(connection, table)
        reason = reason or _history_damage(connection, mark)
        if reason:
            return Finding(reason)
        return _check_pages(connection, CHECK_S_MAX) if bounded else Finding(check_all(connection))
    except SQLITE_ERRORS as exc:
        if is_damage(exc):
            return Finding(str(exc))
        raise


def check_all(connection: sqlite3.Connection) -> str:
    """What is wrong with the pages of the file; empty when nothing is. Raises ``sqlite3.Error``."""
    (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if answer == "ok" else _one_line(answer)


def _check_pages(connection: sqlite3.Connection, longest_s: float) -> Finding:
    with _interrupted_after(connection, longest_s):
        try:
            return Finding(check_all(connection))
        except sqlite3.OperationalError as exc:
            if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                raise
            return Finding(is_complete=False)


@contextmanager
def _interrupted_after(connection: sqlite3.Connection, longest_s: float) -> Iterator[None]:
    timer = threading.Timer(longest_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _tables_damage(connection: sqlite3.Connection) -> str:
    """Whether the tables are the ones that this version knows; their definitions are a part of the file too."""
    missing = _known_shape() - _shape(connection)
    return f"the definition of {min(missing)[1]!r} is not right" if missing else ""


@cache
def _known_shape() -> frozenset[tuple[str, ...]]:
    """What ``_shape`` is of the tables of this version."""
    fresh = sqlite3.connect(":memory:")
    try:
        make_tables(fresh)
        return frozenset(_shape(fresh))
    finally:
        fresh.close()


def _shape(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    query = "SELECT type, name, CASE WHEN type IN ('index', 'trigger') THEN sql END FROM sqlite_master"
    entries = connection.execute(query).fetchall()
    found: set[tuple[str, ...]] = set()
    for kind, name, sql in entries:
        found.add((str(kind), str(name), str(sql)))
        if kind == "table":
            columns = connection.execute("SELECT name, type, pk FROM pragma_table_xinfo(?)", (name,)).fetchall()
            found.update((str(kind), str(name), *(str(part) for part in column)) for column in columns)
    return found


def column_types(connection: sqlite3.Connection, table: str) -> dict[str, tuple[str, ...]]:
    """By column, what ``typeof`` may say of its values; only of columns that have a type."""
    found: dict[str, tuple[str, ...]] = {}
    for _, name, declared, is_required, _, is_key in connection.execute(f"PRAGMA table_info({table})"):
        allowed = _TYPES.get(declared)
        if allowed is not None:
            sealed = ("blob",) if (table, name) in _SEALED_TEXTS else ()
            found[name] = (*allowed, *sealed, *(() if is_required or is_key else ("null",)))
    return found


def _small_table_damage(connection: sqlite3.Connection, table: str) -> str:
    """What is wrong with a table and its indices, or with the types of its values."""
    (answer,) = connection.execute(f"PRAGMA integrity_check('{table}')").fetchone()
    if answer != "ok":
        return f"table {table}: {_one_line(answer)}"
    wrong = [f"typeof({name}) NOT IN {_listed(types)}" for name, types in column_types(connection, table).items()]
    query = f"SELECT 1 FROM {table} WHERE {' OR '.join(wrong or ['0'])} LIMIT 1"  # noqa: S608
    return f"table {table} holds what it cannot" if connection.execute(query).fetchone() is not None else ""


def _listed(types: tuple[str, ...]) -> str:
    return f"({','.join(repr(type_) for type_ in types)})"


def _history_damage(connection: sqlite3.Connection, mark: Mark | None) -> str:
    """Whether what the tables say can be: each device has a definition, and the mark knows each start."""
    query = "SELECT device FROM device_state WHERE device NOT IN (SELECT device FROM definition)"
    if connection.execute(query).fetchone() is not None:
        return "table device_state names a device that has no definition"
    epochs = known_epochs(connection)
    if any(each.epoch <= 0 or each.first <= 0 for each in epochs):
        return "table epoch names a start that cannot be"
    is_of_this_file = mark is not None and any(each.epoch == mark.newest.epoch for each in epochs)
    if mark is not None and is_of_this_file and mark.is_complete and set(epochs) - set(mark.epochs):
        return "table epoch names a start that there was not"
    return ""


def _newest_damage(connection: sqlite3.Connection, mark: Mark | None) -> str:
    """The newest row says where numbers go on: it, and all that are above the mark, have to be right."""
    query = "SELECT * FROM outbox WHERE batch>? ORDER BY batch DESC LIMIT ?"
    bound = (-1, 1) if mark is None else (mark.last, NEWEST_ROWS_MAX)
    for row in connection.execute(query, bound):
        if not is_intact(row):
            return f"row {row[0]} is damaged, and no row is newer"
    return ""


def _one_line(answer: str) -> str:
    return " ".join(str(answer).split())[:200]
