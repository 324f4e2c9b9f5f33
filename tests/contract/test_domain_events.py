"""Events of the domain, from the transaction that they are about to the projections that read them: each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from cloud_ingest.access.idempotency import Asked, once
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.consuming import Consumer, EventsProjection, Projection
from cloud_ingest.event_log.domain_events import DomainEvent, ReadEvent
from cloud_ingest.event_log.letters import (
    TAKEN,
    EventLetterUnknown,
    ask_again,
    close_event_letter,
    event_letter,
    event_letters,
    open_letters,
)
from cloud_ingest.event_log.relaying import EventRelay
from cloud_ingest.event_log.topics import ORDER_EVENTS
from cloud_ingest.store.migrate import migrate
from connectors.model.errors import PayloadInvalid, StatementRefused
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.postgres.database import open_database
from tests.contract.historian_steps import eventually
from tests.contract.logs_under_test import LogUnderTest

TOPIC: Final = TopicSpec(ORDER_EVENTS, 2)
TABLES: Final = ("event_outbox", "event_relay", "event_progress", "projection", "seen")
NOW_NS: Final = 1_790_000_000_123_456_789


@dataclass
class Place:
    """A database, a log, and a relay between them that publishes when it is asked to."""

    database: Database
    log: EventLog
    relay: EventRelay
    lowest: int = 0

    async def announce(self, key: str, *numbers: int) -> None:
        async with unit_of_work(self.database) as work:
            work.announce(*(event(key, number) for number in numbers))

    async def announce_and_fail(self, key: str, number: int) -> None:
        async with unit_of_work(self.database) as work:
            work.announce(event(key, number))
            raise ZeroDivisionError

    def projection(self, name: str = "reader") -> Projection:
        return EventsProjection(name, TOPIC, self._take)

    async def _take(self, work: UnitOfWork, read: ReadEvent) -> None:
        if read.data["n"] < self.lowest:
            raise ValueError("below zero")
        assert (read.tenant_id, read.time_ns, read.type) == (1, NOW_NS, "lineside.orders.order-paid.v1")
        await work.session.execute("INSERT INTO seen (key, n) VALUES ($1, $2)", read.key, read.data["n"])

    async def keep_a_backup(self) -> None:
        async with self.database.session() as session:
            for table in TABLES:
                await session.execute(f"CREATE TABLE backup_{table} AS TABLE {table}")
            await session.execute("CREATE TABLE backup_number AS SELECT last_value FROM event_outbox_number_seq")

    async def restore_the_backup(self) -> None:
        async with self.database.session() as session:
            for table in TABLES:
                await session.execute(f"DELETE FROM {table}")
                await session.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE backup_{table}")
            await session.fetch("SELECT setval('event_outbox_number_seq', last_value) FROM backup_number")

    async def was_tried_again(self, number: int) -> bool:
        return (await event_letter(self.database, number)).retries > 0

    async def seen(self) -> list[tuple[str, int]]:
        async with self.database.session() as session:
            rows = await session.fetch("SELECT key, n FROM seen ORDER BY place")
        return [(row["key"], row["n"]) for row in rows]

    async def until_seen(self, count: int) -> list[tuple[str, int]]:
        async def are_there() -> bool:
            return len(await self.seen()) >= count

        await eventually(are_there)
        return await self.seen()


def event(key: str, number: int) -> DomainEvent:
    return DomainEvent(ORDER_EVENTS, "lineside.orders.order-paid.v1", 1, key, NOW_NS, {"n": number})


async def tell(database: Database, tenant_id: int, of_tenant: int) -> None:
    async with unit_of_work(database, tenant_id) as work:
        work.announce(DomainEvent(ORDER_EVENTS, "t", of_tenant, "k", NOW_NS))


@asynccontextmanager
async def place(dsn: str, server: LogUnderTest) -> AsyncIterator[Place]:
    database = await open_database(dsn, connections_max=10, application_name="tests")
    log = await server.open()
    try:
        await migrate(database)
        async with database.session() as session:
            await session.execute("CREATE TABLE seen (place serial, key text, n integer)")
        await log.ensure(TOPIC)
        await server.delete_topic(ORDER_EVENTS)
        await log.ensure(TOPIC)
        yield Place(database, log, EventRelay(database, log, SystemClock(), {ORDER_EVENTS: TOPIC}))
    finally:
        await log.close()
        await database.close()


@asynccontextmanager
async def running(*consumers: Consumer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(consumer.run()) for consumer in consumers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_behind_an_outage_is_taken_in_short_transactions(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", *range(50))
        await here.relay.publish()
        reader = EventsProjection("reader", TOPIC, here._take, at_once_max=20)
        async with running(Consumer(here.database, here.log, reader)):
            await here.until_seen(50)
        async with here.database.session() as session:
            rows = await session.fetch("SELECT count(*) AS n FROM seen GROUP BY xmin::text ORDER BY min(place)")
        assert [row["n"] for row in rows] == [20, 20, 10]


async def test_an_event_takes_effect_once_however_often_it_was_published(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", 1, 2)
        with pytest.raises(ZeroDivisionError):
            await here.announce_and_fail("a", 99)
        await here.announce("b", 3)
        assert await here.relay.publish() == 3
        async with here.database.session() as session:  # a relay that was killed before it wrote down how far it got
            await session.execute("UPDATE event_relay SET number = 0")
        assert await here.relay.publish() == 3
        await here.announce("a", 4)
        assert await here.relay.publish() == 1
        async with running(Consumer(here.database, here.log, here.projection())):
            seen = await here.until_seen(4)
        assert [one for one in seen if one[0] == "a"] == [("a", 1), ("a", 2), ("a", 4)]
        assert [one for one in seen if one[0] == "b"] == [("b", 3)]
        await here.announce("b", 5)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            assert (await here.until_seen(5))[-1] == ("b", 5), "it goes on where it was"
        assert len(await here.seen()) == 5


async def test_a_record_that_cannot_be_taken_is_kept_with_its_reason_and_the_others_go_on(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", 1, -7, 2)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            assert await here.until_seen(2) == [("a", 1), ("a", 2)]
        async with here.database.session() as session:
            (letter,) = await session.fetch("SELECT projection, key, reason, value FROM event_letter")
        assert (letter["projection"], letter["key"]) == ("reader", b"a")
        assert "below zero" in letter["reason"]
        assert b'"n":-7' in letter["value"]


async def test_a_letter_is_taken_after_all_exactly_once_behind_what_came_after_it(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", 1, -7, 2)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(2)
            (letter,) = await event_letters(here.database)
            assert (letter.projection, letter.key, letter.tenant_id, letter.retries) == ("reader", "a", 1, 0)
            assert await open_letters(here.database) == 1

            assert await ask_again(here.database, letter.number, by="anna")
            await eventually(lambda: here.was_tried_again(letter.number))
            again = await event_letter(here.database, letter.number)
            assert (again.closed, again.retry_asked) == (None, None)
            assert again.retry_failure is not None
            assert "below zero" in again.retry_failure

            here.lowest = -10  # the fix
            assert await ask_again(here.database, letter.number, by="anna")
            assert await here.until_seen(3) == [("a", 1), ("a", 2), ("a", -7)]
        taken = await event_letter(here.database, letter.number)
        assert (taken.closed_by, taken.closed_reason) == ("anna", TAKEN)
        assert await open_letters(here.database) == 0
        assert not await ask_again(here.database, letter.number, by="anna"), "it is closed"
        async with here.database.session() as session:  # everything comes a second time, to a program with the fix
            await session.execute("UPDATE event_relay SET number = 0")
        await here.relay.publish()
        await here.announce("a", 5)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            assert await here.until_seen(4) == [("a", 1), ("a", 2), ("a", -7), ("a", 5)]


async def test_an_event_that_was_set_aside_and_comes_again_is_one_letter(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", -7)
        await here.relay.publish()
        async with here.database.session() as session:  # a relay that was killed before it wrote down how far it got
            await session.execute("UPDATE event_relay SET number = 0")
        await here.relay.publish()
        await here.announce("a", 1)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(1)
        assert len(await event_letters(here.database)) == 1


async def test_a_letter_that_somebody_wants_while_nobody_reads_is_taken_when_somebody_does(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", -7, 1)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(1)
        (letter,) = await event_letters(here.database)
        await ask_again(here.database, letter.number, by="anna")
        here.lowest = -10
        async with running(Consumer(here.database, here.log, here.projection())):
            assert await here.until_seen(2) == [("a", 1), ("a", -7)]


async def test_a_letter_that_was_closed_is_not_taken_and_says_who_closed_it(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", -7, 1)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(1)
        (letter,) = await event_letters(here.database)
        await ask_again(here.database, letter.number, by="anna")
        assert await close_event_letter(here.database, letter.number, reason="a test of the scale", by="bert")
        assert not await close_event_letter(here.database, letter.number, reason="again", by="anna")
        here.lowest = -10
        await here.announce("a", 2)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            assert await here.until_seen(2) == [("a", 1), ("a", 2)]
        assert not await event_letters(here.database)
        (closed,) = await event_letters(here.database, with_closed=True)
        assert (closed.closed_by, closed.closed_reason) == ("bert", "a test of the scale")
        with pytest.raises(EventLetterUnknown, match="there is no event letter 99"):
            await close_event_letter(here.database, 99, reason="x", by="anna")


async def test_new_events_of_a_restored_database_are_not_taken_for_those_that_the_log_has_already(
    database_dsn: str, log_server: LogUnderTest
) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", 1)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(1)
        await here.keep_a_backup()
        await here.announce("a", 2, 3, 4)
        await here.relay.publish()
        async with running(Consumer(here.database, here.log, here.projection())):
            await here.until_seen(4)
        await here.restore_the_backup()
        assert await here.seen() == [("a", 1)]
        await here.announce("a", 10, 11)
        await here.relay.pass_numbers_of_the_log()
        await here.announce("a", 12)
        while await here.relay.publish():
            pass
        async with running(Consumer(here.database, here.log, here.projection())):
            assert await here.until_seen(7) == [("a", number) for number in (1, 2, 3, 4, 10, 11, 12)]
        await here.relay.pass_numbers_of_the_log()
        assert await here.relay.publish() == 0, "nothing is numbered anew twice"


async def test_two_readers_of_one_topic_each_get_everything(database_dsn: str, log_server: LogUnderTest) -> None:
    async with place(database_dsn, log_server) as here:
        await here.announce("a", 1)
        await here.relay.publish()
        async with running(*(Consumer(here.database, here.log, here.projection(name)) for name in ("one", "two"))):
            assert await here.until_seen(2) == [("a", 1), ("a", 1)]


async def test_what_is_no_event_is_refused_with_a_reason(database_dsn: str) -> None:
    from cloud_ingest.event_log.domain_events import read_event
    from connectors.ports.event_log import LogRecord

    for value in (b"", b"[]", b'{"id":"x/y"}', b'{"id":3}'):
        with pytest.raises(PayloadInvalid, match="not an event of Lineside"):
            read_event(LogRecord(0, b"", value, 0))


async def test_a_tenant_sees_and_writes_its_own_rows_alone(database_dsn: str) -> None:
    database = await open_database(database_dsn, connections_max=4, application_name="tests")
    try:
        await migrate(database)
        async with database.session() as session:
            await session.execute("INSERT INTO tenant (name) VALUES ('other')")
        for tenant_id in (1, 2):
            await tell(database, tenant_id, tenant_id)
        async with tenant_transaction(database, 2) as session:
            rows = await session.fetch("SELECT tenant_id FROM event_outbox")
            assert [row["tenant_id"] for row in rows] == [2]
            assert await session.execute("DELETE FROM event_outbox WHERE tenant_id = 1") == 0
        with pytest.raises(StatementRefused, match="row-level security"):
            await tell(database, 2, 1)
        async with database.transaction() as session:
            await session.execute("SET LOCAL ROLE lineside_tenant")
            assert not await session.fetch("SELECT FROM event_outbox"), "who has named no tenant sees nothing"
        async with database.session() as session:
            assert len(await session.fetch("SELECT FROM event_outbox")) == 2, "the connection is as it was"
    finally:
        await database.close()


async def test_a_request_with_the_same_key_is_done_once_and_another_one_with_it_is_refused(database_dsn: str) -> None:
    database = await open_database(database_dsn, connections_max=4, application_name="tests")
    done: list[int] = []
    somebody = Principal(1, "user:anna", "anna", "user", ())

    async def ask(amount: int, key: str = "k") -> dict[str, int]:
        async def do() -> dict[str, int]:
            done.append(amount)
            return {"id": len(done), "amount": amount}

        async with tenant_transaction(database, 1) as session:
            return dict(await once(session, Asked(somebody, "POST /orders", key, {"amount": amount}), do))

    try:
        await migrate(database)
        first, again = await asyncio.gather(ask(5), ask(5))
        assert first == again == await ask(5) == {"id": 1, "amount": 5}
        with pytest.raises(RequestRefused) as refused:
            await ask(6)
        assert (refused.value.why, refused.value.code) == (Why.CONFLICT, "key_used")
        assert await ask(6, "other") == {"id": 2, "amount": 6}
        assert done == [5, 6]
    finally:
        await database.close()
