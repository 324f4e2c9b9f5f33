"""``trend``: one tag over 30 days from the rollups, by the API; the bare echo beside it.

The database has the rollups of 50 tags of 30 days, as upkeep makes them of a sample a second, by minute and hour. The
gateway is a process of its own, with a token. By hours (720 points) and by quarters of an hour (2,880 points); another
tag each time. Five rounds; of each figure the median.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from lineside.servers.child_process import free_port

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.plain_http import Pool
from benchmarks.processes import Program, python
from benchmarks.reads_beside_samples import percentile
from benchmarks.report import Figure, report
from cloud_ingest.historian.upkeep.periods import HOURS, MINUTES
from connectors.postgres.database import open_database

ROUNDS: Final = 5
ASKED_A_ROUND: Final = 50
TAGS: Final = 50
DAYS: Final = 30
GOAL_MS: Final = 100.0
GOAL_OF: Final = "1h"
"""What a screen draws of a month; by quarters of an hour, 43,200 minutes are read."""
BUCKETS: Final = {"1h": 720, "15m": 2880}
_FILL: Final = (
    "INSERT INTO {table} (bucket, tag_id, tenant_id, samples, good, numbers, total, low, high, first_time, "
    "first_value, last_time, last_value) "
    "SELECT bucket, tag_id, 1, {samples}, {samples}, {samples}, {samples} * (tag_id + 0.5), tag_id, tag_id + 1, "
    "bucket, tag_id + 0.2, bucket + interval '{width}' - interval '1 second', tag_id + 0.7 "
    "FROM generate_series($1::timestamptz, $2::timestamptz - interval '{width}', interval '{width}') AS bucket, "
    "(SELECT tag_id FROM tag) AS tags"
)


async def fill(dsn: str, begin: datetime, end: datetime) -> None:
    """An agent with tags, and their rollups from ``begin`` to ``end``."""
    database = await open_database(dsn, connections_max=1, application_name="benchmark")
    try:
        async with database.transaction() as session:
            await session.execute("INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ('bench', 1)")
            await session.execute("INSERT INTO agent (tenant_id, group_name, name) VALUES (1, 'bench', 'agent')")
            await session.execute(
                "INSERT INTO tag (tenant_id, agent_id, device, name, datatype) "
                "SELECT 1, agent_id, 'press', 't' || number, 10 FROM agent, generate_series(1, $1) AS number",
                TAGS,
            )
            for day in range(DAYS + 1):
                for table in (MINUTES, HOURS):
                    await table.ensure(session, begin + timedelta(days=day))
        for table, samples, width in (("rollup_minute", 60, "1 minute"), ("rollup_hour", 3600, "1 hour")):
            async with database.session() as session:
                await session.execute(_FILL.format(table=table, samples=samples, width=width), begin, end)
                await session.execute(f"ANALYZE {table}")
    finally:
        await database.close()


async def measure(url: str, echo_port: int, token: str, begin: datetime, end: datetime) -> dict[str, list[list[float]]]:
    """By bucket, and of the echo: the rounds, each with what its requests took, in ms."""
    place = urlsplit(url)
    pool, echo = Pool(str(place.hostname), int(place.port or 80), token), Pool("127.0.0.1", echo_port)
    found: dict[str, list[list[float]]] = {name: [] for name in (*BUCKETS, "echo")}
    for _ in range(ROUNDS):
        for bucket, count in BUCKETS.items():
            took = []
            for number in range(ASKED_A_ROUND):
                asked = {"tag_id": str(number % TAGS + 1), "from": begin.isoformat(), "to": end.isoformat(),
                         "bucket": bucket, "limit": str(count)}  # fmt: skip
                path = f"/api/v1/samples?{urlencode(asked, quote_via=quote)}"
                took.append(await pool.timed(path, time.perf_counter()))
            found[bucket].append(took)
        found["echo"].append([await echo.timed("/", time.perf_counter()) for _ in range(ASKED_A_ROUND)])
    pool.close()
    echo.close()
    return found


def median(rounds: Sequence[Sequence[float]], share: float) -> float:
    """Of a percentile of each round."""
    return statistics.median(percentile(one, share) for one in rounds)


def figures(found: dict[str, list[list[float]]]) -> list[Figure]:
    """Medians over the rounds."""
    made = []
    for bucket, count in BUCKETS.items():
        title = f"30 days of one tag by {bucket}, {count:,} points"
        less = statistics.median(
            percentile(one, 0.99) - percentile(echo, 0.99)
            for one, echo in zip(found[bucket], found["echo"], strict=True)
        )
        made += [
            Figure(f"{title}: p50", median(found[bucket], 0.5), "ms"),
            Figure(f"{title}: p99", median(found[bucket], 0.99), "ms"),
            Figure(
                f"{title}: p99 less bare echo p99", less, "ms", GOAL_MS if bucket == GOAL_OF else None, at_least=False
            ),
        ]
    return [*made, Figure("bare echo: p99", median(found["echo"], 0.99), "ms")]


def main() -> None:
    """Measure."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = end - timedelta(days=DAYS)
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        cloud = CommandedCloud(Path(name), ("gateway",))
        echo: Program | None = None
        try:
            cloud.start()
            asyncio.run(fill(cloud.dsn, begin, end))
            port = free_port()
            echo = python("benchmarks.plain_http", str(port), log=Path(name) / "echo.log")
            echo.wait_for("ready")
            cloud.programs["gateway"].wait_for("cloud_started")
            found = asyncio.run(measure(cloud.url, port, cloud.token, begin, end))
        finally:
            if echo is not None:
                echo.stop()
            cloud.stop()
    report("trend", figures(found))
