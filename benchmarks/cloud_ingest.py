"""``cloud-ingest``: MQTT → event log → decoded → PostgreSQL rows, in samples per CPU-second of our processes.

Eight agents deliver prepared batches as fast as they are acknowledged; ingest and historian run in one process. Its CPU
time is all of ours that is spent: user and system, children included, from the first message to the last commit.

In turn with it, a bare binary COPY puts as many rows of the same kind into the same table, index included, over one
connection and over as many as the historian has. Rates are the best of three rounds, as others may use the machine; the
rate of the samples is compared with the faster of the two copies. All share the cores with PostgreSQL; the samples also
share them with the broker, the agents and Kafka.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from benchmarks.delivering_fleet import DeliveringFleet
from benchmarks.processes import BIN, Program
from benchmarks.report import Figure, report
from cloud_ingest.historian.sample_rows import COLUMNS, SampleRows, copy_data
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.postgres.database import open_database
from tests.servers.kafka import KafkaServer

AGENTS = 8
ROUNDS = 3
SAMPLES_PER_RUN = 2_000_000
MESSAGES_PER_RUN_MAX = 20_000
COPY_ROWS = 50_000
COPY_CONNECTIONS = 4
"""As many as the event log has partitions: the historian stores each over a connection of its own."""
POLL_S = 0.1
GOAL = 400_000.0
GOAL_OF_COPY = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run."""

    samples: int
    cpu_s: float
    wall_s: float

    @property
    def per_cpu_s(self) -> float:
        return self.samples / self.cpu_s

    @property
    def per_s(self) -> float:
        return self.samples / self.wall_s


class Bench:
    """The servers that all runs share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer(folder / "postgres", settings={"shared_buffers": "512MB", "max_wal_size": "4GB"})
        self.broker = MosquittoBroker(folder / "mosquitto")
        self._number = 0

    def start(self) -> None:
        self.postgres.start()
        self.broker.start()

    def stop(self) -> None:
        self.broker.stop()
        self.postgres.stop()

    def database(self) -> str:
        self._number += 1
        name = f"bench{self._number}"
        self.postgres.create_database(name)
        return name

    def run(self, log: str, samples_per_message: int, *, publish_samples: bool = False) -> tuple[Run, str]:
        """Deliver samples from all agents; what that took, and the database that has them now."""
        database = self.database()
        folder = self.folder / database
        folder.mkdir()
        kafka = KafkaServer(folder / "kafka") if log == "kafka" else None
        try:
            if kafka is not None:
                kafka.start()
            config = self._config(folder, database, kafka, publish_samples=publish_samples)
            dsn = self.postgres.dsn(database)
            return self._delivered(config, dsn, samples_per_message), dsn
        finally:
            if kafka is not None:
                kafka.stop()

    def _delivered(self, config: Path, dsn: str, samples_per_message: int) -> Run:
        messages = min(SAMPLES_PER_RUN // samples_per_message, MESSAGES_PER_RUN_MAX) // AGENTS
        wanted = messages * samples_per_message * AGENTS
        cloud = Program(
            [str(BIN / "cloud-ingest"), "run", "--roles", "ingest,historian", "-c", str(config)],
            config.with_name("cloud.log"),
        )
        try:
            cloud.wait_for("host_online")
            fleet = DeliveringFleet(self.broker.url, AGENTS, messages, samples_per_message)
            with fleet as agents, Ledger(dsn) as ledger:
                cpu_s, started_s = cloud.cpu_s(), time.monotonic()
                agents.begin()
                cloud.wait_until(lambda: ledger.samples() >= wanted, f"store {wanted} samples", 180.0)
                return Run(wanted, cloud.cpu_s() - cpu_s, time.monotonic() - started_s)
        finally:
            cloud.stop()

    def _config(self, folder: Path, database: str, kafka: KafkaServer | None, *, publish_samples: bool) -> Path:
        place = urlsplit(self.postgres.dsn(database))
        (folder / "password").write_text(place.password or "")
        lines = [
            f"ingest: {{brokers: ['{self.broker.url}'], insecure: true, acknowledge: logged}}",
            f"database: {{host: {place.hostname}, port: {place.port}, user: {place.username}, name: {database}, "
            f'password: "${{file:{folder}/password}}", insecure: true}}',
            f"historian: {{publish_samples: {str(publish_samples).lower()}}}",
        ]
        if kafka is not None:
            settings = f"brokers: ['{kafka.bootstrap}'], insecure: true, replication: 1, in_sync: 1"
            lines.append(f"event_log: {{kafka: {{{settings}}}}}")
        path = folder / "cloud.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path


class Ledger:
    """How many samples the delivery ledger has, over one connection that stays open."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self._database = self._runner.run(open_database(dsn, connections_max=1, application_name="benchmark"))

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._database.close())
        self._runner.close()

    def samples(self) -> int:
        time.sleep(POLL_S)
        return self._runner.run(self._ask())

    async def _ask(self) -> int:
        async with self._database.session() as session:
            rows = await session.fetch("SELECT coalesce(sum(samples), 0) AS n FROM ledger")
        return int(rows[0]["n"])


