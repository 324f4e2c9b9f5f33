"""Command parts that break what is promised, each in one place: whatever explores them must find every one.

They replace a piece of the product while they last, and are never in its code.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from connectors.commands.states import CommandState
from edge_agent.commands import writing
from edge_agent.commands.executor import Executor
from edge_agent.commands.journal import Journal
from edge_agent.commands.journal_rows import Command, Intake, Taken
from edge_agent.commands.recovery import Recovery
from edge_agent.commands.work import Work
from edge_agent.commands.writing import Outcome


@contextmanager
def replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """``owner`` has ``replacement`` in the place of its ``name`` meanwhile."""
    before = owner.__dict__[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, before)


def write_before_the_journal() -> AbstractContextManager[None]:
    """What is about to be written is not in the journal before; only its end is."""

    async def broken(self: Work, command: Command, before: Any, detail: str) -> None:
        await asyncio.sleep(0)

    return replaced(Work, "_begin", broken)


def recovery_writes_again() -> AbstractContextManager[None]:
    """After a start, a command whose write was begun is done as if it had not been."""

    async def broken(self: Recovery, clock_known: asyncio.Event, open_commands: list[Command]) -> None:
        self._executor.free()
        for command in open_commands:
            await self._hand_over(command, clock_known)

    return replaced(Recovery, "run", broken)


def no_replay_check() -> AbstractContextManager[None]:
    """A command that comes again is a new one."""
    take = Journal._take

    def broken(self: Journal, connection: sqlite3.Connection, intake: Intake, now_ms: int) -> Taken:
        known = "SELECT number FROM command WHERE id = ? AND state NOT IN ('received', 'executing')"
        if (row := connection.execute(known, (intake.envelope.id,)).fetchone()) is not None:
            connection.execute("DELETE FROM step WHERE command = ?", row)
            connection.execute("DELETE FROM command WHERE number = ?", row)
        return take(self, connection, intake, now_ms)

    return replaced(Journal, "_take", broken)


def no_read_back() -> AbstractContextManager[None]:
    """What the device has taken counts as held."""

    async def broken(writer: Any, tag: Any, value: Any, holds: Any, within_s: float, clock: Any) -> Outcome:
        reading = await writing.read_now(writer, tag)
        return Outcome(CommandState.SUCCEEDED, "", None if isinstance(reading, str) else value)

    return replaced(writing, "_read_back", broken)


def locks_are_not_looked_at() -> AbstractContextManager[None]:
    """A locked line is written."""
    situation = Executor._situation

    def broken(self: Executor, command: Command) -> Any:
        locks, self._locks = self._locks, dict
        try:
            return situation(self, command)
        finally:
            self._locks = locks

    return replaced(Executor, "_situation", broken)


BUILDS: Final[dict[str, Callable[[], AbstractContextManager[None]]]] = {
    build.__name__: build
    for build in (
        write_before_the_journal,
        recovery_writes_again,
        no_replay_check,
        no_read_back,
        locks_are_not_looked_at,
    )
}
