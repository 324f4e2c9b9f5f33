"""The audit log of the agent: the hash chain of ``connectors.commands.audit_chain`` in a table of the journal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.commands.audit_chain import GENESIS, AuditEntry, chained, problems

ENTRIES_MAX: Final = 500_000
"""Older entries leave; the hash of the last one that left stays, so that what remains can be verified."""
TRIM_AT_ONCE: Final = 1000
_COLUMNS: Final = "number, time_ms, actor, action, subject, details, before, hash"


def append_entry(
    connection: sqlite3.Connection, *, time_ms: int, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> AuditEntry:
    """Add an entry, within the transaction of the caller. Raises ``sqlite3.Error``."""
    entry = chained(
        last_entry(connection), time_ms=time_ms, actor=actor, action=action, subject=subject, details=details
    )
    connection.execute(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608
        (entry.number, entry.time_ms, entry.actor, entry.action, entry.subject,
         json.dumps(entry.details, sort_keys=True), entry.before, entry.hash),
    )  # fmt: skip
    if entry.number % TRIM_AT_ONCE == 0:
        _trim(connection, entry.number - ENTRIES_MAX)
    return entry


def last_entry(connection: sqlite3.Connection) -> AuditEntry | None:
    """The newest entry; ``None`` before the first."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY number DESC LIMIT 1").fetchone()  # noqa: S608
    return None if row is None else _entry(row)


def hash_of(connection: sqlite3.Connection, number: int) -> str:
    """The hash that entry ``number`` has now; empty when there is none."""
    row = connection.execute("SELECT hash FROM audit WHERE number=?", (number,)).fetchone()
    return "" if row is None else str(row[0])


def entries(connection: sqlite3.Connection) -> Iterator[AuditEntry]:
    """All of them, oldest first."""
    for row in connection.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY number"):  # noqa: S608
        yield _entry(row)


def chain_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the log; nothing when every entry is there, in its place and as it was written."""
    number, before = _trimmed(connection)
    yield from problems(entries(connection), before, number + 1)
    told = connection.execute("SELECT value FROM meta WHERE key='audit_last'").fetchone()
    last = last_entry(connection)
    if told is not None and (last is None or last.number < told[0]):
        yield f"the log ends with entry {number if last is None else last.number}, and had {told[0]}"


def note_end(connection: sqlite3.Connection, number: int) -> None:
    """Remember how long the log is, in another table than its own."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('audit_last', ?)", (number,))


def _trim(connection: sqlite3.Connection, until: int) -> None:
    row = connection.execute("SELECT hash FROM audit WHERE number=?", (until,)).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM audit WHERE number<=?", (until,))
    value = json.dumps([until, row[0]])
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('audit_trimmed', ?)", (value,))


def _trimmed(connection: sqlite3.Connection) -> tuple[int, str]:
    row = connection.execute("SELECT value FROM meta WHERE key='audit_trimmed'").fetchone()
    if row is None:
        return 0, GENESIS
    number, hash_ = json.loads(row[0])
    return int(number), str(hash_)


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    number, time_ms, actor, action, subject, details, before, hash_ = row
    try:
        content = dict(json.loads(details))
    except (ValueError, TypeError):
        content = {"unreadable": str(details)}  # its hash then tells that it was changed
    return AuditEntry(number, time_ms, actor, action, subject, content, before, hash_)
