"""``gateway-reads``: REST reads at 200 a second, while 50,000 samples a second are stored on the same cores.

Everything is real: Mosquitto, PostgreSQL as database and event log, ingest and historian in one process, the gateway in
another; reads show a token. Agents deliver at the rate; a client asks at random times (a Poisson process), on as many
connections as it needs, and each latency counts from the time when its request was due: so one that holds up others is
counted for all of them. Beside it, in the same round, the *bare echo*: a process that answers any request with ten
bytes. Five rounds; of each figure the median. What each process takes of the cores is told, too: what is left is how
much room there is.
"""

from __future__ import annotations

import asyncio
import functools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import uvloop
from lineside.servers.child_process import free_port

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.plain_http import Pool
from benchmarks.processes import Program, cpu_s_of, cpu_s_with_children, python
from benchmarks.report import Figure, report
from connectors.ports.database import Database
from connectors.postgres.database import open_database

ROUNDS: Final = 5
ROUND_S: Final = 20.0
READS_PER_S: Final = 200.0
ECHOES_PER_S: Final = 40.0
SAMPLES_PER_S: Final = 50_000
SAMPLES_A_MESSAGE: Final = 500
AGENTS: Final = 8
WARM_UP_S: Final = 10.0
GOAL_MS: Final = 50.0
STORE: Final = "ingest,historian"
GATEWAY: Final = "gateway"
STORED_LEAST: Final = 0.97
"""Of the rate: with less, the reads were made at a lighter load than they are told of."""

