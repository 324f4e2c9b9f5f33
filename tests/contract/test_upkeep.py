"""What happens to samples after they are stored: rollups that late samples correct, packed days, and retention.

Whatever the upkeep has done or has still to do, an answer is the same as one that is counted in Python.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud_ingest.gateway.queries import samples
from cloud_ingest.historian.intervals import buckets
from cloud_ingest.historian.partitions import table_of
from cloud_ingest.historian.upkeep.packing import days_to_pack, pack_day
from cloud_ingest.historian.upkeep.retention import Retention, expire, move_odd
from cloud_ingest.historian.upkeep.rollups import roll_up
from connectors.model.datatypes import DataType
from tests.contract.historian_steps import Plant, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample

DAY_NS: Final = 86_400 * 10**9
HOUR_NS: Final = 3600 * 10**9
TODAY: Final = time.time_ns() // DAY_NS
FOREVER: Final = timedelta(days=100_000)


def at(ns: int) -> datetime:
    """Nanoseconds since 1970 as PostgreSQL keeps them."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=ns // 1000)


def drawn(chance: random.Random, begin_ns: int, span_ns: int, count: int, tag: str = "force") -> list[Sample]:
    """Samples anywhere in the span, some of them bad, not a number, or of one time."""
    found = []
    for _ in range(count):
        when = begin_ns + chance.randrange(span_ns) // 1000 * 1000
        value: Any = chance.choice([chance.uniform(-1e3, 1e3), float(chance.randrange(9)), math.inf, math.nan, 1e305])
        quality = chance.choice([0, 0, 0, 0x8000])
        if chance.random() < 0.1:
            value, quality = None, 0x8000
        found += [Sample(tag, when, value, quality)] * chance.choice([1, 1, 1, 2])
    return found


def gathered(found: list[Sample], begin: datetime, end: datetime, bucket_s: float) -> list[dict[str, Any]]:
    """What ``buckets`` has to answer."""
    zero = datetime(2000, 1, 1, tzinfo=UTC)
    bins: dict[int, list[Sample]] = {}
    for sample in found:
        if begin <= at(sample.time_ns) < end:
            bins.setdefault(math.floor((at(sample.time_ns) - zero) / timedelta(seconds=bucket_s)), []).append(sample)
    answer = []
    for number in sorted(bins):
        good = [one for one in bins[number] if one.quality >> 14 == 0]
        numbers = [one.value for one in good if one.value is not None and abs(one.value) < 1e300]
        answer.append(
            {
                "time": zero + number * timedelta(seconds=bucket_s),
                "count": len(bins[number]),
                "good": len(good),
                "mean": round(sum(numbers) / len(numbers), 6) if numbers else None,
                "min": min(numbers, default=None),
                "max": max(numbers, default=None),
            }
        )
    return answer


async def asked(made: Plant, tag_id: int, begin: datetime, end: datetime, bucket_s: float) -> list[dict[str, Any]]:
    """What ``buckets`` answers, page by page."""
    rows: list[dict[str, Any]] = []
    start: datetime | None = begin
    while start is not None:
        some, start = await buckets(made.database, tag_id, start, end, bucket_s, 50)
        rows += some
    for row in rows:
        row["mean"] = None if row["mean"] is None else round(row["mean"], 6)
        assert (row.pop("first") is None) == (row.pop("last") is None) == (row["mean"] is None)
    return rows


async def settled(made: Plant) -> None:
    """As if the marks of what is due had been there for some seconds."""
    for table in ("rollup_minute_due", "rollup_hour_due"):
        await made.fetch(f"UPDATE {table} SET recorded = recorded - interval '3 seconds' RETURNING 1")


async def still_due(made: Plant) -> int:
    (row,) = await made.fetch(
        "SELECT (SELECT count(*) FROM rollup_minute_due) + (SELECT count(*) FROM rollup_hour_due) AS n"
    )
    return int(row["n"])


async def tag_id_of(made: Plant, name: str = "force") -> int:
    (row,) = await made.fetch("SELECT tag_id FROM tag WHERE name = $1", name)
    return int(row["tag_id"])


async def check(made: Plant, found: list[Sample], chance: random.Random, tag: str = "force") -> None:
    """Questions of any kind are answered as the samples are."""
    tag_id = await tag_id_of(made, tag)
    found = [sample for sample in found if sample.tag == tag]
    first = min(sample.time_ns for sample in found) // DAY_NS * DAY_NS
    last = max(sample.time_ns for sample in found) + DAY_NS
    for bucket_s in (60.0, 3600.0, 7200.0, 300.0, 90.0, 86_400.0):
        begin, end = sorted(at(chance.randrange(first, last)) for _ in range(2))
        assert await asked(made, tag_id, begin, end, bucket_s) == gathered(found, begin, end, bucket_s), bucket_s
        begin, end = at(first), at(last)
        assert await asked(made, tag_id, begin, end, bucket_s) == gathered(found, begin, end, bucket_s), bucket_s


