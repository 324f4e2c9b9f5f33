"""``cloud-ingest``, killing itself (kill -9) at a chosen step of a command: ``python -m tests.faults.killed_cloud WHERE
run --roles …``.

``WHERE``: ``state:STATE:WHEN``, at the commit that makes a command so; ``locked:STATE:WHEN``, the same where each is
written under the lock, as when many write; ``append:TOPIC:WHEN``, when records of commands are appended there;
``sent``, when the message is on its way; ``relayed:WHEN``, when it is noted which states were published. ``WHEN``:
``before`` or ``after``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cloud_ingest.cli.app import main
from cloud_ingest.commands import at_once, book
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.dispatcher import Dispatcher
from cloud_ingest.event_log.topics import COMMANDS
from connectors.ports.event_log import Position, Record
from connectors.postgres.database import PostgresDatabase
from connectors.postgres.event_log import PostgresEventLog
from connectors.postgres.session import PostgresSession


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_state(state: str, *, after: bool) -> None:
    """At the commit that makes a command so: that of a transaction, or that of the one statement of ``at_once``."""
    write, write_at_once, transaction = book.write, at_once.write, PostgresDatabase.transaction
    written: list[str] = []

    async def noted(session: Any, heads: Any, changes: Sequence[book.Change], numbers: Any = None) -> None:
        await write(session, heads, changes, numbers)
        written.extend(change.state.value for change in changes)

    @asynccontextmanager
    async def dying(self: PostgresDatabase) -> AsyncIterator[PostgresSession]:
        async with transaction(self) as session:
            yield session
            if state in written and not after:
                die()
        if state in written:
            die()

    async def dying_at_once(
        session: Any, chance: Chance, sql: str, heads: Any, changes: Sequence[book.Change], *more: Any
    ) -> bool:
        is_it = any(change.state.value == state for change in changes)
        if is_it and not after:
            die()
        is_written = await write_at_once(session, chance, sql, heads, changes, *more)
        if is_it and is_written:
            die()
        return is_written

    book.write = noted
    at_once.write = dying_at_once
    PostgresDatabase.transaction = dying  # type: ignore[method-assign]


def never_at_once() -> None:
    """Each state is written under the lock."""
    Chance.is_good = property(lambda _: False)  # type: ignore[method-assign, assignment]


def die_at_append(topic: str, *, after: bool) -> None:
    """When what an agent reports of a command, or a state of one, is appended."""
    append = PostgresEventLog.append

    async def dying(self: PostgresEventLog, to: str, records: Sequence[Record]) -> Sequence[Position]:
        is_it = to == topic and (to == COMMANDS or any(b"Lineside/Command Report" in each.value for each in records))
        if is_it and not after:
            die()
        positions = await append(self, to, records)
        if is_it:
            die()
        return positions

    PostgresEventLog.append = dying  # type: ignore[method-assign]


def die_when_sent() -> None:
    """When the first command has left."""
    publish = Dispatcher._publish

    async def dying(self: Dispatcher, found: Any, sent: Any) -> None:
        await publish(self, found, sent)
        if found.commands:
            die()

    Dispatcher._publish = dying  # type: ignore[method-assign]


def die_when_relayed(*, after: bool) -> None:
    """When the relay notes how far it has come."""
    execute = PostgresSession.execute

    async def dying(self: PostgresSession, sql: str, *args: Any) -> int:
        is_it = sql.startswith("UPDATE command_relay")
        if is_it and not after:
            die()
        found = await execute(self, sql, *args)
        if is_it:
            die()
        return found

    PostgresSession.execute = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    what, *more = sys.argv.pop(1).split(":")
    is_after = more[-1:] == ["after"]
    if what in ("state", "locked"):
        if what == "locked":
            never_at_once()
        die_at_state(more[0], after=is_after)
    elif what == "append":
        die_at_append(more[0], after=is_after)
    elif what == "sent":
        die_when_sent()
    else:
        die_when_relayed(after=is_after)
    main()
