"""The task of the upkeep: one process at a time does it, and another takes over from one that dies."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, Final

from cloud_ingest.historian.partitions import table_of
from cloud_ingest.historian.upkeep import task
from cloud_ingest.historian.upkeep.retention import Retention
from cloud_ingest.historian.upkeep.task import Upkeep, UpkeepOptions
from cloud_ingest.observability.obstacles import OBSTACLES, UPKEEP
from connectors.model.datatypes import DataType
from connectors.ports.clock import SystemClock
from connectors.postgres.database import open_database
from tests.contract.historian_steps import Plant, RawLogOnPostgres, eventually, plant, tasks_of
from tests.played_agent import PlayedAgent, Sample

DAY_NS: Final = 86_400 * 10**9
TODAY: Final = time.time_ns() // DAY_NS
FOREVER: Final = timedelta(days=100_000)


class Noon(SystemClock):
    """Of today: the day before stays too young to be packed also while midnight passes."""

    def now_ns(self) -> int:
        return TODAY * DAY_NS + DAY_NS // 2


def options() -> UpkeepOptions:
    return UpkeepOptions(Retention(timedelta(days=5), FOREVER, FOREVER, FOREVER, FOREVER), timedelta(days=1))


async def count(made: Plant, table: str) -> int:
    return int((await made.fetch(f"SELECT count(*) AS n FROM {table}"))[0]["n"])


async def test_one_process_does_the_upkeep_and_another_takes_over(database_dsn: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(task, "ROUND_S", 0.1)
    monkeypatch.setattr(task, "STAND_BY_S", 0.1)
    agent = PlayedAgent()
    days = [TODAY - 20, TODAY - 3, TODAY - 1]
    samples = [Sample("force", day * DAY_NS + n * 10**9, 1.0) for day in days for n in range(50)]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.samples("press", [*samples, Sample("force", 1, 1.0)]),
        )
        databases = [await open_database(database_dsn, connections_max=4, application_name="tests") for _ in range(2)]
        rounds: list[list[float]] = [[], []]
        upkeeps = []
        for number, database in enumerate(databases):
            upkeep = Upkeep(database, Noon(), options())
            at_work = upkeep._round

            async def noted(lock: Any, number: int = number, at_work: Any = at_work) -> None:
                rounds[number].append(time.monotonic())
                await at_work(lock)

            monkeypatch.setattr(upkeep, "_round", noted)
            upkeeps.append(upkeep)
        async with tasks_of([upkeeps[0].run()]) as first:
            await eventually(lambda: _done(made))
            # Of the three days, one is gone and one not old enough.
            await eventually(lambda: _are(made, {table_of(TODAY - 1): 50}))
            assert await count(made, "sample_packed") == 1
            async with tasks_of([upkeeps[1].run()]):
                await asyncio.sleep(1.0)
                assert not rounds[1]
                first[0].cancel()
                await eventually(lambda: _answer(bool(rounds[1])))
        for database in databases:
            await database.close()


async def test_the_upkeep_waits_for_a_database_that_is_away(database_dsn: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(task, "ROUND_S", 0.05)
    monkeypatch.setattr(task, "RETRY_FIRST_S", 0.05)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        database = await open_database(database_dsn, connections_max=4, application_name="upkeep under test")
        async with tasks_of([Upkeep(database, SystemClock(), options()).run()]):
            held = "SELECT pid FROM pg_stat_activity WHERE application_name = 'upkeep under test'"
            await eventually(lambda: _has(made, held))
            await made.fetch(f"SELECT pg_terminate_backend(pid) FROM ({held}) AS backends")
            await eventually(lambda: _answer(not OBSTACLES.reason(UPKEEP)))
            await eventually(lambda: _has(made, held))
        await database.close()


async def _done(made: Plant) -> bool:
    packed = await count(made, "sample_packed")
    return packed == 1 and await count(made, "rollup_minute") == 3 and await count(made, "sample_odd") == 1


async def _are(made: Plant, tables: dict[str, int]) -> bool:
    return await made.tables() == tables


async def _has(made: Plant, sql: str) -> bool:
    return bool(await made.fetch(sql))


async def _answer(value: bool) -> bool:
    return value
