"""Outages filled from a device's history: each sample is on the disk once, or lies in a gap that is declared."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import SampleBatch
from connectors.ports.device import Acquisition, Missing, Unfilled
from connectors.ports.settings import DerivedTagSettings
from edge_agent.acquisition.restoring import READINGS_MAX
from edge_agent.buffer.rows import Kind
from tests.unit.acquisition.device_at_work import TAGS, Bench, PlayedDriver, lost, now_ns, running, types
from tests.virtual_time import START_NS, virtual_time

PUBLISHING_S = 0.1
END_S = 40.0
S = 1_000_000_000
PRESENT, PAST = 0.0, 1.0


def batch(tag: int, times_ns: Sequence[int], source: float) -> SampleBatch:
    """Samples whose values say where they come from."""
    times = np.array(times_ns, np.int64)
    return SampleBatch(DataType.DOUBLE, np.full(len(times), tag, np.int32), times, np.full(len(times), source))


class Plant:
    """A device with two tags that change at their own times, and a history of all of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.changes: dict[int, list[int]] = {}
        for tag in (0, 1):
            count = self.random.choice((5, 50, 400))
            spans = [0.0, *sorted(self.random.uniform(0, END_S) for _ in range(count))]
            self.changes[tag] = [START_NS + round(span * S) // 100 * 100 for span in spans]
        self.unfilled_in_part = self.random.random() < 0.3

    def between(self, tag: int, first_ns: int, last_ns: int) -> list[int]:
        """The changes after ``first_ns``, up to ``last_ns``."""
        return [each for each in self.changes[tag] if first_ns < each <= last_ns]

    def acts(self) -> list[Any]:
        return [self._connection(self.random.uniform(0.05, 6.0)) for _ in range(100)]

    def _connection(self, lasts_s: float) -> Any:
        async def act(acquisition: Acquisition) -> None:
            await acquisition.online(types("force", "speed"), [])
            missing = acquisition.missing()
            fill = None
            if missing is not None:
                fill = asyncio.create_task(self._fill(acquisition, missing))
            try:
                async with asyncio.timeout(lasts_s):
                    await self._publish(acquisition)
            except TimeoutError:
                raise DeviceUnavailable("press: the cable is out", self.random.uniform(0.0, 3.0)) from None
            finally:
                if fill is not None:
                    fill.cancel()
                    await asyncio.wait([fill])

        return act

    async def _publish(self, acquisition: Acquisition) -> None:
        since_ns = now_ns()
        first = {tag: [each for each in self.changes[tag] if each <= since_ns][-1:] for tag in (0, 1)}
        while True:
            for tag, times_ns in first.items():
                if times_ns:
                    await acquisition.put(batch(tag, times_ns, PRESENT))
            await asyncio.sleep(PUBLISHING_S)
            until_ns = now_ns()
            first = {tag: self.between(tag, since_ns, until_ns) for tag in (0, 1)}
            since_ns = until_ns

    async def _fill(self, acquisition: Acquisition, missing: Missing) -> None:
        await asyncio.sleep(self.random.uniform(0.0, 0.5))
        last_ns = now_ns()
        for tag in (0, 1):
            times_ns = self.between(tag, max(missing.first_ns - 1, int(missing.newest_ns[tag]) - 1), last_ns)
            if self.unfilled_in_part and times_ns and self.random.random() < 0.3:  # its history begins later
                at = self.random.randrange(len(times_ns))
                acquisition.unfilled(Unfilled((tag,), missing.first_ns, times_ns[at], "it begins later"))
                times_ns = times_ns[at:]
            while times_ns:
                size = self.random.randint(1, 100)
                await acquisition.restore(batch(tag, times_ns[:size], PAST))
                times_ns = times_ns[size:] if times_ns[size:] or self.random.random() < 0.5 else []
                await asyncio.sleep(self.random.choice((0.0, 0.3)))
                if times_ns and self.random.random() < 0.1:  # from the last sample again, as if its place were lost
                    acquisition.again([tag])
                    times_ns = self.between(tag, times_ns[0] - 1 - self.random.choice((0, S)), last_ns)
                if times_ns and self.unfilled_in_part and self.random.random() < 0.3:
                    acquisition.unfilled(Unfilled((tag,), times_ns[0] - 1, last_ns, "its disk is full"))
                    break
            else:
                acquisition.filled([tag], last_ns)
        await acquisition.restored()


def delivered(bench: Bench) -> Counter[tuple[str, int, float]]:
    """How often each sample is on the disk: tag, time, and where it comes from."""
    definition = bench.device.definition
    assert definition is not None
    names = {metric.alias: str(metric.name) for metric in definition.metrics}
    found: Counter[tuple[str, int, float]] = Counter()
    for row in bench.rows:
        for part in row.parts if row.kind is Kind.SAMPLES else ():
            found.update((names[alias], time_ns, value) for alias, time_ns, value, _ in part.rows())
    return found


def is_declared(gaps: Sequence[Mapping[str, Any]], name: str, time_ns: int) -> bool:
    return any(
        gap["first_ns"] <= time_ns <= gap["last_ns"] and (gap["tags"] is None or name in gap["tags"]) for gap in gaps
    )


@pytest.mark.parametrize("seed", range(60))
def test_each_sample_is_there_once_or_declared_missing_through_outages_and_restarts(seed: int, tmp_path: Path) -> None:
    plant = Plant(seed)
    ends_s = sorted(plant.random.uniform(1.0, END_S) for _ in range(plant.random.randint(0, 3)))

    @virtual_time
    async def scene() -> None:
        for end_s in [*ends_s, END_S + 1.0]:
            driver = PlayedDriver(*plant.acts())
            driver.lag_s_max = PUBLISHING_S
            bench = Bench(tmp_path, driver)
            bench.resume()
            async with running(bench):
                await asyncio.sleep(end_s - (now_ns() - START_NS) / S)
                found, gaps = delivered(bench), bench.gaps
                open_ns = min((gap.first_ns for gap in bench.outbox.open_gaps().values()), default=now_ns())
        first_ns = min(time_ns for _, time_ns, _ in found)
        untaken_ns = now_ns() - round((PUBLISHING_S + 0.2) * S)
        for tag in (0, 1):
            for time_ns in plant.between(tag, first_ns - 1, min(open_ns, untaken_ns)):
                present, past = (found[TAGS[tag], time_ns, source] for source in (PRESENT, PAST))
                # the newest value of a tag comes again with each connect: that is the present
                assert past + min(present, 1) <= 1, (tag, time_ns - START_NS)
                assert past or present or is_declared(gaps, TAGS[tag], time_ns), (tag, time_ns - START_NS)

    scene()


async def away_and_back(acquisition: Acquisition, first_ns: int) -> None:
    """Connected again, with samples of the present."""
    await acquisition.online(types("force", "speed"), [])
    assert acquisition.missing() is not None
    await acquisition.put(batch(0, [first_ns], PRESENT))


def gap_spans(bench: Bench) -> list[tuple[float, float, Any]]:
    return [
        (round((gap["first_ns"] - START_NS) / S, 1), round((gap["last_ns"] - START_NS) / S, 1), gap["tags"])
        for gap in bench.gaps
    ]


@virtual_time
async def test_what_history_gives_waits_for_the_first_sample_of_the_present(tmp_path: Path) -> None:
    seen: list[int] = []

    async def back(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        assert acquisition.missing() is not None
        restoring = asyncio.create_task(acquisition.restore(batch(1, [START_NS + 2 * S], PAST)))
        await asyncio.sleep(1.0)
        seen.append(len(bench.values))
        await acquisition.put(batch(0, [now_ns()], PRESENT))
        await restoring
        await acquisition.restored()

    bench = Bench(tmp_path, PlayedDriver(lost(PRESENT), back))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert seen == [1], "after a crash here the history would be read again from where the first sample was"
        assert (bench.values, bench.gaps, bench.outbox.open_gaps()) == ([PRESENT, PRESENT, PAST], [], {})


@pytest.mark.parametrize("is_early", [True, False])
def test_a_device_without_history_has_its_gap_as_before(is_early: bool, tmp_path: Path) -> None:
    async def early(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        assert acquisition.missing() is not None
        await acquisition.restored(has_history=False)
        await acquisition.put(batch(0, [now_ns()], PRESENT))

    async def late(acquisition: Acquisition) -> None:
        await away_and_back(acquisition, now_ns())
        await acquisition.restored(has_history=False)

    @virtual_time
    async def scene() -> None:
        bench = Bench(tmp_path, PlayedDriver(lost(PRESENT), early if is_early else late))
        async with running(bench):
            await asyncio.sleep(10.0)
            ((first_s, last_s, tags),) = gap_spans(bench)
            assert (first_s, tags, bench.outbox.open_gaps()) == (-1.0, None, {})
            assert 1.0 < last_s < 3.0

    scene()


@virtual_time
async def test_what_was_to_be_declared_is_declared_though_the_device_is_lost_at_that_moment(tmp_path: Path) -> None:
    async def cut_off(acquisition: Acquisition) -> None:
        await away_and_back(acquisition, now_ns())
        await asyncio.sleep(1.0)
        raise DeviceUnavailable("press: the cable is out", 1.0)

    async def filled_and_lost(acquisition: Acquisition) -> None:
        await away_and_back(acquisition, now_ns())
        acquisition.unfilled(Unfilled((1,), START_NS, now_ns(), "its disk is full"))
        await acquisition.restored()
        raise DeviceUnavailable("press: the cable is out", 1.0)  # before the commit that would have declared it

    async def filled(acquisition: Acquisition) -> None:
        await away_and_back(acquisition, now_ns())
        await acquisition.restored()

    bench = Bench(tmp_path, PlayedDriver(lost(PRESENT), cut_off, filled_and_lost, filled))
    async with running(bench):
        await asyncio.sleep(20.0)
        ((first_s, last_s, tags),) = gap_spans(bench)
        assert (first_s, tags) == (0.0, ["speed"])
        assert 1.0 < last_s < 8.0, "up to the connection that has said it"


def outage(*, cut_offs: int, filled: Callable[[Acquisition, Missing], Awaitable[None]]) -> list[Any]:
    """Lost for a second, then again and again while history is read; ``filled`` reads it each time."""

    async def once(acquisition: Acquisition, *, is_last: bool) -> None:
        await acquisition.online(types("force", "speed"), [])
        missing = acquisition.missing()
        assert missing is not None
        for tag in (0, 1):
            await acquisition.put(batch(tag, [now_ns()], PRESENT))
        await filled(acquisition, missing)
        if is_last:
            await acquisition.restored()
        else:
            raise DeviceUnavailable("press: the cable is out", 1.0)

    async def both_lost(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        for tag in (0, 1):
            await acquisition.put(batch(tag, [START_NS], PRESENT))
        raise DeviceUnavailable("press: the cable is out", 1.0)

    acts = [partial(once, is_last=number == cut_offs) for number in range(cut_offs + 1)]
    return [both_lost, *acts]


@virtual_time
async def test_what_is_cut_off_goes_on_in_the_next_connection_and_nothing_is_declared(tmp_path: Path) -> None:
    asked: list[list[float]] = []
    times_ns = [START_NS + at * S // 10 for at in range(1, 10)]

    async def filled(acquisition: Acquisition, missing: Missing) -> None:
        asked.append([(int(each) - START_NS) / S for each in missing.newest_ns[:2]])
        if len(asked) == 1:
            await acquisition.restore(batch(0, times_ns[:4], PAST))
            return
        await acquisition.restore(batch(0, times_ns[3:], PAST))
        await acquisition.restore(batch(1, times_ns, PAST))
        acquisition.filled([0, 1], now_ns())

    bench = Bench(tmp_path, PlayedDriver(*outage(cut_offs=1, filled=filled)))
    async with running(bench):
        await asyncio.sleep(20.0)
        assert (bench.gaps, bench.outbox.open_gaps()) == ([], {})
        found = delivered(bench)
        assert [found["force", time_ns, PAST] for time_ns in times_ns] == [1] * 9
        assert [found["speed", time_ns, PAST] for time_ns in times_ns] == [1] * 9
    assert asked[0] == [0.0, 0.0]
    assert asked[1] == pytest.approx([0.4, 0.0], abs=1e-8), "each tag from where its own history had come to"


@virtual_time
async def test_what_is_cut_off_too_often_is_declared_from_the_last_sample_of_each_tag(tmp_path: Path) -> None:
    async def filled(acquisition: Acquisition, missing: Missing) -> None:
        if missing.newest_ns[0] == START_NS:
            await acquisition.restore(batch(0, [START_NS + S // 2], PAST))

    bench = Bench(tmp_path, PlayedDriver(*outage(cut_offs=READINGS_MAX, filled=filled)))
    async with running(bench):
        await asyncio.sleep(60.0)
        spans = {tags[0]: (first_s, last_s) for first_s, last_s, tags in gap_spans(bench)[:3]}
        assert not any(gap["tags"] is None for gap in bench.gaps)
    assert spans == {"speed": (-1.0, 1.0), "force": (0.5, 1.0), "state": (-1.0, 3.0)}, (
        "up to the first sample afterwards"
    )


@virtual_time
async def test_samples_of_one_time_are_neither_lost_nor_doubled_where_history_begins_anew(tmp_path: Path) -> None:
    at_ns = START_NS + S // 2
    reads = iter([[at_ns] * 2, [at_ns] * 3, [at_ns] * 5 + [at_ns + 100]])

    async def filled(acquisition: Acquisition, _missing: Missing) -> None:
        await acquisition.restore(batch(0, next(reads), PAST))
        acquisition.again([0])
        await acquisition.restore(batch(0, [at_ns] * 2, PAST))

    bench = Bench(tmp_path, PlayedDriver(*outage(cut_offs=2, filled=filled)))
    async with running(bench):
        await asyncio.sleep(60.0)
        found = delivered(bench)
    assert (found["force", at_ns, PAST], found["force", at_ns + 100, PAST]) == (5, 1)


@virtual_time
async def test_samples_that_were_cut_off_before_they_were_taken_are_asked_for_again(tmp_path: Path) -> None:
    known: list[int] = []

    async def cut_off(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(batch(0, [now_ns()] * 1000, PRESENT))  # the collector is full until its next commit
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0):
                await acquisition.put(batch(1, [START_NS + 77], PRESENT))
        except TimeoutError:
            raise DeviceUnavailable("press: the cable is out", 1.0) from None

    async def back(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        missing = acquisition.missing()
        assert missing is not None
        known.append(int(missing.newest_ns[1]))

    bench = Bench(tmp_path, PlayedDriver(cut_off, back))
    async with running(bench):
        await asyncio.sleep(10.0)
    assert known == [START_NS + 76]


@virtual_time
async def test_calculated_tags_stay_missing_and_intervals_are_of_the_present(tmp_path: Path) -> None:
    async def back(acquisition: Acquisition) -> None:
        await away_and_back(acquisition, now_ns())
        await acquisition.restore(batch(1, [START_NS + S, START_NS + S + 1000], PAST))
        await acquisition.restored()

    rules = {index: ReportRule(interval_s_min=5.0) for index in range(3)}
    derived = [DerivedTagSettings.model_validate({"name": "state", "value": "force > 1"})]
    bench = Bench(tmp_path, PlayedDriver(lost(PRESENT), back), rules, derived)
    async with running(bench):
        await asyncio.sleep(20.0)
        assert [tags for *_, tags in gap_spans(bench)] == [["state"]]
        assert bench.values.count(PAST) == 1, "the second one is the same value"
