"""What can be asked of the command journal; ``journal.py`` writes it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from connectors.commands.states import ENDED
from connectors.model.errors import LinesideError
from edge_agent.commands import audit_log
from edge_agent.commands.journal_file import JournalUnavailable, open_journal_file
from edge_agent.commands.journal_rows import (
    COMMAND_COLUMNS,
    Command,
    JournalFacts,
    Lock,
    Untold,
    command_of,
    read_value,
    report_of,
)

OPEN_TOLD_MAX: Final = 1000


class StateGoesBack(LinesideError):
    """A command has ended, or is further than what was asked for: the caller leaves it as it is."""


class JournalReading:
    """The reading half of ``Journal``. ``start`` is the epoch of this start of the agent."""

    def __init__(self, path: Path, start: str) -> None:
        self.path = path
        self.start = start
        self._connection: sqlite3.Connection | None = None

    def command(self, id_: str) -> Command | None:
        """The command with this id. Raises ``JournalUnavailable``."""
        with self._named("read"):
            rows = self._select("WHERE id = ?", (id_,))
        return rows[0] if rows else None

    def commands(self, count_max: int) -> list[Command]:
        """The newest commands, newest first. Raises ``JournalUnavailable``."""
        with self._named("read"):
            return self._select("ORDER BY number DESC LIMIT ?", (count_max,))

    def unfinished(self) -> list[Command]:
        """The commands that have not ended, oldest first. Raises ``JournalUnavailable``."""
        states = tuple(state.value for state in ENDED)
        with self._named("read"):
            return self._select(f"WHERE state NOT IN ({','.join('?' * len(states))}) ORDER BY number", states)

    def steps(self, number: int) -> list[dict[str, Any]]:
        """Every step of a command, for people. Raises ``JournalUnavailable``."""
        query = "SELECT step, state, time_ms, actor, code, detail, before, after FROM step WHERE command=? ORDER BY row"
        keys = ("step", "state", "time_ms", "actor", "code", "detail", "before", "after")
        with self._named("read"):
            rows = self._opened().execute(query, (number,)).fetchall()
        return [dict(zip(keys, (*row[:6], read_value(row[6]), read_value(row[7])), strict=True)) for row in rows]

    def approvers(self, number: int) -> tuple[str, ...]:
        """Who has agreed to a command at the box. Raises ``JournalUnavailable``."""
        with self._named("read"):
            rows = self._opened().execute("SELECT actor FROM approval WHERE command=? ORDER BY time_ms", (number,))
            return tuple(row[0] for row in rows)

    def last_writes_ms(self) -> dict[str, int]:
        """By target: when a write of it was begun last, on the agent's clock. Raises ``JournalUnavailable``."""
        query = "SELECT target, max(changed_ms) FROM command WHERE writes > 0 GROUP BY target"
        with self._named("read"):
            return dict(self._opened().execute(query).fetchall())

    def untold(self, count_max: int) -> list[Untold]:
        """Steps whose reports are not in the outbox yet, oldest first. Raises ``JournalUnavailable``."""
        query = (
            "SELECT row, id, journal, command, step.step, step.state, time_ms, step.actor, step.code, step.detail, "
            "step.before, step.after, source, envelope FROM step JOIN command ON number = command WHERE told = 0 "
            "ORDER BY row LIMIT ?"
        )
        with self._named("read"):
            rows = self._opened().execute(query, (count_max,)).fetchall()
        return [Untold(row[0], report_of(row[1:], self.start)) for row in rows]

    def facts(self) -> JournalFacts:
        """What a hello says. Raises ``JournalUnavailable``."""
        with self._named("read"):
            connection = self._opened()
            number = connection.execute("SELECT coalesce(max(number), 0) FROM command").fetchone()[0]
            told = connection.execute(
                "SELECT epoch FROM start WHERE told = 1 AND epoch <> ? ORDER BY number DESC LIMIT 1", (self.start,)
            ).fetchone()
            journal = str(self._meta(connection, "journal"))
            is_anew = self._meta(connection, "anew") is not None
            last = audit_log.last_entry(connection)
            base = int(self._meta(connection, "audit_told") or 0)
            base_hash = audit_log.hash_of(connection, base)
        ids = tuple(command.id for command in self.unfinished()[:OPEN_TOLD_MAX])
        previous = "" if told is None else told[0]
        audit = (0, "") if last is None else (last.number, last.hash)
        return JournalFacts(journal, is_anew, number, self.start, previous, ids, *audit, self.locks(), base, base_hash)

    def locks(self) -> tuple[Lock, ...]:
        """All locks, by line. Raises ``JournalUnavailable``."""
        with self._named("read"):
            rows = self._opened().execute("SELECT line, reason, actor, time_ms FROM lock ORDER BY line").fetchall()
        return tuple(Lock(*row) for row in rows)

    def _command(self, connection: sqlite3.Connection, key: str, value: int | str) -> Command:
        row = connection.execute(f"SELECT {COMMAND_COLUMNS} FROM command WHERE {key}=?", (value,)).fetchone()  # noqa: S608
        if row is None:
            raise StateGoesBack(f"the journal has no command {value}")
        return command_of(row)

    def _select(self, tail: str, bound: tuple[Any, ...]) -> list[Command]:
        rows = self._opened().execute(f"SELECT {COMMAND_COLUMNS} FROM command {tail}", bound).fetchall()  # noqa: S608
        return [command_of(row) for row in rows]

    def _meta(self, connection: sqlite3.Connection, key: str) -> Any:
        row = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else row[0]

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            raise JournalUnavailable(f"the command journal {self.path} cannot be {what}: {exc}") from exc

    def _opened(self) -> sqlite3.Connection:
        return self._open() if self._connection is None else self._connection

    def _open(self) -> sqlite3.Connection:
        self._connection = open_journal_file(self.path)
        return self._connection
