"""Migrations: numbered SQL files, applied once each, in order, by one process at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from connectors.model.errors import LinesideError
from connectors.ports.database import Database

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_LOCK: Final = 0x4C696E65
_SERVER_MIN: Final = 15
"""The first PostgreSQL that gathers multiranges (``range_agg``), as the ledger does."""


class MigrationInvalid(LinesideError):
    """The database does not fit this version: the caller says so and stops."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: its number, name, SQL, and a fingerprint by which a later change of it is noticed."""

    number: int
    name: str
    sql: str

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


def migrations() -> list[Migration]:
    """All migrations of this version, in order."""
    found: list[Migration] = []
    for file in files("cloud_ingest.store").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(database: Database) -> list[Migration]:
    """Apply what is missing; what was applied. Safe for several processes at once.

    Raises ``MigrationInvalid`` when the database was made by a newer version, or by one whose migrations are not ours,
    or the server is too old; and ``DatabaseUnavailable``, also when the user may not make tables.
    """
    async with database.transaction() as session:
        (here,) = await session.fetch(
            "SELECT current_database() AS name, current_setting('server_version_num')::int AS version"
        )
        _check_version(int(here["version"]))
        await session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await session.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, name text NOT NULL, "
            "fingerprint text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
        )
        rows = await session.fetch("SELECT number, fingerprint FROM schema_migration ORDER BY number")
        applied = {int(row["number"]): str(row["fingerprint"]) for row in rows}
        pending = _pending(migrations(), applied, str(here["name"]))
        for migration in pending:
            for statement in statements(migration.sql):
                await session.execute(statement)
            await session.execute(
                "INSERT INTO schema_migration (number, name, fingerprint) VALUES ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.fingerprint,
            )
    return pending


def _check_version(number: int) -> None:
    """``number`` is PostgreSQL's ``server_version_num``. Raises ``MigrationInvalid`` for one that is too old."""
    if number < _SERVER_MIN * 10_000:
        raise MigrationInvalid(
            f"PostgreSQL {number // 10_000} is too old: Lineside needs {_SERVER_MIN} or newer; upgrade the server, or "
            "name a newer one under 'database' in the configuration"
        )


def _pending(known: Sequence[Migration], applied: dict[int, str], database: str) -> list[Migration]:
    for migration in known:
        if applied.get(migration.number, migration.fingerprint) != migration.fingerprint:
            raise MigrationInvalid(
                f"the database {database!r} was made by a version of Lineside that was never released (its migration "
                f"{migration.number:04d} is not {migration.number:04d}_{migration.name} of this version), and cannot "
                "be brought up to date. Go on with that version, or make an empty database (CREATE DATABASE …;) and "
                "name it under 'database' in the configuration; for the demo, remove its folder (.demo)"
            )
    if newer := sorted(set(applied) - {migration.number for migration in known}):
        raise MigrationInvalid(
            f"the database {database!r} has migration {newer[-1]}, which this version does not know; install the newer "
            "version"
        )
    return [migration for migration in known if migration.number not in applied]


def statements(sql: str) -> list[str]:
    """The statements of a file; a semicolon at the end of a line ends one, except between ``$$``."""
    found: list[str] = []
    current: list[str] = []
    quoted = False
    for line in sql.splitlines():
        if line.lstrip().startswith("--") and not quoted:
            continue
        quoted ^= line.count("$$") % 2 == 1
        current.append(line)
        if line.rstrip().endswith(";") and not quoted:
            found.append("\n".join(current).strip())
            current = []
    if rest := "\n".join(current).strip():
        found.append(rest)
    return [statement for statement in found if statement]