def bare_copy(dsn: str, connections: int) -> Run:
    """COPY as many rows into the same table, emptied before, and nothing else; the bytes are made before."""
    table = f"sample_{time.strftime('%Y%m%d', time.gmtime())}"
    source = np.random.default_rng(7)
    begin_ns = int(time.time() // 86_400 * 86_400 * 1e9)
    pieces = []
    for number in range(SAMPLES_PER_RUN // COPY_ROWS):
        at = np.arange(number * COPY_ROWS, (number + 1) * COPY_ROWS)
        batch = SampleBatch(
            DataType.DOUBLE, (at % (AGENTS * 1000) + 1).astype(np.int32), begin_ns + at * 1_000_000,
            source.normal(50.0, 5.0, COPY_ROWS),
        )  # fmt: skip
        pieces.append(copy_data([SampleRows.of(1, batch)]))

    async def copy() -> Run:
        database = await open_database(dsn, connections_max=connections, application_name="benchmark")
        waiting = iter(pieces)

        async def copy_some() -> None:
            for piece in waiting:
                async with database.transaction() as session:
                    await session.copy(table, COLUMNS, piece)

        try:
            async with database.session() as session:
                await session.execute("TRUNCATE sample")
            cpu_s, started_s = time.process_time(), time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(connections):
                    tasks.create_task(copy_some())
            return Run(SAMPLES_PER_RUN, time.process_time() - cpu_s, time.monotonic() - started_s)
        finally:
            await database.close()

    return asyncio.run(copy())


def measure(bench: Bench, log: str) -> list[Figure]:
    """All figures of one event log."""
    title = f"{log} log, 500 samples a message"
    runs, single, parallel = [], [], []
    for _ in range(ROUNDS):
        run, dsn = bench.run(log, 500)
        runs.append(run)
        single.append(bare_copy(dsn, 1).per_s)
        parallel.append(bare_copy(dsn, COPY_CONNECTIONS).per_s)
    per_cpu_s = sum(run.samples for run in runs) / sum(run.cpu_s for run in runs)
    per_s, fastest = max(run.per_s for run in runs), max(single + parallel)
    figures = [
        Figure(title, per_cpu_s, "samples/CPU-s", GOAL),
        Figure(f"{title}: rate", per_s, "samples/s"),
        Figure("bare binary COPY, 1 connection: rate", max(single), "rows/s"),
        Figure(f"bare binary COPY, {COPY_CONNECTIONS} connections: rate", max(parallel), "rows/s"),
        Figure(f"{title}: rate as a part of the faster bare COPY", per_s / fastest, "", GOAL_OF_COPY),
    ]
    for samples in (100, 20):
        run, _ = bench.run(log, samples)
        title = f"{log} log, {samples} samples a message"
        figures.append(Figure(title, run.per_cpu_s, "samples/CPU-s"))
        figures.append(Figure(f"{title}: rate", run.per_s, "samples/s"))
    for samples in (500, 100, 20):
        run, _ = bench.run(log, samples, publish_samples=True)
        title = f"{log} log, {samples} samples a message, lineside.samples.v1 on"
        figures.append(Figure(title, run.per_cpu_s, "samples/CPU-s", GOAL if samples == 500 else None))
        figures.append(Figure(f"{title}: rate", run.per_s, "samples/s"))
    return figures


def main() -> None:
    """Run all combinations."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        bench = Bench(Path(name))
        try:
            bench.start()
            figures = [figure for log in ("postgresql", "kafka") for figure in measure(bench, log)]
        finally:
            bench.stop()
    report("cloud-ingest", figures)
