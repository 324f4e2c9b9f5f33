"""Reads at random times while samples are stored on the same cores: what ``gateway-reads`` and ``grpc-reads`` share.

Everything is real: Mosquitto, PostgreSQL as database and event log, ingest and historian in one process, the gateway in
another; reads show a token. Agents deliver at the rate; a client asks at random times (a Poisson process), and each
latency counts from the time when its request was due: so one that holds up others is counted for all of them. Beside
it, in the same round, the *bare echo*: a process that answers any request with ten bytes. Five rounds; of each figure
the median. What each process takes of the cores is told, too: what is left is how much room there is.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lineside.servers.child_process import free_port

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.delivering_fleet import DeliveringFleet, delivering
from benchmarks.plain_http import Pool
from benchmarks.processes import Program, cpu_s_of, cpu_s_with_children, python
from benchmarks.report import Figure
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

Timed = Callable[[str, float], Awaitable[float]]
"""Makes a request; how long it took since it was due (``perf_counter``), in ms."""


@dataclass(frozen=True, slots=True)
class LoadedPlant:
    """Agents that deliver, the cloud that stores it and is asked, and the bare echo."""

    cloud: CommandedCloud
    echo_port: int
    agents: DeliveringFleet

    def silence(self) -> None:
        """End what the agents deliver."""
        self.agents.end()

    def spent_s(self) -> Mapping[str, float]:
        """CPU time so far, in seconds, by process."""
        return {
            "the gateway": self.cloud.programs[GATEWAY].cpu_s(),
            "ingest and historian": self.cloud.programs[STORE].cpu_s(),
            "PostgreSQL": cpu_s_with_children(self.cloud.postgres.process.pid),
            "the broker": cpu_s_of(self.cloud.broker.process.pid),
            "the agents": cpu_s_of(self.agents.pid),
            "the client": time.process_time(),
        }


@dataclass(frozen=True, slots=True)
class Round:
    """What one round has found, in ms; the samples that were stored meanwhile, a second; and cores, by process."""

    reads: Sequence[float]
    echoes: Sequence[float]
    stored_per_s: float
    cores: Mapping[str, float]


@contextmanager
def loaded_plant(*, grpc_port: int | None = None) -> Iterator[LoadedPlant]:
    """A plant whose samples come at ``SAMPLES_PER_S`` for all rounds, warmed up; all of it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        cloud = CommandedCloud(Path(name), (STORE, GATEWAY), grpc_port=grpc_port)
        echo: Program | None = None
        try:
            cloud.start()
            port = free_port()
            echo = python("benchmarks.plain_http", str(port), log=Path(name) / "echo.log")
            echo.wait_for("ready")
            with delivering(
                cloud,
                agents=AGENTS,
                samples_a_message=SAMPLES_A_MESSAGE,
                samples_per_s=SAMPLES_PER_S,
                seconds=WARM_UP_S + ROUNDS * (ROUND_S + 5) + 30,
            ) as agents:
                time.sleep(WARM_UP_S)
                yield LoadedPlant(cloud, port, agents)
        finally:
            if echo is not None:
                echo.stop()
            cloud.stop()


async def read_rounds(plant: LoadedPlant, timed: Timed, draw: Callable[[], str]) -> list[Round]:
    """All rounds; ``draw``: what is asked next."""
    echo = Pool("127.0.0.1", plant.echo_port)
    database = await open_database(plant.cloud.dsn, connections_max=1, application_name="benchmark")
    try:
        return [await _one_round(plant, database, timed, draw, echo) for _ in range(ROUNDS)]
    finally:
        await database.close()
        echo.close()


async def _one_round(
    plant: LoadedPlant, database: Database, timed: Timed, draw: Callable[[], str], echo: Pool
) -> Round:
    """Reads and echoes at the same time."""
    before, spent_before, began_s = await _stored(database), plant.spent_s(), time.monotonic()
    reads, echoes = await asyncio.gather(_ask(timed, READS_PER_S, draw), _ask(echo.timed, ECHOES_PER_S, lambda: "/"))
    stored, spent = await _stored(database) - before, plant.spent_s()
    passed_s = time.monotonic() - began_s
    cores = {name: (spent[name] - spent_before[name]) / passed_s for name in spent}
    return Round(reads, echoes, stored / passed_s, cores)


async def _ask(timed: Timed, per_s: float, draw: Callable[[], str]) -> list[float]:
    took: list[float] = []
    begin_s = due_s = time.perf_counter()

    async def one(what: str, due_s: float) -> None:
        took.append(await timed(what, due_s))

    async with asyncio.TaskGroup() as tasks:
        while (due_s := due_s + random.expovariate(per_s)) < begin_s + ROUND_S:
            what = draw()
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.create_task(one(what, due_s))
    return took


async def _stored(database: Database) -> int:
    """How many samples the delivery ledger has."""
    async with database.session() as session:
        (row,) = await session.fetch("SELECT coalesce(sum(samples), 0)::bigint AS n FROM ledger")
    return int(row["n"])


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
