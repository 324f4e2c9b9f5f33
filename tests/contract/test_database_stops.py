"""Who stops waiting for a PostgreSQL that hangs has stopped, whatever it was waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lineside.servers.postgres import PostgresServer

from connectors.postgres import database as postgres_database
from connectors.postgres import pooled_connection, standing_connection
from connectors.postgres.database import STATEMENT_TIMEOUT_S, PostgresDatabase, open_database
from connectors.stopping import Grace


@asynccontextmanager
async def opened(dsn: str, *, connections_max: int) -> AsyncIterator[PostgresDatabase]:
    database = await open_database(dsn, connections_max=connections_max, application_name="lineside-tests")
    try:
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize("in_transaction", [True, False])
async def test_who_stops_waiting_for_a_server_that_hangs_has_stopped(
    database_dsn: str, postgres_server: PostgresServer, in_transaction: bool
) -> None:
    async with opened(database_dsn, connections_max=2) as database:
        hangs = asyncio.Event()

        async def work() -> None:
            async with database.transaction() if in_transaction else database.session() as session:
                await session.execute("SELECT 1")
                postgres_server.pause()
                hangs.set()
                await session.execute("SELECT 2")

        working = asyncio.create_task(work())
        await hangs.wait()
        await asyncio.sleep(0.1)
        try:
            working.cancel()
            _, waiting = await asyncio.wait([working], timeout=STATEMENT_TIMEOUT_S / 4)
            assert not waiting, "it waits for as long as a statement may take"
            assert working.cancelled()
        finally:
            postgres_server.resume()


async def test_who_stops_while_an_idle_connection_is_asked_whether_it_lives_has_stopped(
    database_dsn: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled_connection, "_TRUSTED_IDLE_S", -1.0)
    async with opened(database_dsn, connections_max=2) as database:
        async with database.session() as session:
            await session.execute("SELECT 1")
        postgres_server.pause()
        try:

            async def work() -> None:
                async with database.session():
                    pass

            working = asyncio.create_task(work())
            await asyncio.sleep(0.2)
            working.cancel()
            _, waiting = await asyncio.wait([working], timeout=STATEMENT_TIMEOUT_S / 4)
            assert not waiting, "asyncpg waits for the end of the connection"
            assert working.cancelled()
        finally:
            postgres_server.resume()


async def test_a_process_that_ends_has_one_grace_for_all_that_a_server_that_hangs_keeps_waiting(
    database_dsn: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = Grace()
    for module in (postgres_database, standing_connection):
        monkeypatch.setattr(module, "GRACE", grace)
    database = await open_database(database_dsn, connections_max=2, application_name="lineside-tests")
    hangs = asyncio.Event()

    async def hold() -> None:
        async with database.held_lock("a lock") as lock, database.transaction() as session:
            assert lock.held
            postgres_server.pause()
            hangs.set()
            await session.execute("SELECT 1")

    async def end() -> None:
        holding.cancel()
        await asyncio.wait([holding])
        await database.close()

    holding = asyncio.create_task(hold())
    await hangs.wait()
    await asyncio.sleep(0.1)
    try:
        grace.begin(0.2)
        ending = asyncio.create_task(end())
        _, waiting = await asyncio.wait([ending], timeout=standing_connection.ANSWER_TIMEOUT_S)
        assert not waiting, "a transaction, a lock and a pool each wait for as long as they may alone"
        assert holding.cancelled()
    finally:
        postgres_server.resume()