async def test_rollups_are_as_the_samples_are_and_late_samples_correct_them(database_dsn: str) -> None:
    chance = random.Random(7)
    agent = PlayedAgent()
    begin_ns = (TODAY - 2) * DAY_NS + 22 * HOUR_NS
    everything: list[Sample] = []
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE, "torque": DataType.DOUBLE}))
        for number in range(4):
            more = drawn(chance, begin_ns, 4 * HOUR_NS, 150) + drawn(chance, begin_ns, 4 * HOUR_NS, 20, "torque")
            everything += more
            await made.project(agent.samples("press", more))
            await check(made, everything, chance)
            await settled(made)
            assert await roll_up(made.database) > 0
            if number % 2:
                await settled(made)
                await roll_up(made.database)  # the hours that the minutes have changed
                assert await still_due(made) == 0
            await check(made, everything, chance)
            await check(made, everything, chance, "torque")
        await roll_up(made.database, everything=True)
        (row,) = await made.fetch("SELECT sum(samples)::int AS n FROM rollup_hour")
        assert row["n"] == len(everything)


async def test_what_is_counted_first_and_last_is_by_time(database_dsn: str) -> None:
    agent = PlayedAgent()
    begin_ns = (TODAY - 1) * DAY_NS
    values = [(30, 3.0), (0, 1.0), (59, 9.0), (3599, 7.0), (10, 2.0)]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.samples("press", [Sample("force", begin_ns + s * 10**9, value) for s, value in values]),
        )
        for _ in range(2):
            rows, _next = await buckets(
                made.database, await tag_id_of(made), at(begin_ns), at(begin_ns + HOUR_NS), 3600.0, 10
            )
            assert [(row["first"], row["last"], row["count"]) for row in rows] == [(1.0, 7.0, 5)]
            await roll_up(made.database, everything=True)


async def test_a_minute_that_has_not_ended_waits_and_is_counted_all_the_same(database_dsn: str) -> None:
    agent = PlayedAgent()
    now_ns = time.time_ns() + 60 * 10**9  # a minute that has a minute left at least
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", [Sample("force", now_ns, 5.0)])
        )
        assert await roll_up(made.database) == 0
        begin, end = at(now_ns - HOUR_NS), at(now_ns + HOUR_NS)
        rows, _ = await buckets(made.database, await tag_id_of(made), begin, end, 60.0, 10)
        assert [(row["count"], row["mean"]) for row in rows] == [(1, 5.0)]


TYPES: Final = {
    "force": DataType.DOUBLE, "count": DataType.UINT64, "level": DataType.INT32, "running": DataType.BOOLEAN,
    "state": DataType.STRING, "image": DataType.BYTES,
}  # fmt: skip


def of_every_type(chance: random.Random, begin_ns: int, count: int) -> list[Sample]:
    """Samples of every family, present and missing, with long texts and bytes that cannot be packed."""
    found = []
    for _ in range(count):
        tag = chance.choice(list(TYPES))
        value: Any = {
            "force": chance.choice([chance.random(), math.nan, -math.inf]),
            "count": chance.choice([0, 5, (1 << 63) - 1, (1 << 64) - 1]),
            "level": chance.randrange(-100, 100),
            "running": chance.random() < 0.5,
            "state": chance.choice(["", "läuft", "x" * 900, "y" * 5000]),
            "image": chance.randbytes(20),
        }[tag]
        quality = chance.choice([0, 0, 0x4090])
        if chance.random() < 0.1:
            value, quality = None, 0x8000
        found.append(Sample(tag, begin_ns + chance.randrange(DAY_NS) // 1000 * 1000, value, quality))
    return found


async def everything_stored(made: Plant, agent: PlayedAgent) -> list[Any]:
    """All rows of the agent, through the one view over all places."""
    return in_order(await made.rows(agent))


async def test_a_packed_day_has_the_same_samples_and_takes_late_ones(database_dsn: str) -> None:
    chance = random.Random(3)
    agent = PlayedAgent()
    day = TODAY - 5
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.define("press", TYPES))
        for _ in range(3):  # what comes late is packed with what was packed before
            await made.project(
                agent.samples("press", of_every_type(chance, day * DAY_NS, 300)),
                agent.samples("press", [Sample("level", day * DAY_NS + n * 1000, 1) for n in (5, 5, 7)]),
            )
            assert await days_to_pack(made.database, datetime.now(UTC)) == [table_of(day)]
            done = await pack_day(made.database, table_of(day))
            assert done.samples > 200
            assert await everything_stored(made, agent) == in_order(expected_rows([agent]))
            assert await days_to_pack(made.database, datetime.now(UTC)) == []
        (row,) = await made.fetch("SELECT sum(samples)::int AS n, count(*) AS rows FROM sample_packed")
        assert row["n"] > 600
        assert row["rows"] <= 24 * len(TYPES)
        left = await made.fetch(f"SELECT value_bytes, octet_length(value_text) AS size FROM {table_of(day)}")
        assert left
        assert all(one["value_bytes"] is not None or one["size"] > 1000 for one in left)


async def test_rollups_and_questions_reach_into_packed_days(database_dsn: str) -> None:
    chance = random.Random(11)
    agent = PlayedAgent()
    day = TODAY - 4
    everything: list[Sample] = []
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}))
        for _ in range(3):
            more = drawn(chance, day * DAY_NS, DAY_NS, 200)
            everything += more
            await made.project(agent.samples("press", more))
            await pack_day(made.database, table_of(day))
            await check(made, everything, chance)
            await settled(made)
            await roll_up(made.database)
            await check(made, everything, chance)


