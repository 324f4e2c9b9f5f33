"""The processes of the cloud side, as they say of themselves every few seconds: what ``cloud-ingest status`` reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.version import lineside_version
from connectors.ports.database import Database
from connectors.stopping import GRACE

SAY_S: Final = 5.0
SILENT_S: Final = 15.0
"""Who has said nothing for so long is stopped, stuck, or cut off from the database."""
LEAVE_S_MAX: Final = 2.0
ROWS_MAX: Final = 1000

Facts = Callable[[], Mapping[str, Any]]


class ProcessBook:
    """The row of this process. ``waiting``: its obstacles by part; ``facts``: what its roles tell of themselves."""

    def __init__(
        self, database: Database, roles: Sequence[str], waiting: Callable[[], Mapping[str, str]], facts: Sequence[Facts]
    ) -> None:
        self._database = database
        self._id = str(uuid.uuid4())
        self._roles = ",".join(roles)
        self._machine = socket.gethostname()
        self._waiting = waiting
        self._facts = facts

    async def say_forever(self) -> None:
        """Write the row until cancelled; while the database is away, nothing is written, and readers see that."""
        while True:
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                await self._say()
            await asyncio.sleep(SAY_S)

    async def leave(self) -> None:
        """This process stops in an orderly way. Never raises."""
        with contextlib.suppress(DatabaseUnavailable, StatementRefused, TimeoutError):
            async with asyncio.timeout(GRACE.at_most(LEAVE_S_MAX)), self._database.session() as session:
                await session.execute("DELETE FROM process WHERE process_id = $1::text::uuid", self._id)

    async def _say(self) -> None:
        facts: dict[str, Any] = {}
        for one in self._facts:
            facts |= one()
        async with self._database.session() as session:
            await session.execute(
                "INSERT INTO process (process_id, roles, machine, pid, version, waiting, facts) "
                "VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7) ON CONFLICT (process_id) DO UPDATE SET "
                "alive = now(), waiting = excluded.waiting, facts = excluded.facts",
                self._id,
                self._roles,
                self._machine,
                os.getpid(),
                lineside_version(),
                json.dumps(dict(self._waiting())),
                json.dumps(facts),
            )
            # One that was killed is followed by this one, or has been silent for so long that nobody misses it.
            await session.execute(
                "DELETE FROM process WHERE alive < now() - interval '1 hour' OR (alive < now() - interval '15 seconds' "
                "AND (roles, machine) = ($2, $3) AND started < (SELECT started FROM process WHERE process_id = "
                "$1::text::uuid))",
                self._id,
                self._roles,
                self._machine,
            )


@dataclass(frozen=True, slots=True)
class KnownProcess:
    """A process as it has said last, ``silent_s`` ago."""

    roles: tuple[str, ...]
    place: str
    version: str
    started: datetime
    alive: datetime
    silent_s: float
    waiting: Mapping[str, str]
    facts: Mapping[str, Any]

    @property
    def is_silent(self) -> bool:
        """Whether it should have said something."""
        return self.silent_s > SILENT_S


async def known_processes(database: Database) -> list[KnownProcess]:
    """Every process that has not left, by machine. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT roles, machine, pid, version, started, alive, "
            "extract(epoch FROM now() - alive)::float8 AS silent_s, waiting, facts FROM process "
            "ORDER BY machine, pid LIMIT $1",
            ROWS_MAX,
        )
    return [
        KnownProcess(
            tuple(row["roles"].split(",")),
            f"{row['machine']}:{row['pid']}",
            row["version"],
            row["started"],
            row["alive"],
            row["silent_s"],
            json.loads(row["waiting"]),
            json.loads(row["facts"]),
        )
        for row in rows
    ]
