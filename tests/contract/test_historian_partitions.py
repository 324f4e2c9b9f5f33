"""Daily partitions of the samples: every time of a source is kept as it is, and odd ones make no endless tables."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_ingest.historian.partitions import DAY_US, table_of
from connectors.model.datatypes import DataType
from tests.contract.historian_steps import RETENTION_DAYS, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample

DAY_NS: Final = DAY_US * 1000
TODAY: Final = time.time_ns() // DAY_NS


class MovedClock:
    """Noon of today, or of some days later: the day stays what it is also while midnight passes."""

    def __init__(self) -> None:
        self.days = 0

    def now_ns(self) -> int:
        return (TODAY + self.days) * DAY_NS + DAY_NS // 2

    def monotonic_s(self) -> float:
        return time.monotonic()


async def test_samples_of_any_time_are_stored_where_they_belong(database_dsn: str) -> None:
    agent = PlayedAgent()
    own = [TODAY - RETENTION_DAYS, TODAY - 40, TODAY - 1, TODAY, TODAY + 1]
    odd_ns = [
        0,
        (TODAY - RETENTION_DAYS) * DAY_NS - 1_000,
        (TODAY + 3) * DAY_NS,
        50_000 * DAY_NS,
        9_223_372_036_853 * 1_000_000,
    ]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn, clock=MovedClock()) as made:
        times_ns = [day * DAY_NS + at for day in own for at in (0, DAY_NS - 1_000)] + odd_ns
        samples = [Sample("force", at_ns, float(number)) for number, at_ns in enumerate(times_ns)]
        await made.project(agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", samples))
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        assert await made.tables() == {**{table_of(day): 2 for day in own}, "sample_default": len(odd_ns)}
        assert await made.reasons() == []


async def test_what_came_too_early_moves_into_the_partition_of_its_day(database_dsn: str) -> None:
    agent, clock = PlayedAgent(), MovedClock()
    early = [Sample("force", (TODAY + 10) * DAY_NS + n * 1_000, float(n)) for n in range(5)]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn, clock=clock) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", early))
        assert await made.tables() == {"sample_default": 5}
        clock.days = 10
        late = [Sample("force", (TODAY + 10) * DAY_NS - n * 1_000, -float(n)) for n in range(1, 4)]
        await made.project(agent.samples("press", late))
        assert await made.tables() == {table_of(TODAY + 10): 5, table_of(TODAY + 9): 3}
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def test_a_partition_that_was_dropped_by_hand_is_made_again(database_dsn: str) -> None:
    agent = PlayedAgent()
    times_ns = [TODAY * DAY_NS, (TODAY - 3) * DAY_NS]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn, clock=MovedClock()) as made:
        await made.append(agent.define("press", {"force": DataType.DOUBLE}))
        async with made.projecting():
            await made.append(agent.samples("press", [Sample("force", at_ns, 1.0) for at_ns in times_ns]))
            await made.caught_up()
            await made.fetch(f"ALTER TABLE sample DETACH PARTITION {table_of(TODAY - 3)}")
            await made.fetch(f"DROP TABLE {table_of(TODAY - 3)}")
            await made.append(agent.samples("press", [Sample("force", at_ns + 1_000, 2.0) for at_ns in times_ns]))
            await made.caught_up()
        assert await made.tables() == {table_of(TODAY): 2, table_of(TODAY - 3): 1}
        assert await made.reasons() == []


async def test_two_processes_make_the_partition_of_one_day_once(database_dsn: str) -> None:
    """One of them does not know yet that the other has made it: its rows are refused, and stored after another look."""
    agents = [PlayedAgent(f"line-{number}") for number in range(4)]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn, clock=MovedClock()) as made:
        await made.append(*(agent.define("press", {"force": DataType.DOUBLE}) for agent in agents))
        async with made.projecting(own_connections=True):
            await made.caught_up()
            other_clock_days = 60
            begin = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=TODAY + other_clock_days)).date()
            early = [Sample("force", (TODAY + other_clock_days) * DAY_NS, 1.0)]
            await made.append(*(agent.samples("press", early) for agent in agents))
            await made.caught_up()
            table = table_of(TODAY + other_clock_days)
            await made.fetch(f"CREATE TABLE {table} (LIKE sample INCLUDING ALL)")
            await made.fetch(f"WITH moved AS (DELETE FROM sample_default RETURNING *) INSERT INTO {table} "
                             "SELECT * FROM moved RETURNING 1")  # fmt: skip
            await made.fetch(f"ALTER TABLE sample ATTACH PARTITION {table} FOR VALUES FROM ('{begin}') "
                             f"TO ('{begin + timedelta(days=1)}')")  # fmt: skip
            more = [Sample("force", (TODAY + other_clock_days) * DAY_NS + 1_000, 2.0)]
            await made.append(*(agent.samples("press", more) for agent in agents))
            await made.caught_up()
        assert await made.tables() == {table: 8}
        assert await made.reasons() == []
