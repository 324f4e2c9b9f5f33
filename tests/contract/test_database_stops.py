"""Who stops waiting for a PostgreSQL that hangs has stopped, whatever it was waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lineside.servers.postgres import PostgresServer

from connectors.postgres import pooled_connection
from connectors.postgres.database import STATEMENT_TIMEOUT_S, PostgresDatabase, open_database


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
