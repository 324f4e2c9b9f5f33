"""The end of a transaction that tells something: in which order it locks and numbers, and whom it wakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from cloud_ingest.event_log.announcing import CHANNEL, lock_topics, unit_of_work
from cloud_ingest.event_log.domain_events import DomainEvent
from connectors.ports.database import Wakeup
from connectors.postgres.database import PostgresDatabase, open_database
from tests.contract.historian_steps import eventually
from tests.patience import WAIT_S_MAX

SOON_S: Final = 0.2
"""What was not heard by then was not said: it would be there at once."""


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[PostgresDatabase]:
    database = await open_database(dsn, connections_max=4, application_name="tests")
    try:
        yield database
    finally:
        await database.close()


async def is_woken(wakeup: Wakeup, within_s: float) -> bool:
    begun_s = time.monotonic()
    await wakeup.wait(within_s)
    return time.monotonic() - begun_s < within_s


def event(topic: str, key: str) -> DomainEvent:
    return DomainEvent(topic, "lineside.test.told.v1", 1, key, 0)


async def tell_and_fail(database: PostgresDatabase) -> None:
    async with unit_of_work(database, 1) as work:
        work.announce(event("a", "k"))
        work.notify("mine")
        raise ZeroDivisionError


async def test_topics_are_locked_in_one_order_and_none_before_the_one_in_front_of_it(database_dsn: str) -> None:
    async with opened(database_dsn) as database:

        async def waits() -> bool:
            async with database.session() as session:
                return bool(await session.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

        async def lock_both() -> None:
            async with database.transaction() as session:
                await lock_topics(session, ["b", "a"])

        async with database.transaction() as first:
            await lock_topics(first, ["a"])
            second = asyncio.create_task(lock_both())
            await eventually(waits)
            async with asyncio.timeout(WAIT_S_MAX), database.transaction() as third:
                await lock_topics(third, ["b"])
        await second


async def test_events_of_all_topics_are_numbered_in_the_order_in_which_they_were_announced(database_dsn: str) -> None:
    async with opened(database_dsn) as database:
        told = [("b", f"k{number}") if number % 3 else ("a", f"k{number}") for number in range(30)]
        async with unit_of_work(database) as work:
            for topic, key in told:
                work.announce(event(topic, key))
        async with database.session() as session:
            rows = await session.fetch("SELECT topic, key FROM event_outbox ORDER BY number")
        assert [(row["topic"], row["key"]) for row in rows] == told


@pytest.mark.parametrize("tells", [True, False])
async def test_who_waits_is_woken_by_what_was_committed_alone(database_dsn: str, tells: bool) -> None:
    async with opened(database_dsn) as database, database.notified("mine") as mine, database.notified(CHANNEL) as every:
        with pytest.raises(ZeroDivisionError):
            await tell_and_fail(database)
        assert not await is_woken(mine, SOON_S)
        async with unit_of_work(database, 1) as work:
            work.notify("mine")
            if tells:
                work.announce(event("a", "k"))
        assert await is_woken(mine, WAIT_S_MAX)
        assert await is_woken(every, WAIT_S_MAX if tells else SOON_S) == tells
