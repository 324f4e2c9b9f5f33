"""Samples go into the event log, and counts come out of it: the same totals on each engine, whoever is killed."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.consuming import Consumer, EventsProjection
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.event_log.relaying import EventRelay
from cloud_ingest.event_log.topics import LINE_EVENTS, SAMPLES
from cloud_ingest.lines.events import COUNTED
from cloud_ingest.lines.role import Lines
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import TopicSpec
from tests.contract.historian_steps import RawLog, eventually
from tests.contract.line_steps import TOPIC, Plant, plant
from tests.contract.test_lines import production

EVENTS = TopicSpec(LINE_EVENTS, 2)


async def take(work: UnitOfWork, event: ReadEvent) -> None:
    """What another part would make of a count."""
    if event.type == COUNTED:
        good, reject = Decimal(event.data["good"]), Decimal(event.data["reject"])
        await work.session.execute("INSERT INTO booked VALUES ($1, $2)", good, reject)


async def booked(here: Plant) -> tuple[Decimal, Decimal]:
    (row,) = await here.fetch("SELECT coalesce(sum(good), 0) AS good, coalesce(sum(reject), 0) AS reject FROM booked")
    return row["good"], row["reject"]


async def test_what_was_produced_is_counted_once_whoever_is_killed(database_dsn: str, raw_log: RawLog) -> None:
    await raw_log.clear()
    log = await raw_log.open()
    samples, good, reject = production(300)
    batches = [samples[at : at + 20] for at in range(0, len(samples), 20)]
    try:
        async with plant(database_dsn, log) as here:
            await log.ensure(TOPIC)
            await log.ensure(EVENTS)
            async with here.database.session() as session:
                await session.execute("CREATE TABLE booked (good numeric, reject numeric)")
            clock = SystemClock()

            async def until_stored(count: int) -> None:
                async def are_there() -> bool:
                    (row,) = await here.fetch("SELECT count(*) AS n FROM line_sample")
                    return int(row["n"]) >= count

                await eventually(are_there)

            async def work() -> None:
                relay = EventRelay(here.database, log, clock, {LINE_EVENTS: EVENTS})
                reader = Consumer(here.database, log, EventsProjection("reader", EVENTS, take))
                async with asyncio.TaskGroup() as tasks:
                    for part in (Lines(here.database, log, clock, TOPIC), relay, reader):
                        tasks.create_task(part.run())

            async def kill(*killed: asyncio.Task[None]) -> None:
                for one in killed:
                    one.cancel()
                await asyncio.gather(*killed, return_exceptions=True)

            late = batches[5]
            third = len(batches) // 3
            for part in (batches[:third], batches[third : 2 * third], batches[2 * third :]):
                working = asyncio.create_task(work())
                for batch in part:
                    if batch is not late:
                        await log.append(SAMPLES, [here.record(*batch)])
                await until_stored(len(await here.fetch("SELECT FROM line_sample")) + 1)
                await kill(working)
            await log.append(SAMPLES, [here.record(*late), here.record(*late), here.record(*batches[0])])
            both = [asyncio.create_task(work()), asyncio.create_task(work())]

            async def is_all_booked() -> bool:
                return await booked(here) == (good, reject)

            await eventually(is_all_booked)
            await kill(*both)
            assert await here.sums() == (good, reject)
            assert not await here.fetch("SELECT FROM event_letter")
    finally:
        await log.close()
