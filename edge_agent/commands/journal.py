"""The command journal: an SQLite file of its own, always ``synchronous=FULL``.

Invariants, held by the tests in tests/unit/commands:

1. A step is on disk before what it announces is done; a method that returns has committed.
2. An id is taken once. A write is begun once for each ``writing``, and never for a command that has ended.
3. A state never goes back (``connectors.commands.states``); whoever asks for it is refused.
4. Every step stays untold until the outbox has its report.
5. Each of these is in the audit chain, in the same transaction.

Not safe for two threads at once: ``journal_thread.py`` gives it a thread of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connectors.commands.envelope import Envelope, told
from connectors.commands.refusals import Refusal
from connectors.commands.states import ENDED, CommandState, may_follow
from connectors.ports.device import Value
from edge_agent.commands import audit_log
from edge_agent.commands.journal_file import PRUNED_EVERY, prune
from edge_agent.commands.journal_reading import JournalReading, StateGoesBack
from edge_agent.commands.journal_rows import (
    Command,
    Intake,
    Taken,
    cut,
    ended_with,
    reportable,
    stored_value,
    target_of,
)
from edge_agent.commands.turned_away import TurnedAway

AGENT: Final = "agent"
TOLD_ANEW_MAX: Final = 1000
"""So many of the newest steps are told once more when the agent has another key."""


class Journal(JournalReading):
    """The journal of one agent, opened for one start of it."""

    def __init__(self, path: Path, *, start: str, now_ms: int) -> None:
        """Open the file and note this start, by the epoch that the outbox has taken.

        A file that is no journal any more is set aside, and a new journal begun: the cloud then learns from its id that
        commands may have been done of which nothing is known. Raises ``JournalUnavailable``.
        """
        super().__init__(path, start)
        self.set_aside: Path | None = None
        with self._named("opened"):
            self._turned_away = TurnedAway(path.with_name(f"{path.name}.turned-away"))
            try:
                self._open()
            except sqlite3.DatabaseError as exc:
                if isinstance(exc, sqlite3.OperationalError):
                    raise
                self._set_aside(now_ms)
                self._open()
        with self._transaction() as connection:
            if self._meta(connection, "journal") is None:
                self._set_meta(connection, "journal", secrets.token_hex(16))
            if any(path.parent.glob(f"{path.name}.damaged-*")):
                self._set_meta(connection, "anew", 1)
            connection.execute("INSERT INTO start (epoch, time_ms) VALUES (?,?)", (start, now_ms))
            connection.execute("DELETE FROM start WHERE number <= (SELECT max(number) FROM start) - 1000")
            prune(connection, now_ms)

    def close(self) -> None:
        """Close the files; what was committed stays."""
        self._let_go()
        self._turned_away.close()

    def turn_away(self, envelopes: Sequence[Envelope], latest_ms: float) -> list[str]:
        """See ``TurnedAway.add``. Raises ``JournalUnavailable``."""
        with self._named("written"):
            return self._turned_away.add(envelopes, latest_ms)

    def turned_away_remove(self, ids: Sequence[str]) -> None:
        """See ``TurnedAway.remove``. Raises ``JournalUnavailable``."""
        with self._named("written"):
            self._turned_away.remove(ids)

    # -- commands ----------------------------------------------------------------------------------------------------

    def take(self, intakes: Sequence[Intake], now_ms: int) -> list[Taken]:
        """Take commands, all in one transaction; what the journal has of each, in order.

        One whose id is there already is not taken again. Raises ``JournalUnavailable``: then none was taken.
        """
        with self._transaction() as connection:
            return [self._take(connection, intake, now_ms) for intake in intakes]

    def step(
        self,
        number: int,
        state: CommandState,
        now_ms: int,
        *,
        actor: str = AGENT,
        code: Refusal | None = None,
        detail: str = "",
        before: Value | None = None,
        after: Value | None = None,
    ) -> Command:
        """A command has come to ``state``. Raises ``JournalUnavailable``, ``StateGoesBack``."""
        with self._transaction() as connection:
            command = self._command(connection, "number", number)
            before = command.before if before is None else before
            self._advance(connection, command, state, now_ms, actor, code, detail, before, after)
            return self._command(connection, "number", number)

    def writing(self, number: int, now_ms: int, *, before: Value | None, detail: str) -> Command:
        """A write (or a call) of a command is about to begin; ``detail`` says which.

        The first one brings it to ``executing``. Raises ``JournalUnavailable``, ``StateGoesBack``.
        """
        with self._transaction() as connection:
            command = self._command(connection, "number", number)
            if command.state in ENDED:
                raise StateGoesBack(f"the command {command.id} is {command.state} already")
            if command.state is not CommandState.EXECUTING:
                self._advance(connection, command, CommandState.EXECUTING, now_ms, AGENT, None, "", before, None)
            held = stored_value(before)
            connection.execute(
                "UPDATE command SET writes = writes + 1, before = coalesce(before, ?), changed_ms = ? WHERE number = ?",
                (held, now_ms, number),
            )
            self._add_step(connection, number, 0, CommandState.EXECUTING, now_ms, AGENT, None, detail, held, None)
            self._audit(connection, now_ms, AGENT, "writing", command, {"detail": detail, "before": reportable(before)})
            return self._command(connection, "number", number)

    def waits(self, number: int, now_ms: int, detail: str) -> None:
        """A command waits for the approval of somebody: that is said once. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            command, code = self._command(connection, "number", number), Refusal.NOT_APPROVED
            if command.state is not CommandState.RECEIVED or command.code is code:
                return
            step, state = command.step + 1, CommandState.RECEIVED
            connection.execute(
                "UPDATE command SET step=?, code=?, detail=?, changed_ms=? WHERE number=?",
                (step, code, detail, now_ms, number),
            )
            self._add_step(connection, number, step, state, now_ms, AGENT, code, detail, None, None)
            self._audit(connection, now_ms, AGENT, "waits for approval", command, {"detail": detail})

    def approve(self, number: int, actor: str, now_ms: int, details: Mapping[str, Any] | None = None) -> None:
        """Somebody agrees to a command, once. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            command = self._command(connection, "number", number)
            query = "INSERT OR IGNORE INTO approval VALUES (?,?,?)"
            if connection.execute(query, (number, actor, now_ms)).rowcount:
                self._audit(connection, now_ms, actor, "approve", command, details or {})

    # -- what the cloud is told -------------------------------------------------------------------------------------

    def told(self, rows: Sequence[int]) -> None:
        """The reports of these steps are in the outbox. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            connection.executemany("UPDATE step SET told = 1 WHERE row = ?", [(row,) for row in rows])

    def hello_told(self) -> None:
        """The cloud is told of this start. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            connection.execute("UPDATE start SET told = 1 WHERE number = (SELECT max(number) FROM start)")

    def signed_with(self, key_id: str) -> int:
        """What is told is signed with this key from now on; how many steps are told once more as it is another one.

        What lay in the outbox by then, or was told since the enrolment, may not have been believed. Without a key
        (empty) nothing is told once more. Raises ``JournalUnavailable``.
        """
        with self._transaction() as connection:
            if (self._meta(connection, "signed_with") or "") == key_id:
                return 0
            self._set_meta(connection, "signed_with", key_id)
            if not key_id:
                return 0
            query = (
                "UPDATE step SET told = 0 WHERE row IN (SELECT row FROM step WHERE step > 0 ORDER BY row DESC LIMIT ?)"
            )
            return connection.execute(query, (TOLD_ANEW_MAX,)).rowcount

    def audit_told(self, number: int) -> None:
        """The cloud knows the hash of this entry of the audit log. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            self._set_meta(connection, "audit_told", number)

    def tell_again(self, number: int) -> None:
        """The newest step of a command is to be told once more. Raises ``JournalUnavailable``."""
        query = "UPDATE step SET told = 0 WHERE row = (SELECT max(row) FROM step WHERE command = ? AND step.step > 0)"
        with self._transaction() as connection:
            connection.execute(query, (number,))

    def begin_anew(self, now_ms: int, reason: str) -> str:
        """The file is an older state of itself: a new id; what has not ended becomes unknown. The new id.

        Raises ``JournalUnavailable``.
        """
        journal = secrets.token_hex(16)
        with self._transaction() as connection:
            self._set_meta(connection, "journal", journal)
            self._set_meta(connection, "anew", 1)
            for command in self.unfinished():
                self._advance(connection, command, CommandState.UNKNOWN, now_ms, AGENT, None, reason, None, None)
            details = {"reason": reason}
            self.note(connection, now_ms, AGENT, "new journal", journal, details)
        return journal

    # -- operators ---------------------------------------------------------------------------------------------------

    def lock(self, line: str, reason: str, actor: str, now_ms: int) -> None:
        """Lock a line; one that is locked already takes the new reason. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO lock VALUES (?,?,?,?)", (line, reason, actor, now_ms))
            self.note(connection, now_ms, actor, "lock", line, {"reason": reason})

    def unlock(self, line: str, actor: str, now_ms: int) -> bool:
        """Unlock a line; whether it was locked. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            was_locked = connection.execute("DELETE FROM lock WHERE line=?", (line,)).rowcount > 0
            if was_locked:
                self.note(connection, now_ms, actor, "unlock", line, {})
        return was_locked

    def audit(self, now_ms: int, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
        """Note something that is no step of a command. Raises ``JournalUnavailable``."""
        with self._transaction() as connection:
            self.note(connection, now_ms, actor, action, subject, details)

    @staticmethod
    def note(
        connection: sqlite3.Connection, now_ms: int, actor: str, action: str, subject: str, details: Mapping[str, Any]
    ) -> None:
        """Add an entry to the audit log, within a transaction."""
        entry = audit_log.append_entry(
            connection, time_ms=now_ms, actor=actor, action=action, subject=subject, details=details
        )
        audit_log.note_end(connection, entry.number)

    # -- inside a transaction ----------------------------------------------------------------------------------------

    def _take(self, connection: sqlite3.Connection, intake: Intake, now_ms: int) -> Taken:
        envelope = intake.envelope
        text = envelope.to_json().decode()
        known = connection.execute("SELECT envelope FROM command WHERE id=?", (envelope.id,)).fetchone()
        if known is not None:
            return Taken(self._command(connection, "id", envelope.id), is_new=False, is_same=known[0] == text)
        connection.execute(
            "INSERT INTO command (id, source, actor, envelope, target, state, step, received_ms, changed_ms, "
            "expires_ms) VALUES (?,?,?,?,?,?,0,?,?,?)",
            (envelope.id, intake.source, intake.actor, text, target_of(envelope), CommandState.SENT, now_ms, now_ms,
             envelope.expires_ms),
        )  # fmt: skip
        if envelope.id in self._turned_away and intake.code is not Refusal.JOURNAL_MISMATCH:  # the cloud was told so
            intake = Intake(envelope, intake.source, intake.actor, Refusal.JOURNAL_UNAVAILABLE, "it was refused before")
        state = CommandState.RECEIVED if intake.code is None else ended_with(intake.code)
        command = self._command(connection, "id", envelope.id)
        if command.number % PRUNED_EVERY == 0:
            prune(connection, now_ms)
        actor = intake.actor if intake.code is None else AGENT
        self._advance(connection, command, state, now_ms, actor, intake.code, intake.detail, None, None)
        return Taken(self._command(connection, "id", envelope.id), is_new=True)

    def _advance(
        self,
        connection: sqlite3.Connection,
        command: Command,
        state: CommandState,
        now_ms: int,
        actor: str,
        code: Refusal | None,
        detail: str,
        before: Value | None,
        after: Value | None,
    ) -> None:
        if not may_follow(state, command.state):
            raise StateGoesBack(f"the command {command.id} is {command.state}, and cannot become {state}")
        step, detail = command.step + 1, cut(detail)
        held = stored_value(before), stored_value(after)
        connection.execute(
            "UPDATE command SET state=?, step=?, code=?, detail=?, before=coalesce(?, before), after=?, changed_ms=? "
            "WHERE number=?",
            (state, step, code, detail, *held, now_ms, command.number),
        )
        self._add_step(connection, command.number, step, state, now_ms, actor, code, detail, *held)
        said = {"detail": detail, "code": code, "before": reportable(before), "after": reportable(after)}
        self._audit(
            connection,
            now_ms,
            actor,
            state.value,
            command,
            {key: value for key, value in said.items() if value not in (None, "")},
        )

    def _add_step(
        self, connection: sqlite3.Connection, number: int, step: int, state: CommandState, now_ms: int, actor: str,
        code: Refusal | None, detail: str, before: str | None, after: str | None,
    ) -> None:  # fmt: skip
        journal = self._meta(connection, "journal")
        connection.execute(
            "INSERT INTO step (command, step, journal, state, time_ms, actor, code, detail, before, after, told) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (number, step, journal, state, now_ms, actor, code, detail, before, after, int(step == 0)),
        )

    def _audit(
        self, connection: sqlite3.Connection, now_ms: int, actor: str, action: str, command: Command,
        details: Mapping[str, Any],
    ) -> None:  # fmt: skip
        named = {"id": command.id, "target": command.target, **details}
        if command.step == 0:  # what was asked for, and by whom
            envelope = command.envelope
            named |= {"action": told(envelope.action), "issuer": envelope.issuer, "reason": envelope.reason}
        self.note(connection, now_ms, actor, action, f"command {command.number}", named)

    def _set_meta(self, connection: sqlite3.Connection, key: str, value: Any) -> None:
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", (key, value))

    # -- the file ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on disk. After an error of the disk the file is opened anew before it is used again."""
        with self._named("written"):
            connection = self._opened()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as exc:
                if isinstance(exc, sqlite3.Error):
                    self._let_go()
                elif connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_aside(self, now_ms: int) -> None:
        self._let_go()
        self.set_aside = self.path.with_name(f"{self.path.name}.damaged-{now_ms}")
        self.path.rename(self.set_aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
