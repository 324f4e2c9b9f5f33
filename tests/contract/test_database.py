"""The database port on a real PostgreSQL: transactions, copies, locks, and a server that dies or hangs."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lineside.servers.postgres import PostgresServer

from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database, HeldLock
from connectors.postgres import database as postgres_database
from connectors.postgres import pooled_connection
from connectors.postgres.database import PostgresDatabase, open_database
from tests.patience import WAIT_S_MAX


@asynccontextmanager
async def opened(dsn: str, connections_max: int = 4) -> AsyncIterator[PostgresDatabase]:
    database = await open_database(dsn, connections_max=connections_max, application_name="lineside-tests")
    try:
        yield database
    finally:
        await database.close()


def copy_stream(rows: list[tuple[int, bytes]]) -> bytes:
    parts = [b"PGCOPY\n\xff\r\n\0", struct.pack(">ii", 0, 0)]
    for number, blob in rows:
        parts.append(struct.pack(">hiqi", 2, 8, number, len(blob)) + blob)
    return b"".join([*parts, struct.pack(">h", -1)])


async def numbers(database: Database) -> list[int]:
    async with database.session() as session:
        return [row["n"] for row in await session.fetch("SELECT n FROM t ORDER BY n")]


async def make_table(database: Database) -> None:
    async with database.session() as session:
        await session.execute("CREATE TABLE t (n bigint PRIMARY KEY, blob bytea)")


async def test_a_transaction_commits_at_its_end_and_not_before(database_dsn: str) -> None:
    async with opened(database_dsn) as database:
        await make_table(database)
        async with database.transaction() as session:
            assert await session.execute("INSERT INTO t VALUES (1), (2)") == 2
            assert await numbers(database) == []
        assert await numbers(database) == [1, 2]


async def test_an_exception_rolls_the_transaction_back(database_dsn: str) -> None:
    async with opened(database_dsn, connections_max=1) as database:
        await make_table(database)

        async def changes_its_mind() -> None:
            async with database.transaction() as session:
                await session.execute("INSERT INTO t VALUES (1)")
                raise KeyError

        with pytest.raises(KeyError):
            await changes_its_mind()
        assert await numbers(database) == []


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_is_used_again(database_dsn: str) -> None:
    async with opened(database_dsn, connections_max=1) as database:
        await make_table(database)

        async def endless() -> None:
            async with database.transaction() as session:
                await session.execute("INSERT INTO t VALUES (1)")
                under_way.set()
                await session.execute("SELECT pg_sleep(60)")

        under_way = asyncio.Event()
        task = asyncio.create_task(endless())
        await under_way.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await numbers(database) == []


async def test_refused_statements_say_which_rule_they_broke(database_dsn: str) -> None:
    async with opened(database_dsn, connections_max=1) as database:
        await make_table(database)
        async with database.session() as session:
            await session.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(StatementRefused, match="duplicate key") as refusal:
                await session.execute("INSERT INTO t VALUES (1)")
            assert (refusal.value.sqlstate, refusal.value.constraint) == ("23505", "t_pkey")
            with pytest.raises(StatementRefused) as refusal:
                await session.fetch("SELEKT 1")
            assert refusal.value.sqlstate == "42601"
            with pytest.raises(StatementRefused):
                await session.execute("INSERT INTO t VALUES ($1)", "not a number")
            with pytest.raises(StatementRefused):
                await session.copy("t", ["n", "blob"], b"no copy stream")
        assert await numbers(database) == [1]


async def test_rows_are_mappings_and_json_is_text(database_dsn: str) -> None:
    async with opened(database_dsn) as database, database.session() as session:
        (row,) = await session.fetch("SELECT $1::jsonb AS document, NULL::int AS nothing", '{"a": 1}')
        assert dict(row) == {"document": '{"a": 1}', "nothing": None}
        assert list(row) == ["document", "nothing"]
        assert row.get("missing", 7) == 7


async def test_execute_many_is_one_batch(database_dsn: str) -> None:
    async with opened(database_dsn) as database:
        await make_table(database)
        async with database.session() as session:
            await session.execute_many("INSERT INTO t VALUES ($1, $2)", [(n, b"x") for n in range(100)])
            with pytest.raises(StatementRefused):
                await session.execute_many("INSERT INTO t VALUES ($1, $2)", [(500, b"x"), (1, b"x")])
        assert await numbers(database) == list(range(100))


@pytest.mark.parametrize("blob_bytes", [0, 100, 40_000], ids=["empty", "small", "several chunks"])
async def test_copy_takes_the_bytes_of_the_stream_as_they_are(database_dsn: str, blob_bytes: int) -> None:
    rows = [(n, os.urandom(blob_bytes)) for n in range(100)]
    async with opened(database_dsn) as database:
        await make_table(database)
        async with database.session() as session:
            assert await session.copy("public.t", ["n", "blob"], copy_stream(rows)) == 100
            stored = await session.fetch("SELECT n, blob FROM t ORDER BY n")
        assert [(row["n"], row["blob"]) for row in stored] == rows


async def test_a_copy_is_part_of_its_transaction(database_dsn: str) -> None:
    async with opened(database_dsn) as database:
        await make_table(database)

        async def copies_twice() -> None:
            async with database.transaction() as session:
                await session.copy("t", ["n", "blob"], copy_stream([(1, b"")]))
                await session.copy("t", ["n", "blob"], copy_stream([(1, b"")]))

        with pytest.raises(StatementRefused):
            await copies_twice()
        assert await numbers(database) == []


async def test_the_first_use_after_a_restart_works(
    database_dsn: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled_connection, "_TRUSTED_IDLE_S", 0.0)  # a restart can be quicker than that
    async with opened(database_dsn) as database:
        await make_table(database)
        async with database.session(), database.session(), database.session():
            pass  # several connections are in the pool when the server dies
        postgres_server.kill()
        postgres_server.start()
        async with database.transaction() as session:
            await session.execute("INSERT INTO t VALUES (1)")
        assert await numbers(database) == [1]


async def test_a_connection_lost_inside_a_transaction(database_dsn: str, postgres_server: PostgresServer) -> None:
    async with opened(database_dsn, connections_max=1) as database:
        await make_table(database)

        async def loses_its_connection() -> None:
            async with database.transaction() as session:
                await session.execute("INSERT INTO t VALUES (1)")
                postgres_server.kill()
                postgres_server.start()
                await session.execute("INSERT INTO t VALUES (2)")

        with pytest.raises(DatabaseUnavailable):
            await loses_its_connection()
        assert await numbers(database) == []


async def test_a_server_that_is_down_is_said_at_once(database_dsn: str, postgres_server: PostgresServer) -> None:
    async with opened(database_dsn) as database:
        postgres_server.stop()
        began_s = time.monotonic()
        with pytest.raises(DatabaseUnavailable):  # on the connection that the server has closed
            async with database.session() as session:
                await session.execute("SELECT 1")
        with pytest.raises(DatabaseUnavailable, match=rf"127\.0\.0\.1:{postgres_server.port} cannot be reached"):
            async with database.session() as session:
                await session.execute("SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            async with database.held_lock("anything"):
                pass
        with pytest.raises(DatabaseUnavailable) as failure:
            await open_database(database_dsn, connections_max=1, application_name="lineside-tests")
        assert time.monotonic() - began_s < 30.0
        assert "lineside:" not in str(failure.value), "the password is told"
        postgres_server.start()
        async with database.session() as session:
            assert await session.execute("SELECT 1") == 1


async def test_a_server_that_hangs_is_given_up(
    database_dsn: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "STATEMENT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(postgres_database, "CONNECT_TIMEOUT_S", 1.0)
    async with opened(database_dsn, connections_max=2) as database:
        await make_table(database)

        async def hangs() -> None:
            async with database.transaction() as session:
                await session.execute("INSERT INTO t VALUES (1)")
                postgres_server.pause()
                await session.execute("INSERT INTO t VALUES (2)")

        began_s = time.monotonic()
        try:
            with pytest.raises(DatabaseUnavailable, match="in time"):
                await hangs()
            with pytest.raises(DatabaseUnavailable):
                async with database.session():
                    pass
            assert time.monotonic() - began_s < 60.0
        finally:
            postgres_server.resume()
        assert await numbers(database) == []


async def test_more_callers_than_connections_wait_for_their_turn(database_dsn: str) -> None:
    async with opened(database_dsn, connections_max=2) as database:
        await make_table(database)

        async def insert(number: int) -> None:
            async with database.transaction() as session:
                await session.execute("INSERT INTO t VALUES ($1)", number)

        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(insert(number))
        assert await numbers(database) == list(range(50))
        async with database.session() as session:
            (row,) = await session.fetch(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'lineside-tests' "
                "AND datname = current_database()"
            )
        assert row["n"] == 2


async def test_no_free_connection_is_an_error_after_a_while(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "FREE_CONNECTION_TIMEOUT_S", 0.2)
    async with opened(database_dsn, connections_max=1) as database:
        async with database.session():
            with pytest.raises(DatabaseUnavailable, match="in time"):
                async with database.session():
                    pass
        async with database.session() as session:
            assert await session.execute("SELECT 1") == 1


def is_held(lock: HeldLock) -> bool:
    return lock.held


async def test_a_lock_has_one_holder_at_a_time(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn) as other:
        async with one.held_lock("host") as first:
            assert is_held(first)
            async with other.held_lock("host") as second, other.held_lock("another") as third:
                assert not is_held(second)
                assert third.held
                await asyncio.wait_for(second.lost(), WAIT_S_MAX)
        assert not is_held(first)
        async with other.held_lock("host") as second:
            assert is_held(second)


async def test_the_loss_of_a_lock_is_noticed_and_another_takes_it(
    database_dsn: str, postgres_server: PostgresServer
) -> None:
    async with opened(database_dsn) as one, opened(database_dsn) as other, one.held_lock("host") as first:
        lost = asyncio.create_task(first.lost())
        await asyncio.sleep(0.1)
        assert not lost.done()
        postgres_server.kill()
        postgres_server.start()
        await asyncio.wait_for(lost, WAIT_S_MAX)
        assert not is_held(first)
        async with other.held_lock("host") as second:
            assert is_held(second)


async def test_a_lock_is_given_up_when_the_server_hangs(database_dsn: str, postgres_server: PostgresServer) -> None:
    async with opened(database_dsn) as database, database.held_lock("host") as lock:
        postgres_server.pause()
        try:
            await asyncio.wait_for(lock.lost(), WAIT_S_MAX)
            assert not lock.held
        finally:
            postgres_server.resume()


_HOLDER = """
import asyncio, sys
from connectors.postgres.database import STATEMENT_TIMEOUT_S, open_database

