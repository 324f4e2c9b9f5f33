"""The upkeep of large stores: some tags at a time, and what cannot be done keeps nothing else from it."""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import Any, Final

import pytest

from cloud_ingest.access.span import QuestionInvalid, asked_span
from cloud_ingest.historian.partitions import table_of
from cloud_ingest.historian.upkeep import packing, rollups
from cloud_ingest.historian.upkeep.packing import empty_day, pack_day
from cloud_ingest.historian.upkeep.rollups import roll_up
from connectors.model.datatypes import DataType
from connectors.model.errors import DatabaseUnavailable
from tests.contract.historian_steps import Plant, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample

DAY_NS: Final = 86_400 * 10**9
HOUR_NS: Final = 3600 * 10**9
TODAY: Final = time.time_ns() // DAY_NS
TAGS: Final = {f"tag{number}": DataType.DOUBLE for number in range(7)}


async def filled(made: Plant, hours: int) -> PlayedAgent:
    """Some samples of seven tags in each of so many hours of a day that is over."""
    agent, chance = PlayedAgent(), random.Random(1)
    begin_ns = (TODAY - 3) * DAY_NS
    samples = [
        Sample(tag, begin_ns + hour * HOUR_NS + chance.randrange(3600) * 10**9, float(number))
        for hour in range(hours)
        for tag in TAGS
        for number in range(5)
    ]
    await made.project(agent.define("press", TAGS), agent.samples("press", samples))
    for _ in range(2):
        await made.fetch("UPDATE rollup_minute_due SET recorded = recorded - interval '9 seconds' RETURNING 1")
    return agent


async def counted(made: Plant, table: str) -> int:
    return int((await made.fetch(f"SELECT coalesce(sum(samples), 0)::int AS n FROM {table}"))[0]["n"])


async def test_tags_are_rolled_up_some_at_a_time_and_the_others_stay_due(database_dsn: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(rollups, "TAGS_FIRST", 2)
    monkeypatch.setattr(rollups, "TAGS_MAX", 2)
    at_once: list[int] = []
    real = rollups._roll_tags

    async def noted(session: Any, level: Any, when: str, hour: datetime, first: int | None, last: int | None) -> int:
        done = await real(session, level, when, hour, first, last)
        if level is rollups._MINUTE:
            rows = await session.fetch(
                "SELECT count(DISTINCT tag_id) AS n FROM tag JOIN rollup_minute_due ON tags @> tag_id"
            )
            at_once.append(rows[0]["n"])
        return done

    monkeypatch.setattr(rollups, "_roll_tags", noted)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await filled(made, 1)
        await roll_up(made.database, everything=True)
        assert at_once == [5, 3, 1, 0]
        assert await counted(made, "rollup_minute") == await counted(made, "rollup_hour") == 35


async def test_an_hour_that_cannot_be_rolled_up_keeps_no_other_from_it(database_dsn: str, monkeypatch: Any) -> None:
    bad = datetime.fromtimestamp(((TODAY - 3) * DAY_NS + 2 * HOUR_NS) / 1e9).astimezone()
    real, sizes = rollups._roll_tags, []

    async def failing(session: Any, level: Any, when: str, hour: datetime, first: int | None, last: int | None) -> int:
        if hour == bad:
            sizes.append((first, last))
            raise DatabaseUnavailable("it takes too long")
        return await real(session, level, when, hour, first, last)

    monkeypatch.setattr(rollups, "_roll_tags", failing)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await filled(made, 5)
        with pytest.raises(
            DatabaseUnavailable, match=f"rollups of the hour {bad.isoformat()[:10]}T02Z: it takes too long"
        ):
            await roll_up(made.database, everything=True)
        assert await counted(made, "rollup_hour") == 4 * 35
        assert sizes[-1][1] == sizes[-1][0] or sizes[-1][0] is None
        assert len(sizes) > 2, "with fewer tags each time"
        monkeypatch.setattr(rollups, "_roll_tags", real)
        await roll_up(made.database, everything=True)
        assert await counted(made, "rollup_hour") == 5 * 35


async def test_a_statement_that_is_too_large_is_tried_with_fewer_tags(database_dsn: str, monkeypatch: Any) -> None:
    real, sizes = packing._pack, []

    async def small_only(session: Any, partition: str, hour: datetime, tags: Any) -> int:
        sizes.append(len(tags))
        if len(tags) > 2:
            raise DatabaseUnavailable("it takes too long")
        return await real(session, partition, hour, tags)

    monkeypatch.setattr(packing, "_pack", small_only)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        agent = await filled(made, 2)
        assert (await pack_day(made.database, table_of(TODAY - 3))).samples == 70
        assert sizes[:3] == [7, 7, 1]
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def test_the_index_of_a_packed_day_is_given_back_when_its_lock_was_not_free_at_first(
    database_dsn: str, monkeypatch: Any
) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        agent = PlayedAgent()
        begin_ns, day = (TODAY - 3) * DAY_NS, table_of(TODAY - 3)
        samples = [Sample("tag0", begin_ns + n * 10**9, 1.0) for n in range(6000)]
        await made.project(agent.define("press", TAGS), agent.samples("press", samples))
        monkeypatch.setattr(packing, "EMPTIED_BYTES_MAX", 0)  # as of a large day
        await pack_day(made.database, day)
        size = f"SELECT pg_total_relation_size('{day}') AS n"
        assert (await made.fetch(size))[0]["n"] > 500_000
        await made.fetch(f"VACUUM {day}")  # as autovacuum does; the index stays as large as it was
        assert (await made.fetch(size))[0]["n"] > 100_000
        assert await empty_day(made.database, day)
        assert (await made.fetch(size))[0]["n"] < 50_000
        assert not await empty_day(made.database, day), "once is enough"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_beyond_the_calendar_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(QuestionInvalid, match="beyond the calendar"):
        asked_span(datetime.fromisoformat(text), datetime.fromisoformat(text))