Spent = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round has found, in ms; the samples that were stored meanwhile, a second; and cores, by process."""

    reads: tuple[float, ...]
    echoes: tuple[float, ...]
    stored_per_s: float
    cores: Mapping[str, float] = field(default_factory=dict)


def paths() -> list[str]:
    """The reads, one after the other: what a screen asks for again and again."""
    now = datetime.now(UTC)

    def samples(tag: int, since: timedelta, **more: str) -> str:
        asked = {"agent": f"bench/agent{tag % AGENTS}", "device": "press", "tag": f"t{tag}", "limit": "500",
                 "from": (now - since).isoformat(), **more}  # fmt: skip
        return f"/api/v1/samples?{urlencode(asked, quote_via=quote)}"

    tag = random.randrange(1000)
    return [
        f"/api/v1/tags?limit=100&after={random.randrange(7000)}",
        samples(tag, timedelta(seconds=20)),
        samples(tag, timedelta(hours=1), bucket="1m"),
        "/api/v1/agents",
        "/api/v1/commands?limit=50",
    ]


async def ask(pool: Pool, per_s: float, chosen: Sequence[str] | None) -> list[float]:
    """Ask for ``ROUND_S`` at ``per_s``; ``chosen``: the paths, else drawn anew each time."""
    took: list[float] = []
    begin_s = due_s = time.perf_counter()

    async def one(path: str, due_s: float) -> None:
        took.append(await pool.timed(path, due_s))

    async with asyncio.TaskGroup() as tasks:
        while (due_s := due_s + random.expovariate(per_s)) < begin_s + ROUND_S:
            path = random.choice(chosen or paths())
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.create_task(one(path, due_s))
    return took


async def stored_so_far(database: Database) -> int:
    """How many samples the delivery ledger has."""
    async with database.session() as session:
        (row,) = await session.fetch("SELECT coalesce(sum(samples), 0)::bigint AS n FROM ledger")
    return int(row["n"])


async def one_round(reads: Pool, echo: Pool, database: Database, spent_s: Spent) -> Round:
    """Reads and echoes at the same time."""
    before, spent_before, began_s = await stored_so_far(database), spent_s(), time.monotonic()
    took, echoed = await asyncio.gather(ask(reads, READS_PER_S, None), ask(echo, ECHOES_PER_S, ["/"]))
    stored, spent = await stored_so_far(database) - before, spent_s()
    passed_s = time.monotonic() - began_s
    cores = {name: (spent[name] - spent_before[name]) / passed_s for name in spent}
    return Round(tuple(took), tuple(echoed), stored / passed_s, cores)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """Medians over the rounds."""

    def median(of: str, share: float) -> float:
        return statistics.median(percentile(getattr(one, of), share) for one in rounds)

    less = statistics.median(percentile(one.reads, 0.99) - percentile(one.echoes, 0.99) for one in rounds)
    stored = statistics.median(one.stored_per_s for one in rounds)
    return [
        Figure("samples stored meanwhile", stored, "samples/s", SAMPLES_PER_S * STORED_LEAST),
        Figure("reads", statistics.median(len(one.reads) / ROUND_S for one in rounds), "requests/s"),
        Figure("read, p50", median("reads", 0.5), "ms"),
        Figure("read, p99", median("reads", 0.99), "ms"),
        Figure("bare echo, p50", median("echoes", 0.5), "ms"),
        Figure("bare echo, p99", median("echoes", 0.99), "ms"),
        Figure("read p99 less bare echo p99", less, "ms", GOAL_MS, at_least=False),
        *(
            Figure(f"CPU time of {name}", statistics.median(one.cores[name] for one in rounds), "cores")
            for name in rounds[0].cores
        ),
    ]


async def run(url: str, echo_port: int, token: str, dsn: str, spent_s: Spent) -> list[Round]:
    """All rounds."""
    place = urlsplit(url)
    reads, echo = Pool(str(place.hostname), int(place.port or 80), token), Pool("127.0.0.1", echo_port)
    database = await open_database(dsn, connections_max=1, application_name="benchmark")
    try:
        for path in paths():  # once each, so that all plans are made
            await reads.timed(path, time.perf_counter())
        return [await one_round(reads, echo, database, spent_s) for _ in range(ROUNDS)]
    finally:
        await database.close()
        reads.close()
        echo.close()


def spent_by(cloud: CommandedCloud, agents: int) -> Mapping[str, float]:
    """CPU time so far, in seconds; ``agents`` is the process of all of them."""
    return {
        "the gateway": cloud.programs[GATEWAY].cpu_s(),
        "ingest and historian": cloud.programs[STORE].cpu_s(),
        "PostgreSQL": cpu_s_with_children(cloud.postgres.process.pid),
        "the broker": cpu_s_of(cloud.broker.process.pid),
        "the agents": cpu_s_of(agents),
        "the client": time.process_time(),
    }


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        cloud = CommandedCloud(Path(name), (STORE, GATEWAY))
        echo: Program | None = None
        try:
            cloud.start()
            port = free_port()
            echo = python("benchmarks.plain_http", str(port), log=Path(name) / "echo.log")
            echo.wait_for("ready")
            seconds = WARM_UP_S + ROUNDS * (ROUND_S + 5) + 30
            messages = int(seconds * SAMPLES_PER_S / SAMPLES_A_MESSAGE / AGENTS)
            words = [cloud.broker.url, str(AGENTS), str(messages), str(SAMPLES_A_MESSAGE), str(SAMPLES_PER_S)]
            agents = subprocess.Popen([sys.executable, "-m", "benchmarks.delivering_agents", *words],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
            with agents:
                assert agents.stdin is not None
                assert agents.stdout is not None
                try:
                    agents.stdout.readline()
                    agents.stdin.write("go\n")
                    agents.stdin.flush()
                    cloud.wait_for_tags(AGENTS * 1000)
                    time.sleep(WARM_UP_S)
                    spent_s = functools.partial(spent_by, cloud, agents.pid)
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        rounds = runner.run(run(cloud.url, port, cloud.token, cloud.dsn, spent_s))
                finally:
                    agents.kill()
        finally:
            if echo is not None:
                echo.stop()
            cloud.stop()
    report("gateway-reads", figures(rounds))


if __name__ == "__main__":
    main()
