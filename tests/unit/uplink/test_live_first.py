"""What is live comes first, whatever waits: over slow links, beside held batches, and with clocks that are wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.sparkplug import sparkplug_b_pb2 as pb
from edge_agent.buffer.rows import Lane
from edge_agent.uplink.pace import BYTES_MIN, QUEUE_S, Pace
from tests.played_network import PRESS, Bench, PlayedNetwork, running, until
from tests.virtual_time import virtual_time

SAMPLES = 500
BROKER = "mqtts://a"


class Line:
    """An agent whose line gives 500 samples a second, all of them with the time in seconds as their value."""

    def __init__(self, folder: Path, network: PlayedNetwork, rate: float | None = None) -> None:
        self.network = network
        self.bench = Bench(
            folder, network, backlog_bytes_per_s_max=rate, window_batches_max=256, window_bytes_max=8 * 1024 * 1024,
            samples_pending_max=100_000,
        )  # fmt: skip

    async def outage(self, seconds: int) -> None:
        await self.bench.online()
        await until(lambda: not self.bench.waiting)
        self.network.unreachable = {BROKER}
        self.network.break_connection()
        await self.live(seconds)
        self.network.unreachable = set()

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.put(SAMPLES)
            await asyncio.sleep(1.0)

    def waiting(self) -> int:
        query = "SELECT count(*) FROM outbox"
        return int(self.bench.writer.outbox._connection.execute(query).fetchone()[0])

    async def put(self, count: int, lane: Lane = Lane.SAMPLES) -> None:
        bench = self.bench
        assert bench.definition is not None
        now_s = asyncio.get_running_loop().time()
        alias = np.full(count, bench.definition.metrics[0].alias, np.int32)
        times = np.full(count, bench.clock.now_ns()) + np.arange(count) * 1000
        batch = SampleBatch(DataType.DOUBLE, alias, times, np.full(count, now_s))
        bench.changed = [batch.select(slice(0, 1))]
        await bench.collector.put(PRESS, bench.definition.hash, batch, None, lane)


def values(payload: bytes) -> list[float]:
    return [metric.double_value for metric in pb.Payload.FromString(payload).metrics if not metric.name]


@pytest.mark.parametrize("queues_unseen", [False, True], ids=["in the socket", "behind the socket"])
@pytest.mark.parametrize(("bytes_per_s", "outage_s"), [(60_000, 120), (125_000, 250), (1_000_000, 900)])
@virtual_time
async def test_previews_are_never_more_than_a_second_behind_on_a_slow_link(
    tmp_path: Path, bytes_per_s: int, outage_s: int, queues_unseen: bool
) -> None:
    network = PlayedNetwork()
    line = Line(tmp_path, network)
    network.queues_unseen = queues_unseen
    async with running(line.bench):
        await line.outage(outage_s)
        network.bytes_per_s = bytes_per_s
        await until(lambda: line.bench.uplink.state.phase == "born")
        born_s, behind_s = asyncio.get_running_loop().time(), 0
        while behind_s < 30 and line.waiting() > 10:
            await line.live(1)
            behind_s += 1
    took_s = asyncio.get_running_loop().time() - born_s
    came = [each for each in network.came if each[0] >= born_s]
    previews = [(when_s, values(payload)[0]) for when_s, batch, payload in came if not batch]
    assert len(previews) > 0.8 * behind_s - 2, "the line has new values once a second"
    late_s = [when_s - value for when_s, value in previews if value >= born_s]
    assert max(late_s) <= 1.5, "of which half a second is the time between two previews"
    assert sum(len(payload) for _, batch, payload in came if batch) > 0.75 * bytes_per_s * took_s, "the link is used"


@virtual_time
async def test_alarms_overtake_a_backlog_that_is_held_to_its_rate(tmp_path: Path) -> None:
    network = PlayedNetwork()
    line = Line(tmp_path, network, rate=2_000.0)
    async with running(line.bench):
        await line.outage(60)
        await until(lambda: line.bench.uplink.state.phase == "born")
        await asyncio.sleep(10.0)
        assert line.waiting() > 30
        put_s = asyncio.get_running_loop().time()
        await line.put(1, Lane.ALARMS)
        await until(lambda: any(values(payload) == [put_s] and batch for _, batch, payload in network.came), 60.0)
        when_s = next(when for when, batch, payload in network.came if batch and values(payload) == [put_s])
    assert when_s - put_s < 0.5


@pytest.mark.parametrize("shift_s", [-3600.0, -1_790_000_000.0, 3600.0], ids=["an hour back", "1970", "ahead"])
@virtual_time
async def test_a_clock_that_is_set_changes_neither_previews_nor_the_rate_of_a_backlog(
    tmp_path: Path, shift_s: float
) -> None:
    network = PlayedNetwork()
    line = Line(tmp_path, network, rate=20_000.0)
    async with running(line.bench):
        await line.outage(100)
        line.bench.clock.jump_ns = round(shift_s * 1e9)
        size = sum(row.size_bytes for row in line.bench.reader.rows())
        await until(lambda: line.bench.uplink.state.phase == "born")
        begun_s = asyncio.get_running_loop().time()
        await line.live(10)
        assert line.bench.uplink.state.previews >= 10
        await until(lambda: not line.waiting(), 600.0)
        took_s = asyncio.get_running_loop().time() - begun_s
    assert took_s > 0.9 * size / 20_000.0, "the rate is kept"


@virtual_time
async def test_one_source_time_in_the_future_makes_no_history_of_what_follows(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        bench.clock.jump_ns = 86_400 * 10**9  # by its own clock, a device is a day ahead once
        future_ns = bench.clock.now_ns()
        bench.clock.jump_ns = 0
        await bench.put(1.0, time_ns=future_ns)
        await asyncio.sleep(1.0)
        since = len(network.came)
        for number in range(5):
            await bench.put(float(number))
            await asyncio.sleep(1.0)
    metrics = [metric for _, batch, payload in network.came[since:] if batch
               for metric in pb.Payload.FromString(payload).metrics if not metric.name]  # fmt: skip
    assert len(metrics) == 5
    assert not any(metric.is_historical for metric in metrics)


def played(pace: Pace, bytes_per_s: float, way_s: float) -> float:
    """Fill a link as far as ``pace`` lets us, round trip by round trip; how long its queue is in the end."""
    queue_s = 0.0
    for _ in range(300):
        in_flight = pace.bytes_max
        assert not pace.may_send(1, in_flight)
        queue_s = max(0.0, in_flight / bytes_per_s - way_s)
        for _ in range(8):
            pace.acknowledged(in_flight // 8, way_s + queue_s)
            pace.may_send(1, pace.bytes_max)
    return queue_s


@pytest.mark.parametrize("bytes_per_s", [50_000, 1_000_000, 20_000_000])
@pytest.mark.parametrize("way_s", [0.01, 0.2, 1.5])
def test_the_queue_of_a_backlog_on_the_link_stays_short_and_the_link_full(bytes_per_s: int, way_s: float) -> None:
    pace = Pace()
    queue_s = played(pace, bytes_per_s, way_s)
    assert queue_s <= QUEUE_S * 1.5 + BYTES_MIN / bytes_per_s
    assert pace.bytes_max >= bytes_per_s * way_s * 0.9


def test_a_way_that_has_become_longer_is_not_taken_for_a_queue_for_long() -> None:
    pace = Pace()
    played(pace, 20_000_000, 0.05)
    before = pace.bytes_max
    for _ in range(2000):
        pace.acknowledged(8_000, 3.0)
    assert pace.bytes_max < before, "it may be one"
    played(pace, 20_000_000, 3.0)
    assert pace.bytes_max > before, "but hardly anything was in flight, and the way was no shorter"


def test_what_is_not_used_is_not_let_grow() -> None:
    pace = Pace()
    for _ in range(100):
        assert pace.may_send(1000, 1000)
        pace.acknowledged(1000, 0.01)
    assert pace.bytes_max == BYTES_MIN
