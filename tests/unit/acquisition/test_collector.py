"""The collector commits everything once and in order, says so afterwards, and waits when the disk does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchNumber, BatchRanges, Epoch
from connectors.model.errors import OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.acquisition.collector import GAP_TAGS_MAX, Collector, CollectorSettings
from edge_agent.acquisition.commit_times import GATHER_S
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.rows import Gap, Kind, Lane, OpenGap, StoredBatch
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from tests.virtual_time import VirtualClock, virtual_time

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
DEFINITION = DefinitionHash("d")
INTERVAL_S = 0.1


class PlayedWriter:
    """A writer whose disk can be slow or fail."""

    def __init__(self) -> None:
        self.commits: list[tuple[float, Commit]] = []
        self.duration_s = 0.0
        self.failures = 0
        self._number = 0

    async def commit(self, work: Commit) -> list[StoredBatch]:
        await asyncio.sleep(self.duration_s)
        if self.failures:
            self.failures -= 1
            raise OutboxUnavailable("the disk is full")
        self.commits.append((asyncio.get_running_loop().time(), work))
        rows: list[StoredBatch] = []
        for batch in work.batches:
            self._number += 1
            count = sum(len(part) for part in batch.parts)
            rows.append(
                StoredBatch(BatchNumber(self._number), Epoch(1), Kind.SAMPLES, batch.device, batch.definition, 0, count,
                            1, batch.parts)
            )  # fmt: skip
        return rows

    def values(self, device: DeviceName = PRESS) -> list[list[Any]]:
        """The values of each commit."""
        return [
            [value for batch in work.batches if batch.device == device for part in batch.parts for value in part.value]
            for _, work in self.commits
        ]


class Bench:
    def __init__(self, pending_max: int = 1000, bytes_max: int = 100_000, pending_bytes_max: int = 1 << 30) -> None:
        self.writer = PlayedWriter()
        self.feed = Feed(cast(OutboxReader, None))
        settings = CollectorSettings(INTERVAL_S, pending_max, pending_bytes_max, bytes_max)
        self.collector = Collector(cast(OutboxWriter, self.writer), self.feed, settings, VirtualClock())
        self.said: list[str] = []

    async def put(self, *values: float, device: DeviceName = PRESS, said: str = "") -> None:
        committed: Callable[[], None] | None = (lambda: self.said.append(said)) if said else None
        await self.collector.put(device, DEFINITION, doubles(*values), committed)


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.collector.run())
    try:
        yield
    finally:
        bench.collector.stop()
        await task


def doubles(*values: float) -> SampleBatch:
    size = len(values)
    return SampleBatch(DataType.DOUBLE, np.full(size, 16_384, np.int32), np.zeros(size, np.int64), np.array(values))


@virtual_time
async def test_samples_of_one_round_of_all_devices_are_committed_together_and_at_once() -> None:
    bench = Bench()
    async with running(bench):
        await bench.put(1.0)
        await bench.put(2.0, device=OVEN)
        await asyncio.sleep(GATHER_S / 2)
        await bench.put(3.0)
        assert bench.collector.samples_pending == 3
        assert bench.writer.commits == []
        await asyncio.sleep(GATHER_S)
        assert bench.writer.values() == [[1.0, 3.0]]
        assert bench.writer.values(OVEN) == [[2.0]]
        assert [round(time_s, 6) for time_s, _ in bench.writer.commits] == [GATHER_S]
        assert (bench.collector.samples_pending, bench.collector.samples_committed) == (0, 3)


@virtual_time
async def test_a_round_that_comes_too_soon_waits_for_the_next_one_and_leaves_with_it_at_once() -> None:
    bench = Bench()
    every_s = INTERVAL_S * 0.7
    async with running(bench):
        for number in range(5):
            await bench.put(float(number))
            await asyncio.sleep(every_s)
        assert bench.writer.values() == [[0.0], [1.0, 2.0], [3.0, 4.0]]
        times = [round(time_s, 6) for time_s, _ in bench.writer.commits]
        assert times == [round(number * every_s + GATHER_S, 6) for number in (0, 2, 4)]


@virtual_time
async def test_samples_after_which_none_come_wait_one_and_a_half_intervals_at_most() -> None:
    bench = Bench()
    async with running(bench):
        await bench.put(1.0)
        await asyncio.sleep(2 * GATHER_S)
        await bench.put(2.0)
        await asyncio.sleep(2 * INTERVAL_S)
    assert bench.writer.values() == [[1.0], [2.0]]
    assert round(bench.writer.commits[1][0] - GATHER_S, 6) == round(1.5 * INTERVAL_S, 6)


@virtual_time
async def test_samples_that_come_during_a_commit_wait_one_and_a_half_intervals_after_it_at_most() -> None:
    bench = Bench()
    bench.writer.duration_s = 3.0
    async with running(bench):
        await bench.put(1.0)
        await asyncio.sleep(2.0)
        await bench.put(2.0)
        await asyncio.sleep(5.0)
    assert bench.writer.values() == [[1.0], [2.0]]
    assert round(bench.writer.commits[1][0] - bench.writer.commits[0][0] - 3.0, 6) == round(1.5 * INTERVAL_S, 6)


@virtual_time
async def test_an_alarm_waits_for_a_quarter_of_the_interval_at_most_also_behind_samples_and_during_a_commit() -> None:
    bench = Bench()
    alarm = doubles(7.0)
    async with running(bench):
        await bench.put(1.0)
        await asyncio.sleep(2 * GATHER_S)
        await bench.put(2.0)
        await bench.collector.put(PRESS, DEFINITION, alarm, None, Lane.ALARMS)
        await asyncio.sleep(INTERVAL_S / 2)
        await bench.collector.put(PRESS, DEFINITION, alarm, None, Lane.ALARMS)
        await asyncio.sleep(2 * INTERVAL_S)
        bench.writer.duration_s = 3.0
        await bench.put(3.0)
        await asyncio.sleep(1.0)
        await bench.collector.put(PRESS, DEFINITION, alarm, None, Lane.ALARMS)
        await asyncio.sleep(10.0)
    assert bench.writer.values() == [[1.0], [2.0, 7.0], [7.0], [3.0], [7.0]]
    times = [time_s for time_s, _ in bench.writer.commits]
    assert [round(time_s / GATHER_S, 3) for time_s in times[:3]] == [1.0, 7.0, 13.0]
    assert round(times[4] - times[3], 6) == round(3.0 + INTERVAL_S / 4 + GATHER_S, 6)


@virtual_time
async def test_commits_are_an_interval_apart_however_often_samples_come() -> None:
    bench = Bench()
    async with running(bench):
        for number in range(1000):
            await bench.put(float(number))
            await asyncio.sleep(INTERVAL_S / 20)
    times = [time_s for time_s, _ in bench.writer.commits]
    assert all(later - earlier > INTERVAL_S * 0.99 for earlier, later in itertools.pairwise(times[:-1]))
    assert len(times) <= 1000 / 20 + 2
    assert [value for values in bench.writer.values() for value in values] == [float(number) for number in range(1000)]


@virtual_time
async def test_acknowledgements_alone_wait_longer_but_not_for_samples() -> None:
    bench = Bench()
    async with running(bench):
        bench.collector.acknowledged(Epoch(1), 1, 5)
        await asyncio.sleep(0.9)
        assert bench.writer.commits == []
        await asyncio.sleep(0.2)
        ((_, work),) = bench.writer.commits
        assert work.acknowledged == {Epoch(1): BatchRanges([(1, 5)])}
        bench.collector.acknowledged(Epoch(1), 6, 6)
        await asyncio.sleep(0.3)
        await bench.put(1.0)
        await asyncio.sleep(1.5 * INTERVAL_S)
        assert bench.writer.values() == [[], [1.0]]
        assert bench.writer.commits[1][1].acknowledged == {Epoch(1): BatchRanges([(6, 6)])}


@virtual_time
async def test_whoever_handed_samples_over_hears_of_it_after_the_commit_and_in_order() -> None:
    bench = Bench()
    bench.writer.duration_s = 5.0
    async with running(bench):
        await bench.put(1.0, said="first")
        await bench.put(2.0, said="second")
        await asyncio.sleep(1.0)
        await bench.put(3.0, said="third")
        await asyncio.sleep(3.9)
        assert bench.said == []
        await asyncio.sleep(0.5)
        assert bench.said == ["first", "second"]
        await asyncio.sleep(6.0)
        assert bench.said == ["first", "second", "third"]


@virtual_time
async def test_what_is_committed_reaches_the_feed_in_the_order_of_its_numbers() -> None:
    bench = Bench()
    bench.feed.read_from_disk(0)
    async with running(bench):
        for number in range(5):
            await bench.put(float(number))
            await asyncio.sleep(2 * INTERVAL_S)
    assert [row.number for row in await bench.feed.take(10, 100)] == [1, 2, 3, 4, 5]


@virtual_time
async def test_a_device_with_long_texts_waits_when_few_of_them_take_much_memory() -> None:
    bench = Bench(pending_bytes_max=100_000)
    bench.writer.duration_s = 3.0
    handed_over: list[int] = []

    async def hand_over() -> None:
        for number in range(20):
            text = np.array(["x" * 5000], object)
            batch = SampleBatch(DataType.STRING, np.array([16_384], np.int32), np.array([number]), text)
            await bench.collector.put(PRESS, DEFINITION, batch, None)
            handed_over.append(number)

    async with running(bench), asyncio.TaskGroup() as devices:
        devices.create_task(hand_over())
        await asyncio.sleep(2.9)
        assert len(handed_over) == 5
        assert bench.collector.pending_bytes < 125_000
    assert len(handed_over) == 20
    assert bench.collector.pending_bytes == 0


@virtual_time
async def test_a_device_waits_while_the_disk_does_and_loses_nothing() -> None:
    bench = Bench(pending_max=10)
    bench.writer.duration_s = 3.0
    handed_over: list[float] = []

    async def hand_over(device: DeviceName, first: int) -> None:
        for number in range(first, first + 40):
            await bench.put(float(number), device=device)
            handed_over.append(float(number))
            assert bench.collector.samples_pending <= 10

    async with running(bench), asyncio.TaskGroup() as devices:
        devices.create_task(hand_over(PRESS, 0))
        devices.create_task(hand_over(OVEN, 1000))
        await asyncio.sleep(0.01)
        assert len(handed_over) == 10
        await asyncio.sleep(2.9)
        assert len(handed_over) == 10
    assert [value for values in bench.writer.values() for value in values] == [float(number) for number in range(40)]
    assert [value for values in bench.writer.values(OVEN) for value in values] == [
        float(number) for number in range(1000, 1040)
    ]


@virtual_time
async def test_a_disk_that_fails_is_tried_again_until_it_takes_everything() -> None:
    bench = Bench()
    async with running(bench):
        bench.writer.failures = 5
        await bench.put(1.0, said="first")
        bench.collector.open_gap(OpenGap(PRESS, "device_unavailable", 7))
        await asyncio.sleep(3.0)
        assert bench.collector.blocked_reason == "the disk is full"
        assert (bench.collector.samples_pending, bench.said) == (1, [])
        await bench.put(2.0)
        await asyncio.sleep(4.0)
        assert bench.collector.blocked_reason == ""
    assert (bench.writer.values(), bench.said) == ([[1.0], [2.0]], ["first"])
    assert [gap.first_ns for gap in bench.writer.commits[0][1].opened_gaps] == [7]


@virtual_time
async def test_stopping_commits_what_is_pending_at_once() -> None:
    bench = Bench()
    async with running(bench):
        await bench.put(1.0, said="first")
        bench.collector.acknowledged(Epoch(1), 3, 3)
    assert (bench.writer.values(), bench.said) == ([[1.0]], ["first"])
    assert asyncio.get_running_loop().time() == 0.0


@virtual_time
async def test_what_comes_during_the_last_commit_is_committed_too() -> None:
    bench = Bench()
    bench.writer.duration_s = 2.0
    async with running(bench):
        await bench.put(1.0)
        bench.collector.stop()
        await asyncio.sleep(1.0)
        await bench.put(2.0)
    assert bench.writer.values() == [[1.0], [2.0]]


# -- word of a commit without samples of one's own ---------------------------------------------------------------------


@virtual_time
async def test_word_that_waits_for_nothing_comes_at_once() -> None:
    bench = Bench()
    async with running(bench):
        bench.collector.after_commit(lambda: bench.said.append("now"))
        assert bench.said == ["now"]


@virtual_time
async def test_word_comes_after_the_commit_of_all_that_was_handed_over_before() -> None:
    bench = Bench()
    bench.writer.duration_s = 2.0
    async with running(bench):
        await bench.put(1.0)
        bench.collector.after_commit(lambda: bench.said.append("pending"))
        await asyncio.sleep(1.0)
        bench.collector.after_commit(lambda: bench.said.append("under way"))
        assert bench.said == []
        await asyncio.sleep(2.0)
        assert bench.said == ["pending", "under way"]
        assert len(bench.writer.commits) == 1


@virtual_time
async def test_what_a_commit_declares_of_a_device_for_one_reason_is_one_record_of_bounded_size() -> None:
    bench = Bench()
    async with running(bench):
        declare = bench.collector.declare_gap
        declare(Gap(PRESS, "device_overflow", 5, 6, tags=("a", "b")))
        declare(Gap(PRESS, "clock_set", 1, 2))
        declare(Gap(PRESS, "device_overflow", 4, 5, tags=("b", "c")))
        declare(Gap(OVEN, "device_overflow", 7, 8, tags=tuple(map(str, range(GAP_TAGS_MAX)))))
        await asyncio.sleep(1.5 * INTERVAL_S)
        ((_, work),) = bench.writer.commits
        assert sorted(work.declared_gaps, key=lambda gap: gap.first_ns) == [
            Gap(PRESS, "clock_set", 1, 2),
            Gap(PRESS, "device_overflow", 4, 6, tags=("a", "b", "c")),
            Gap(OVEN, "device_overflow", 7, 8, tags=tuple(map(str, range(GAP_TAGS_MAX)))),
        ]
        declare(Gap(OVEN, "device_overflow", 9, 10, tags=tuple(map(str, range(GAP_TAGS_MAX + 1)))))
        await asyncio.sleep(1.5 * INTERVAL_S)
        assert bench.writer.commits[1][1].declared_gaps == [Gap(OVEN, "device_overflow", 9, 10)], "any tag"
