"""What lives with a connection of PostgreSQL, and shares one within a process: locks, memberships, notifications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable
from connectors.ports.event_log import Record, TopicSpec
from connectors.postgres.database import PostgresDatabase, open_database
from connectors.postgres.event_log import PostgresEventLog, open_event_log
from connectors.postgres.held_lock import lock_number
from tests.contract.logs_under_test import TaskMember
from tests.patience import WAIT_S_MAX

OURS = "one process"
TOPIC = "shared"


@asynccontextmanager
async def opened(dsn: str, name: str = OURS) -> AsyncIterator[PostgresDatabase]:
    database = await open_database(dsn, connections_max=1, application_name=name)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_log(dsn: str) -> AsyncIterator[PostgresEventLog]:
    log = await open_event_log(dsn, connections_max=2, application_name=OURS)
    try:
        yield log
    finally:
        await log.close()


async def rows(database: PostgresDatabase, sql: str, *args: Any) -> Any:
    async with database.session() as session:
        return await session.fetch(sql, *args)


async def connections_of_ours(database: PostgresDatabase) -> int:
    """Those of other tests may end a moment later than these."""
    (found,) = await rows(
        database,
        "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()",
        OURS,
    )
    return int(found["n"])


async def end_standing_connection(database: PostgresDatabase) -> None:
    """End the connections of ``OURS`` that have locks or listen."""
    ended = await rows(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 "
        "AND datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
        OURS,
    )
    assert len(ended) == 1


async def test_locks_and_listeners_of_a_process_have_one_connection(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn, "another") as other:
        async with one.held_lock("a") as a, one.held_lock("b") as b, one.notified("x") as x, one.notified("y") as y:
            assert (a.held, b.held) == (True, True)
            assert await connections_of_ours(other) == 2, "the one of the pool, and this"
            waiting = [asyncio.create_task(one_of.wait(WAIT_S_MAX)) for one_of in (x, y)]
            await rows(other, "SELECT pg_notify('x', '')")
            await asyncio.wait_for(waiting[0], WAIT_S_MAX)
            assert not waiting[1].done(), "it was notified on another channel"
            await rows(other, "SELECT pg_notify('y', '')")
            await asyncio.wait_for(waiting[1], WAIT_S_MAX)
        async with other.held_lock("a") as a, other.held_lock("b") as b:
            assert (a.held, b.held) == (True, True)


async def test_a_lock_of_a_process_has_one_holder_within_it(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn, "another") as other, one.held_lock("kept"):
        async with one.held_lock("a") as first:
            async with one.held_lock("a") as second:
                assert (first.held, second.held) == (True, False)
            async with other.held_lock("a") as third:
                assert not third.held, "the second has not given back what the first has"
        async with one.held_lock("a") as again:
            assert again.held


@pytest.mark.parametrize("turns", range(8))
async def test_a_lock_that_nobody_waited_for_is_not_kept(database_dsn: str, turns: int) -> None:
    async with opened(database_dsn) as one, opened(database_dsn, "another") as other, one.standing.used() as shared:
        taking = asyncio.create_task(shared.take((lock_number("a"),)))
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        with suppress(asyncio.CancelledError):
            if await taking:  # it was quicker
                await shared.give_back((lock_number("a"),))
        assert await shared.take((lock_number("b"),)), "the connection is of use, and is asked for something else"
        async with other.held_lock("a") as lock:
            assert lock.held


async def test_all_who_share_a_connection_notice_its_loss_and_have_the_next_one(database_dsn: str) -> None:
    async with opened(database_dsn) as one, opened(database_dsn, "another") as other:
        async with one.held_lock("a") as lock, one.notified("x") as woken:
            lost, waiting = asyncio.create_task(lock.lost()), asyncio.create_task(woken.wait(WAIT_S_MAX))
            await asyncio.sleep(0)
            await end_standing_connection(other)
            await asyncio.wait_for(lost, WAIT_S_MAX)
            assert not lock.held
            with pytest.raises(DatabaseUnavailable):
                await asyncio.wait_for(waiting, WAIT_S_MAX)
            async with one.held_lock("a") as again:  # while others have not left yet
                assert again.held
        async with one.held_lock("a") as again:
            assert again.held


async def test_memberships_of_a_process_have_one_connection_and_each_enters_anew_when_it_is_lost(
    database_dsn: str,
) -> None:
    async with opened_log(database_dsn) as log, opened(database_dsn, "another") as other:
        await log.ensure(TopicSpec(TOPIC, 3))
        members = {group: TaskMember(log, TOPIC, group) for group in "abcdefgh"}
        for member in members.values():
            assert await asyncio.wait_for(member.partitions_after(bool), WAIT_S_MAX) == {0, 1, 2}
        async with log.reader(TOPIC, 0, 0) as reader:
            await reader.read(0.0, 1 << 20)
            assert await connections_of_ours(other) <= 3, "the two of the pool, and one that they share"
            reading = asyncio.create_task(reader.read(WAIT_S_MAX, 1 << 20))
            await asyncio.sleep(0.1)
            await end_standing_connection(other)
            for member in members.values():
                with pytest.raises(EventLogUnavailable):
                    await asyncio.wait_for(member.ended(), WAIT_S_MAX)
            again = [TaskMember(log, TOPIC, group) for group in members]
            for member in again:
                assert await asyncio.wait_for(member.partitions_after(bool), WAIT_S_MAX) == {0, 1, 2}
            key = next(key for number in range(100) if log.partition_of(TOPIC, key := str(number).encode()) == 0)
            await log.append(TOPIC, [Record(key, b"v", 1)])
            assert await asyncio.wait_for(reading, WAIT_S_MAX), "it listens again"
        for member in again:
            await member.kill()


async def test_two_members_of_one_process_share_the_partitions(database_dsn: str) -> None:
    async with opened_log(database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 4))
        one = TaskMember(log, TOPIC, "readers")
        async with asyncio.timeout(WAIT_S_MAX):
            assert await one.partitions_after(bool) == {0, 1, 2, 3}
            other = TaskMember(log, TOPIC, "readers")
            theirs = await other.partitions_after(lambda share: len(share) == 2)
            mine = await one.partitions_after(lambda share: len(share) == 2)
            assert mine | theirs == {0, 1, 2, 3}
            await one.kill()
            assert await other.partitions_after(lambda share: len(share) == 4) == {0, 1, 2, 3}
            await other.kill()
