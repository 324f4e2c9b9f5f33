"""``oee``: OEE of 50 lines for a month, by the API; the bare echo beside it.

The database has a month of hours of 50 lines, with two shifts a day and two products an hour, as analytics makes them,
and their losses, two of eight reasons each hour. By line, by line and day, and the losses. Five rounds; of each figure
the median.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from lineside.servers.child_process import free_port

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.plain_http import Pool
from benchmarks.processes import Program, python
from benchmarks.report import Figure, report
from benchmarks.trend import median
from connectors.postgres.database import open_database

ROUNDS: Final = 5
ASKED_A_ROUND: Final = 10
LINES: Final = 50
DAYS: Final = 30
GOAL_MS: Final = 300.0
ASKED: Final = {
    "OEE by line": ("oee", [("by", "line")]),
    "OEE by line and day": ("oee", [("by", "line"), ("by", "day")]),
    "losses": ("losses", []),
}
_HOURS: Final = (
    "INSERT INTO analytics_hour SELECT 1, 'site', 'line-' || line, hour, shift, "
    "to_char(hour, 'YYYY-MM-DD'), 'product-' || product, 1500000, 1200000 + 1000 * line, 300000 - 1000 * line, 0, 0, "
    "300000, 0, 12000, 3, 2, 250 + line, 5, 1150000, 0, 1.5 "
    "FROM generate_series($1::timestamptz, $2::timestamptz - interval '1 hour', interval '1 hour') AS hour, "
    "generate_series(1, $3) AS line, generate_series(1, 2) AS product, "
    "LATERAL (SELECT CASE WHEN extract(hour FROM hour) < 12 THEN 'early' ELSE 'late' END AS shift) AS shifts"
)
_LOSSES: Final = (
    "INSERT INTO analytics_loss SELECT tenant_id, site, line, hour, shift, day, product, 'reason-' || reason, "
    "'unplanned', 150000, 1 FROM analytics_hour, generate_series(1, 8) AS reason "
    "WHERE (extract(epoch FROM hour)::bigint / 3600 + reason) % 4 = 0"
)


async def fill(dsn: str, begin: datetime, end: datetime) -> None:
    """A month of ``LINES`` lines."""
    database = await open_database(dsn, connections_max=1, application_name="benchmark")
    try:
        for sql, args in ((_HOURS, (begin, end, LINES)), (_LOSSES, ())):
            async with database.session() as session:
                await session.execute(sql, *args)
        async with database.session() as session:
            await session.execute("ANALYZE analytics_hour")
            await session.execute("ANALYZE analytics_loss")
    finally:
        await database.close()


async def measure(url: str, echo_port: int, token: str, begin: datetime, end: datetime) -> dict[str, list[list[float]]]:
    """By question, and of the echo: the rounds, each with what its requests took, in ms."""
    place = urlsplit(url)
    pool, echo = Pool(str(place.hostname), int(place.port or 80), token), Pool("127.0.0.1", echo_port)
    found: dict[str, list[list[float]]] = {name: [] for name in (*ASKED, "echo")}
    for _ in range(ROUNDS):
        for name, (route, parameters) in ASKED.items():
            asked = [("from", begin.isoformat()), ("to", end.isoformat()), *parameters]
            path = f"/api/v1/analytics/{route}?{urlencode(asked, quote_via=quote)}"
            found[name].append([await pool.timed(path, time.perf_counter()) for _ in range(ASKED_A_ROUND)])
        found["echo"].append([await echo.timed("/", time.perf_counter()) for _ in range(ASKED_A_ROUND)])
    pool.close()
    echo.close()
    return found


def figures(found: dict[str, list[list[float]]]) -> list[Figure]:
    """Medians over the rounds."""
    echo = median(found["echo"], 0.5)
    made = [
        Figure(
            f"{LINES} lines, {DAYS} days, {name}: p50 over the bare echo",
            median(found[name], 0.5) - echo,
            "ms",
            GOAL_MS,
            at_least=False,
        )
        for name in ASKED
    ]
    slowest = max(median(found[name], 0.99) for name in ASKED)
    return [*made, Figure("the slowest of them: p99", slowest, "ms"), Figure("bare echo: p50", echo, "ms")]


def main() -> None:
    """Measure."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = end - timedelta(days=DAYS)
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        cloud = CommandedCloud(Path(name), ("gateway",))
        echo: Program | None = None
        try:
            cloud.start()
            cloud.programs["gateway"].wait_for("cloud_started")
            asyncio.run(fill(cloud.dsn, begin, end))
            port = free_port()
            echo = python("benchmarks.plain_http", str(port), log=Path(name) / "echo.log")
            echo.wait_for("ready")
            found = asyncio.run(measure(cloud.url, port, cloud.token, begin, end))
        finally:
            if echo is not None:
                echo.stop()
            cloud.stop()
    report("oee", figures(found))
