"""Migrations on a real database: applied once, and a database that does not fit is left as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from cloud_ingest.store.migrate import MigrationInvalid, migrate, migrations
from connectors.ports.database import Database
from connectors.postgres.database import open_database


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = await open_database(dsn, connections_max=2, application_name="tests")
    try:
        yield database
    finally:
        await database.close()


async def say(database: Database, *statements: str) -> None:
    async with database.session() as session:
        for statement in statements:
            await session.execute(statement)


async def tables(database: Database) -> list[str]:
    async with database.session() as session:
        rows = await session.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row["tablename"] for row in rows]


async def test_migrations_are_applied_once(empty_database_dsn: str) -> None:
    async with opened(empty_database_dsn) as database:
        assert [migration.number for migration in await migrate(database)] == [one.number for one in migrations()]
        assert await migrate(database) == []


async def test_of_several_processes_that_start_at_once_one_makes_the_tables(empty_database_dsn: str) -> None:
    async with opened(empty_database_dsn) as one, opened(empty_database_dsn) as other:
        applied = await asyncio.gather(migrate(one), migrate(other), migrate(one))
    assert sorted(len(each) for each in applied) == [0, 0, len(migrations())]


async def test_a_database_of_the_earlier_numbering_is_told_from_a_newer_one_and_left_as_it_is(
    empty_database_dsn: str,
) -> None:
    """Before the first release the tables were made by three migrations, of which this version has one."""
    async with opened(empty_database_dsn) as database:
        await migrate(database)
        await say(
            database,
            "UPDATE schema_migration SET fingerprint = '0123456789abcdef'",
            "DELETE FROM schema_migration WHERE number > 1",
            "INSERT INTO schema_migration (number, name, fingerprint) "
            "VALUES (2, 'ledger_fences_and_dead_letters', '2'), (3, 'given_up_batches_and_births', '3')",
            "DROP VIEW ledger_state",
        )
        before = await tables(database)
        with pytest.raises(MigrationInvalid) as caught:
            await migrate(database)
        assert await tables(database) == before
    said = str(caught.value)
    name = urlsplit(empty_database_dsn).path[1:]
    assert said.startswith(f"the database {name!r} was made by a version of Lineside that was never released")
    assert "make an empty database (CREATE DATABASE …;) and name it under 'database'" in said
    assert "newer" not in said


async def test_a_database_of_a_newer_version_is_left_as_it_is(empty_database_dsn: str) -> None:
    async with opened(empty_database_dsn) as database:
        await migrate(database)
        await say(database, "INSERT INTO schema_migration (number, name, fingerprint) VALUES (999, 'later', 'x')")
        with pytest.raises(MigrationInvalid, match="has migration 999, which this version does not know; install the"):
            await migrate(database)