async def hold():
    database = await open_database(sys.argv[1], connections_max=1, application_name="holder")
    async with database.held_lock("host") as lock:
        print(lock.held, flush=True)
        await lock.lost()

asyncio.run(hold())
"""


async def test_the_lock_of_a_killed_process_is_free_at_once(database_dsn: str) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, database_dsn, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"True\n"
        async with opened(database_dsn) as database:
            async with database.held_lock("host") as lock:
                assert not lock.held
            holder.kill()
            await holder.wait()
            deadline_s = time.monotonic() + WAIT_S_MAX
            taken = False
            while not taken and time.monotonic() < deadline_s:
                async with database.held_lock("host") as lock:
                    taken = lock.held
            assert taken
    finally:
        if holder.returncode is None:
            holder.kill()
            await holder.wait()


async def test_close_does_not_wait_for_sessions_for_ever(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "_CLOSE_TIMEOUT_S", 0.2)
    database = await open_database(database_dsn, connections_max=2, application_name="lineside-tests")

    async def sleeps() -> None:
        async with database.session() as session:
            has_one.set()
            await session.execute("SELECT pg_sleep(60)")

    has_one = asyncio.Event()
    sleeper = asyncio.create_task(sleeps())
    await has_one.wait()
    await asyncio.sleep(0.1)
    await database.close()
    with pytest.raises(DatabaseUnavailable):
        await sleeper
    await database.close()


async def test_who_waits_on_a_channel_is_woken_by_what_is_committed_on_it(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn) as other, one.notified("news") as woken:
        async with other.transaction() as session:
            await session.execute("SELECT pg_notify('news', '')")
            waiting = asyncio.create_task(woken.wait(10 * WAIT_S_MAX))
            await asyncio.sleep(0.1)
            assert not waiting.done()  # it is not committed
        async with asyncio.timeout(WAIT_S_MAX):
            await waiting
        async with other.transaction() as session:  # so that both come at once
            await session.execute("SELECT pg_notify('news', '')")
            await session.execute("SELECT pg_notify('news', 'b')")
            await session.execute("SELECT pg_notify('else', '')")
        async with asyncio.timeout(WAIT_S_MAX):
            await woken.wait(10 * WAIT_S_MAX)  # both of them: nobody was waiting meanwhile
        started_s = time.monotonic()
        await woken.wait(0.2)
        assert time.monotonic() - started_s >= 0.2


async def test_who_waits_on_a_channel_hears_that_the_connection_is_lost(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn) as other, one.notified("news") as woken:
        waiting = asyncio.create_task(woken.wait(10 * WAIT_S_MAX))
        async with other.session() as session:
            await session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        async with asyncio.timeout(WAIT_S_MAX):
            with pytest.raises(DatabaseUnavailable):
                await waiting
        with pytest.raises(DatabaseUnavailable):
            await woken.wait(0.1)
