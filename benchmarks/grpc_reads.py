"""``grpc-reads``: reads by gRPC at 200 a second, while 50,000 samples a second are stored on the same cores.

As ``gateway-reads``, with the calls that a backend makes: the newest values of 20 tags, the samples of 20 s in columns,
an hour by minutes. Then, with nothing stored any more, how many samples a second come of a whole range.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import grpc
from lineside.servers.child_process import free_port

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.gateway_reads import (
    AGENTS,
    ECHOES_PER_S,
    READS_PER_S,
    ROUND_S,
    ROUNDS,
    SAMPLES_A_MESSAGE,
    SAMPLES_PER_S,
    WARM_UP_S,
    Round,
    ask,
    figures,
    stored_so_far,
)
from benchmarks.plain_http import Pool
from benchmarks.processes import Program, python
from benchmarks.report import Figure, report
from connectors.lineside_api.v1.data_pb2 import (
    ReadIntervalsRequest,
    ReadSampleRangeRequest,
    ReadSamplesRequest,
    ReadTagsRequest,
    TagName,
    TagRef,
)
from connectors.lineside_api.v1.data_pb2_grpc import DataServiceStub
from connectors.postgres.database import open_database

CALLS: Final = ("tags", "samples", "intervals")
RANGE_TAGS: Final = 100
S: Final = 1_000_000_000


class Backend:
    """A program that asks by gRPC, on one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._data = DataServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._token = (("authorization", f"Bearer {token}"),)

    async def timed(self, call: str, due_s: float) -> float:
        """Make ``call``: how long that took since ``due_s``, in ms."""
        at, now_ns = random.randrange(1000), time.time_ns()
        match call:
            case "tags":
                await self._data.ReadTags(ReadTagsRequest(tags=[_tag(at + n) for n in range(20)]), metadata=self._token)
            case "samples":
                asked = ReadSamplesRequest(tag=_tag(at), from_ns=now_ns - 20 * S, limit=500)
                await self._data.ReadSamples(asked, metadata=self._token)
            case _:
                hour = ReadIntervalsRequest(tag=_tag(at), from_ns=now_ns - 3600 * S, bucket_ms=60_000)
                await self._data.ReadIntervals(hour, metadata=self._token)
        return (time.perf_counter() - due_s) * 1000

    async def range_per_s(self) -> float:
        """How many samples a second come of all that ``RANGE_TAGS`` tags have."""
        began_s, count = time.perf_counter(), 0
        asked = ReadSampleRangeRequest(tags=[_tag(n) for n in range(RANGE_TAGS)], from_ns=time.time_ns() - 3600 * S)
        async for chunk in self._data.ReadSampleRange(asked, metadata=self._token):
            count += len(chunk.columns.time_ns)
        return count / (time.perf_counter() - began_s)

    async def close(self) -> None:
        """Let the connection go."""
        await self._channel.close()


def _tag(number: int) -> TagRef:
    return TagRef(name=TagName(agent=f"bench/agent{number % AGENTS}", device="press", tag=f"t{number % 1000}"))


async def asked(backend: Backend) -> list[float]:
    """Calls for ``ROUND_S``, each timed from when it was due, as ``ask`` does it by REST."""
    took: list[float] = []
    begin_s = due_s = time.perf_counter()

    async def one(call: str, due_s: float) -> None:
        took.append(await backend.timed(call, due_s))

    async with asyncio.TaskGroup() as tasks:
        while (due_s := due_s + random.expovariate(READS_PER_S)) < begin_s + ROUND_S:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.create_task(one(random.choice(CALLS), due_s))
    return took


async def rounds_of(backend: Backend, echo: Pool, dsn: str) -> list[Round]:
    """All rounds, reads and echoes at the same time."""
    database = await open_database(dsn, connections_max=1, application_name="benchmark")
    found = []
    try:
        for call in CALLS:  # once each, so that all plans are made
            await backend.timed(call, time.perf_counter())
        for _ in range(ROUNDS):
            before, began_s = await stored_so_far(database), time.monotonic()
            took, echoed = await asyncio.gather(asked(backend), ask(echo, ECHOES_PER_S, ["/"]))
            stored = await stored_so_far(database) - before
            found.append(Round(tuple(took), tuple(echoed), stored / (time.monotonic() - began_s)))
    finally:
        await database.close()
    return found


async def measure(cloud: CommandedCloud, port: int, agents: subprocess.Popen[str]) -> list[Figure]:
    """Under load, then without."""
    backend, echo = Backend(cloud.grpc_port or 0, cloud.token), Pool("127.0.0.1", port)
    try:
        rounds = await rounds_of(backend, echo, cloud.dsn)
        agents.kill()
        await asyncio.sleep(5)
        rates = [await backend.range_per_s() for _ in range(ROUNDS)]
    finally:
        await backend.close()
        echo.close()
    return [*figures(rounds), Figure("samples of a range", statistics.median(rates), "samples/s")]


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        cloud = CommandedCloud(Path(name), ("ingest,historian", "gateway"), grpc_port=free_port())
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
                    found = asyncio.run(measure(cloud, port, agents))
                finally:
                    agents.kill()
        finally:
            if echo is not None:
                echo.stop()
            cloud.stop()
    report("grpc-reads", found)


if __name__ == "__main__":
    main()
