"""After an outage: the newest values at once, the backlog behind them in its order and at its rate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.sparkplug import sparkplug_b_pb2 as pb
from edge_agent.uplink.backlog import Backlog
from tests.played_network import Bench, PlayedNetwork, running, until
from tests.virtual_time import START_NS, virtual_time

OUTAGE_S = 120


def metrics(payload: bytes) -> list[pb.Payload.Metric]:
    return [metric for metric in pb.Payload.FromString(payload).metrics if not metric.name]


async def outage(bench: Bench, network: PlayedNetwork) -> None:
    """Two minutes without a connection, with a sample a second."""
    network.unreachable = {"mqtts://a"}
    network.break_connection()
    for number in range(OUTAGE_S):
        await bench.put(float(number))
        await asyncio.sleep(1.0)
    network.unreachable = set()
    await until(lambda: bench.uplink.state.phase == "born")


def ddata(network: PlayedNetwork, since: int) -> list[tuple[float, int, pb.Payload.Metric]]:
    """When, which batch, and the first metric of each DDATA."""
    pairs = zip(network.order[since:], network.payloads[since:], strict=True)
    return [(when_s, batch, metrics(payload)[0]) for (verb, batch), (when_s, payload) in pairs if verb == "DDATA"]


@virtual_time
async def test_newest_values_come_first_as_a_preview_and_the_backlog_follows_as_history(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network, backlog_bytes_per_s_max=1000.0)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        since = len(network.order)
        await outage(bench, network)
        for number in range(20):
            await bench.put(1000.0 + number)
            await asyncio.sleep(0.5)
        await until(lambda: not bench.waiting, 600.0)
    sent = ddata(network, since)
    previews = [(when_s, metric) for when_s, batch, metric in sent if batch == 0]
    assert previews[0][1].double_value >= OUTAGE_S - 1
    assert all(metric.is_transient and not metric.is_historical for _, metric in previews)
    batches = [(batch, metric) for _, batch, metric in sent if batch]
    assert [batch for batch, _ in batches] == sorted(batch for batch, _ in batches), "in the order of their numbers"
    previewed = [batch for _, batch, _ in sent].index(0)
    assert previewed < 20, "at once: a birth, which tells the newest values before, has none here"
    assert all(metric.is_historical for _, batch, metric in sent[previewed:] if 0 < batch < OUTAGE_S)
    assert bench.uplink.state.previews == len(previews) > 5
    born_s = sent[0][0]
    values = [(when_s, metric.double_value) for when_s, metric in previews if metric.double_value >= 1000.0]
    for when_s, value in values:
        assert when_s - (born_s + (value - 1000.0) * 0.5) < 3.0, "the live view is no more than a moment behind"


@virtual_time
async def test_a_preview_is_no_batch_and_nothing_waits_for_it(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(60):
            await bench.put(float(number))
            await asyncio.sleep(0.5)
        assert bench.uplink.in_flight <= 8
        assert bench.uplink.state.previews > 20, "a cloud that acknowledges nothing does not stop the live view"
        network.acknowledges = True
        await until(lambda: not bench.waiting)
        before = bench.uplink.state.previews
        for number in range(20):
            await bench.put(float(number))
            await asyncio.sleep(0.5)
        assert bench.uplink.state.previews - before <= 1, "there is none while delivery keeps up"
    assert 0 not in {batch for _, batch in network.arrived}


@virtual_time
async def test_a_value_that_the_broker_takes_in_no_packet_is_not_previewed(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.bytes_max = 3000  # which the network holds us to
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await bench.put(0.0)
        await asyncio.sleep(2.0)
        texts = np.array(["x" * 5000, "short"], object)
        bench.changed = [SampleBatch(DataType.STRING, np.array([1, 2], np.int32), np.full(2, START_NS), texts)]
        before = bench.uplink.state.previews
        await until(lambda: bench.uplink.state.previews > before)
    previews = [payload for (verb, batch), (_, payload) in zip(network.order, network.payloads, strict=True)
                if verb == "DDATA" and batch == 0]  # fmt: skip
    assert [metric.string_value for payload in previews[before:] for metric in metrics(payload)] == ["short"]


@virtual_time
async def test_the_backlog_keeps_to_its_rate_and_live_batches_do_not_wait_for_it(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network, backlog_bytes_per_s_max=500.0)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        await outage(bench, network)
        size = sum(row.size_bytes for row in bench.reader.rows())
        begun_s = asyncio.get_running_loop().time()
        await until(lambda: not bench.waiting, 600.0)
        took_s = asyncio.get_running_loop().time() - begun_s
    assert took_s == pytest.approx(size / 500.0, rel=0.25)


def test_the_rate_of_a_backlog_counts_only_what_had_to_wait() -> None:
    backlog = Backlog(1000.0)
    for number in range(100):
        backlog.leaves(500, 50, number / 100, is_old=False)
        assert backlog.wait_s(number / 100) == 0
    assert backlog.lag_ms == 50
    backlog.leaves(1200, 5000, 1.0, is_old=True)
    assert backlog.wait_s(1.0) == pytest.approx(1.0)
    assert backlog.wait_s(2.0) == 0


def test_without_a_rate_nothing_waits() -> None:
    backlog = Backlog(None)
    backlog.leaves(1 << 40, 5000, 1.0, is_old=True)
    assert (backlog.wait_s(1.0), backlog.lag_ms) == (0.0, 5000)
