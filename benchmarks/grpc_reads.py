"""``grpc-reads``: reads by gRPC at 200 a second, while 50,000 samples a second are stored on the same cores.

How it is measured: ``reads_beside_samples``, with the calls that a backend makes: the newest values of 20 tags, the
samples of 20 s in columns, an hour by minutes. Then, with nothing stored any more, how many samples a second come of a
whole range.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Final

import grpc
from lineside.servers.child_process import free_port

from benchmarks.delivering_fleet import TAGS
from benchmarks.reads_beside_samples import AGENTS, ROUNDS, LoadedPlant, figures, loaded_plant, read_rounds
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

CALLS: Final = ("tags", "samples", "intervals")
RANGE_TAGS: Final = 100
SETTLE_S: Final = 5.0
"""What is on its way is stored meanwhile."""
S: Final = 1_000_000_000


class Backend:
    """A program that asks by gRPC, on one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._data = DataServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._token = (("authorization", f"Bearer {token}"),)

    async def timed(self, call: str, due_s: float) -> float:
        """Make ``call``: how long that took since ``due_s``, in ms."""
        at, now_ns = random.randrange(TAGS), time.time_ns()
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
    return TagRef(name=TagName(agent=f"bench/agent{number % AGENTS}", device="press", tag=f"t{number % TAGS}"))


async def measure(plant: LoadedPlant) -> list[Figure]:
    """Under load, then without."""
    backend = Backend(plant.cloud.grpc_port or 0, plant.cloud.token)
    try:
        for call in CALLS:  # once each, so that all plans are made
            await backend.timed(call, time.perf_counter())
        rounds = await read_rounds(plant, backend.timed, lambda: random.choice(CALLS))
        plant.silence()
        await asyncio.sleep(SETTLE_S)
        rates = [await backend.range_per_s() for _ in range(ROUNDS)]
    finally:
        await backend.close()
    return [*figures(rounds), Figure("samples of a range", statistics.median(rates), "samples/s")]


def main() -> None:
    """Measure."""
    with loaded_plant(grpc_port=free_port()) as plant:
        found = asyncio.run(measure(plant))
    report("grpc-reads", found)


if __name__ == "__main__":
    main()