async def test_a_sample_that_is_committed_while_its_day_is_packed_stays(database_dsn: str) -> None:
    agent = PlayedAgent()
    day = TODAY - 5
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.samples("press", [Sample("force", day * DAY_NS + n * 10**9, float(n)) for n in range(100)]),
        )
        tag_id = await tag_id_of(made)
        async with made.database.transaction() as session:
            await session.execute(
                f"INSERT INTO {table_of(day)} (time, tag_id, tenant_id, quality, value_double) "
                "VALUES ($1, $2, 1, 0, 7)",
                at(day * DAY_NS + 5),
                tag_id,
            )
            packing = asyncio.create_task(pack_day(made.database, table_of(day)))
            await asyncio.sleep(0.5)
        await asyncio.wait([packing])
        (row,) = await made.fetch("SELECT count(*) AS n FROM sample_all WHERE tag_id = $1", tag_id)
        assert row["n"] == 101
        await pack_day(made.database, table_of(day))
        (row,) = await made.fetch("SELECT count(*) AS n, sum(samples)::int AS packed FROM sample_packed")
        assert row["packed"] == 101


async def test_equal_steps_take_a_few_bytes_a_sample(database_dsn: str) -> None:
    agent = PlayedAgent()
    day = TODAY - 5
    count = 36_000
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"level": DataType.INT32}),
            agent.samples("press", [Sample("level", day * DAY_NS + n * 10**8, n // 500) for n in range(count)]),
        )
        done = await pack_day(made.database, table_of(day))
        assert done.bytes_before / count > 60
        assert done.bytes_after / count < 6


async def test_odd_source_times_leave_the_default_partition_and_are_found(database_dsn: str) -> None:
    chance = random.Random(5)
    agent = PlayedAgent()
    years = [datetime(year, 6, 1, tzinfo=UTC) for year in (1971, 2000, 2107)]
    times_ns = [int(year.timestamp()) * 10**9 + n * 10**9 for year in years for n in range(10)]
    everything = [Sample("force", ns, float(n)) for n, ns in enumerate(times_ns)]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", everything))
        tag_id = await tag_id_of(made)
        for moved in (0, 30):
            assert await everything_stored(made, agent) == in_order(expected_rows([agent]))
            for bucket_s in (60.0, 3600.0, 7.0):
                for year in years:
                    begin, end = year - timedelta(days=2), year + timedelta(days=2)
                    assert await asked(made, tag_id, begin, end, bucket_s) == gathered(everything, begin, end, bucket_s)
            if not moved:
                assert await move_odd(made.database, datetime.now(UTC)) == len(everything)
        assert await made.tables() == {}
        assert (await made.fetch("SELECT count(*) AS n FROM rollup_minute_due"))[0]["n"] == 0
        assert len(await made.fetch("SELECT FROM pg_inherits WHERE inhparent = 'sample'::regclass")) < 10
        await check(made, everything[:10], chance)


def keeping(samples: timedelta, **others: timedelta) -> Retention:
    ages = {"minutes": FOREVER, "hours": FOREVER, "gaps": FOREVER, "dead_letters": FOREVER, **others}
    return Retention(samples=samples, **ages)


async def test_what_is_older_than_its_table_keeps_goes_and_its_rollups_stay(database_dsn: str) -> None:
    agent = PlayedAgent()
    days = [TODAY - 30, TODAY - 10, TODAY - 1]
    times_ns = [day * DAY_NS + n * 10**9 for day in days for n in range(100)]
    everything = [Sample("force", ns, float(n)) for n, ns in enumerate(times_ns)]
    begin, end = at((TODAY - 31) * DAY_NS), at(TODAY * DAY_NS)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", everything),
            agent.samples("press", [Sample("force", 5 * DAY_NS, 1.0)]),
        )  # fmt: skip
        await pack_day(made.database, table_of(TODAY - 30))
        await move_odd(made.database, datetime.now(UTC))
        tag_id = await tag_id_of(made)
        before = await asked(made, tag_id, begin, end, 60.0)
        expired = await expire(made.database, keeping(timedelta(days=5)), datetime.now(UTC))
        assert {one.what for one in expired} >= {table_of(TODAY - 30), table_of(TODAY - 10)}
        rows, _ = await samples(made.database, tag_id, begin, end, 1000)
        assert len(rows) == 100
        assert await asked(made, tag_id, begin, end, 60.0) == before, "the rollups were made before the samples went"
        assert [row["count"] for row in await asked(made, tag_id, begin, end, 86_400.0)] == [100, 100, 100]
        late = [Sample("force", (TODAY - 10) * DAY_NS, 5.0)]
        await made.project(agent.samples("press", late))
        await roll_up(made.database, everything=True)
        answer = await asked(made, tag_id, begin, end, 86_400.0)
        assert [row["count"] for row in answer] == [100, 101, 100], "a rollup is not made anew from what is left"
        assert await made.tables() == {table_of(TODAY - 1): 100, "sample_default": 1}
        assert (await made.fetch("SELECT count(*) AS n FROM sample_odd"))[0]["n"] == 1, (
            "odd ones since they were stored"
        )
        later = datetime.now(UTC) + timedelta(days=70)
        gone = await expire(made.database, keeping(timedelta(days=5), minutes=timedelta(days=5)), later)
        assert {one.table for one in gone} == {"sample", "sample_odd", "rollup_minute"}
        rows, _ = await buckets(made.database, tag_id, begin, end, 86_400.0, 10)
        assert [row["count"] for row in rows] == [100, 101, 100], "the hours are still there"


async def test_gaps_and_letters_that_explain_batches_stay(database_dsn: str) -> None:
    agent = PlayedAgent()
    old_ns = (TODAY - 300) * DAY_NS
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.gap("press", "device_unavailable", old_ns, old_ns + 1000),
        )
        await made.fetch("UPDATE gap SET received = now() - interval '300 days' RETURNING 1")
        await made.fetch(
            "INSERT INTO gap (agent_id, tenant_id, device, reason, first_time, last_time, received, epoch, batches) "
            "SELECT agent_id, tenant_id, device, 'refused', first_time, last_time, received, 1, '{[1,2)}' FROM gap "
            "RETURNING 1"
        )
        await made.fetch(
            "INSERT INTO dead_letter (tenant_id, agent_id, epoch, batch, topic, payload, reason, received, closed) "
            "SELECT 1, agent_id, batch, batch, '', 'abc', '', now(), now() - interval '300 days' "
            "FROM agent, unnest(ARRAY[NULL, 7]) AS batch RETURNING 1"
        )
        kept = keeping(FOREVER, gaps=timedelta(days=100), dead_letters=timedelta(days=100))
        await expire(made.database, kept, datetime.now(UTC))
        assert [row["reason"] for row in await made.fetch("SELECT reason FROM gap")] == ["refused"]
        letters = await made.fetch("SELECT batch, payload FROM dead_letter")
        assert [(row["batch"], bytes(row["payload"])) for row in letters] == [(7, b"")]


async def test_more_samples_of_one_time_than_fit_a_page_are_all_given(database_dsn: str) -> None:
    agent = PlayedAgent()
    begin_ns = (TODAY - 1) * DAY_NS
    times = [0, 1, 1, 1, 2, 3, 3]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.samples(
                "press", [Sample("force", begin_ns + at_s * 10**9, float(n)) for n, at_s in enumerate(times)]
            ),
        )
        for limit in range(1, 9):
            found: list[float] = []
            start: datetime | None = at(begin_ns)
            while start is not None:
                rows, start = await samples(made.database, await tag_id_of(made), start, at(begin_ns + HOUR_NS), limit)
                found += [row["value"] for row in rows]
            assert sorted(found) == [float(n) for n in range(len(times))], limit
