"""``cloud-ingest``: MQTT → event log → decoded → PostgreSQL rows, in samples per CPU-second of our processes.

Eight agents deliver prepared batches as fast as they are acknowledged; ingest and historian run in one process. Beside
it, in the same run and with the same number of rows, a bare binary COPY goes into the same table, its index included.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from benchmarks.processes import BIN, Program
from benchmarks.report import Figure, report
from cloud_ingest.historian.sample_rows import COLUMNS, SampleRows, copy_data
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.postgres.database import open_database
from tests.servers.kafka import KafkaServer

AGENTS = 8
SAMPLES_PER_RUN = 2_000_000
COPY_ROWS = 50_000
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
        self.kafka = KafkaServer(folder / "kafka")
        self._number = 0

    def start(self) -> None:
        self.postgres.start()
        self.broker.start()
        self.kafka.start()

    def stop(self) -> None:
        self.kafka.stop()
        self.broker.stop()
        self.postgres.stop()

    def database(self) -> str:
        self._number += 1
        name = f"bench{self._number}"
        self.postgres.create_database(name)
        return name

    def run(self, log: str, samples_per_message: int, *, publish_samples: bool = False) -> tuple[Run, str]:
        """Deliver ``SAMPLES_PER_RUN`` samples; what that took, and the database that has them now."""
        database = self.database()
        folder = self.folder / database
        folder.mkdir()
        messages = SAMPLES_PER_RUN // AGENTS // samples_per_message
        dsn = self.postgres.dsn(database)
        cloud = Program([str(BIN / "cloud-ingest"), "run", "--roles", "ingest,historian", "-c",
                         str(self._config(folder, database, log, publish_samples=publish_samples))],
                        folder / "cloud.log")  # fmt: skip
        try:
            cloud.wait_for("host_online")
            agents = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.delivering_agents", self.broker.url, str(AGENTS), str(messages),
                 str(samples_per_message)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
            assert agents.stdin is not None
            assert agents.stdout is not None
            agents.stdout.readline()
            time.sleep(1.0)
            cpu_s, started_s = cloud.cpu_s(), time.monotonic()
            agents.stdin.write("go\n")
            agents.stdin.flush()
            wanted = messages * samples_per_message * AGENTS
            cloud.wait_until(lambda: _stored(dsn) == wanted, f"store {wanted} samples", 180.0)
            run = Run(wanted, cloud.cpu_s() - cpu_s, time.monotonic() - started_s)
            agents.wait(10)
            return run, dsn
        finally:
            cloud.stop()

    def _config(self, folder: Path, database: str, log: str, *, publish_samples: bool) -> Path:
        place = urlsplit(self.postgres.dsn(database))
        (folder / "password").write_text(place.password or "")
        lines = [
            f"ingest: {{brokers: ['{self.broker.url}'], insecure: true, acknowledge: logged}}",
            f"database: {{host: {place.hostname}, port: {place.port}, user: {place.username}, name: {database}, "
            f'password: "${{file:{folder}/password}}", insecure: true}}',
            f"historian: {{publish_samples: {str(publish_samples).lower()}}}",
        ]
        if log == "kafka":
            kafka = f"brokers: ['{self.kafka.bootstrap}'], insecure: true, replication: 1, in_sync: 1"
            lines.append(f"event_log: {{kafka: {{{kafka}}}}}")
        path = folder / "cloud.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path


def _stored(dsn: str) -> int:
    async def ask() -> int:
        database = await open_database(dsn, connections_max=1, application_name="benchmark")
        try:
            async with database.session() as session:
                rows = await session.fetch("SELECT coalesce(sum(samples), 0) AS n FROM ledger")
                return int(rows[0]["n"])
        finally:
            await database.close()

    return asyncio.run(ask())


def bare_copy(dsn: str) -> Run:
    """COPY as many rows into the same table, and nothing else; the bytes are made before."""
    table = f"sample_{time.strftime('%Y%m%d', time.gmtime())}"
    source = np.random.default_rng(7)
    pieces = []
    for number in range(SAMPLES_PER_RUN // COPY_ROWS):
        at = np.arange(number * COPY_ROWS, (number + 1) * COPY_ROWS)
        begin_ns = int(time.time() // 86_400 * 86_400 * 1e9)
        batch = SampleBatch(
            DataType.DOUBLE, (at % (AGENTS * 1000) + 1).astype(np.int32), begin_ns + at * 1_000_000,
            source.normal(50.0, 5.0, COPY_ROWS),
        )  # fmt: skip
        pieces.append(copy_data([SampleRows.of(1, batch)]))

    async def copy() -> Run:
        database = await open_database(dsn, connections_max=1, application_name="benchmark")
        try:
            async with database.session() as session:
                await session.execute("TRUNCATE sample")
            cpu_s, started_s = time.process_time(), time.monotonic()
            for piece in pieces:
                async with database.transaction() as session:
                    await session.copy(table, COLUMNS, piece)
            return Run(SAMPLES_PER_RUN, time.process_time() - cpu_s, time.monotonic() - started_s)
        finally:
            await database.close()

    return asyncio.run(copy())


def main() -> None:
    """Run all combinations."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        bench = Bench(Path(name))
        try:
            bench.start()
            for log in ("postgresql", "kafka"):
                for samples in (500, 100, 20):
                    run, dsn = bench.run(log, samples)
                    title = f"{log} log, {samples} samples a message"
                    figures.append(Figure(title, run.per_cpu_s, "samples/CPU-s", GOAL if samples == 500 else None))
                    figures.append(Figure(f"{title}: rate", run.per_s, "samples/s"))
                    if samples == 500:
                        copied = bare_copy(dsn)
                        figures.append(Figure("bare binary COPY: rate", copied.per_s, "rows/s"))
                        figures.append(
                            Figure(f"{title}: part of a bare COPY", run.per_s / copied.per_s, "", GOAL_OF_COPY)
                        )
                run, _ = bench.run(log, 500, publish_samples=True)
                title = f"{log} log, 500 samples a message, lineside.samples.v1 on"
                figures.append(Figure(title, run.per_cpu_s, "samples/CPU-s"))
                figures.append(Figure(f"{title}: rate", run.per_s, "samples/s"))
        finally:
            bench.stop()
    report("cloud-ingest", figures)
