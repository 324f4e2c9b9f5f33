"""When samples of a device are missing it is declared: once, from early enough, and until they are there again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import SampleBatch
from connectors.ports.device import Acquisition
from edge_agent.acquisition.absences import CLOCK_LOOK_S, CLOCK_TRUST_S, MARGIN_S_MIN
from tests.unit.acquisition.device_at_work import (
    Bench,
    PlayedDriver,
    connected,
    doubles,
    lost,
    now_ns,
    refused,
    running,
    types,
)
from tests.virtual_time import START_NS, virtual_time

GAP_MARGIN_NS = round(MARGIN_S_MIN * 1e9)
HOURS_NS = 3_600_000_000_000


def at_s(time_ns: int) -> float:
    return round((time_ns - START_NS) / 1e9, 1)


def gap_spans(bench: Bench) -> list[tuple[str, float, float]]:
    return [(gap["reason"], at_s(gap["first_ns"]), at_s(gap["last_ns"])) for gap in bench.gaps]


def series(tag: int, *times_s: float) -> SampleBatch:
    """Samples whose values are their times."""
    values = np.array(times_s)
    return SampleBatch(
        DataType.DOUBLE, np.full(len(values), tag, np.int32), START_NS + (values * 1e9).astype(np.int64), values
    )


async def polls(acquisition: Acquisition, bench: Bench) -> None:
    """One value a second, under the agent's own time."""
    await acquisition.online(types("force"), [])
    while True:
        await acquisition.put(doubles(0, 1.0, time_ns=bench.clock.now_ns()))
        await asyncio.sleep(1.0)


def polled(folder: Path, *acts: Any) -> Bench:
    driver = PlayedDriver(*acts)
    bench = Bench(folder, driver)
    driver.acts.append(lambda acquisition: polls(acquisition, bench))
    bench.resume()
    return bench


@virtual_time
async def test_an_absence_is_declared_once_when_samples_are_there_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), refused(), refused(), refused(), connected(), connected()))
    async with running(bench):
        await asyncio.sleep(0.5)
        assert (bench.device.is_online, bench.gaps, bench.outbox.open_gaps()) == (True, [], {})
        sample_ns = START_NS
        await asyncio.sleep(2.0)
        (gap,) = bench.outbox.open_gaps().values()
        assert (gap.reason, gap.first_ns, gap.detail) == (
            "device_unavailable",
            sample_ns - GAP_MARGIN_NS,
            "press: the cable is out",
        )
        await asyncio.sleep(60.0)
        assert bench.device.is_online
        assert bench.gaps == [], "connected again, and no samples yet: the gap goes on"
        await bench.device.put(doubles(0, 2.0))
        closed_ns = now_ns()
        await bench.device.put(doubles(0, 3.0))
        await asyncio.sleep(1.0)
        (declared,) = bench.gaps
        assert (declared["device"], declared["reason"]) == ("press", "device_unavailable")
        assert (declared["first_ns"], declared["last_ns"]) == (sample_ns - GAP_MARGIN_NS, closed_ns)
        assert bench.outbox.open_gaps() == {}
    assert bench.listener.heard == ["online", "offline", "online"]


@virtual_time
async def test_every_absence_has_its_own_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), lost(2.0), lost(3.0), connected(4.0)))
    async with running(bench):
        await asyncio.sleep(60.0)
        assert len(bench.gaps) == 3
        assert all(gap["first_ns"] < gap["last_ns"] for gap in bench.gaps)
        assert [gap["first_ns"] for gap in bench.gaps] == sorted(gap["first_ns"] for gap in bench.gaps)
        assert bench.values == [1.0, 2.0, 3.0, 4.0]


@virtual_time
async def test_a_device_that_answers_for_a_moment_only_stays_in_its_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), lost(2.0, after_s=0.0), refused(60.0), connected(3.0)))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert bench.values == [1.0, 2.0]
        (gap,) = bench.outbox.open_gaps().values()
        assert (gap.first_ns, bench.gaps) == (START_NS - GAP_MARGIN_NS, [])
        await asyncio.sleep(100.0)
        assert len(bench.gaps) == 1
        assert bench.outbox.open_gaps() == {}


@virtual_time
async def test_what_comes_late_from_a_device_that_is_away_does_not_end_its_absence(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), refused(60.0)))
    async with running(bench):
        await asyncio.sleep(5.0)
        await bench.device.put(doubles(0, 2.0))
        await asyncio.sleep(5.0)
        assert (bench.values, bench.gaps, len(bench.outbox.open_gaps())) == ([1.0, 2.0], [], 1)


@virtual_time
async def test_a_device_that_was_never_there_has_no_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(*[refused() for _ in range(5)], connected(1.0)))
    async with running(bench):
        await asyncio.sleep(0.1)
        assert (bench.device.is_online, bench.device.offline_reason) == (False, "press: nothing listens")
        await asyncio.sleep(120.0)
        assert (bench.values, bench.gaps, bench.outbox.open_gaps()) == ([1.0], [], {})
    assert bench.listener.heard == ["online"]


@virtual_time
async def test_the_time_in_which_the_agent_did_not_run_is_declared_with_the_first_samples(tmp_path: Path) -> None:
    first = Bench(tmp_path, PlayedDriver(connected(1.0)))
    first.resume()
    async with running(first):
        await asyncio.sleep(1.0)
        assert first.gaps == []
    for absence in (refused(), lost()):  # started twice; the second time the device answers, but gives nothing
        again = Bench(tmp_path, PlayedDriver(absence))
        again.resume()
        async with running(again):
            await asyncio.sleep(5.0)
            assert again.gaps == []
            (gap,) = again.outbox.open_gaps().values()
            assert (gap.reason, gap.first_ns) == ("agent_not_running", START_NS - GAP_MARGIN_NS)
    last = Bench(tmp_path, PlayedDriver(connected(2.0)))
    last.resume()
    async with running(last):
        await asyncio.sleep(1.0)
        assert [(gap["reason"], gap["first_ns"]) for gap in last.gaps] == [
            ("agent_not_running", START_NS - GAP_MARGIN_NS)
        ]
        assert last.outbox.open_gaps() == {}
        assert last.values == [1.0, 2.0]


@virtual_time
async def test_a_gap_begins_when_the_last_sample_came_although_the_device_s_clock_is_ahead(tmp_path: Path) -> None:
    async def a_day_ahead(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        await acquisition.put(doubles(0, 1.0, time_ns=now_ns() + 86_400_000_000_000))
        await asyncio.sleep(1.0)
        raise DeviceUnavailable("press: gone")

    bench = Bench(tmp_path, PlayedDriver(a_day_ahead))
    async with running(bench):
        await asyncio.sleep(1.5)
        (gap,) = bench.outbox.open_gaps().values()
        assert gap.first_ns == START_NS - GAP_MARGIN_NS


@pytest.mark.parametrize("rule", [ReportRule(always=True), ReportRule()])
def test_a_batch_that_found_no_room_before_the_device_was_lost_lies_in_the_gap(
    tmp_path: Path, rule: ReportRule
) -> None:
    @virtual_time
    async def scene() -> None:
        async def lost_while_waiting(acquisition: Acquisition) -> None:
            await acquisition.online(types("force", "speed"), [])
            await acquisition.put(series(0, 0.0))
            await asyncio.sleep(2.5)
            bench.writer.failures = 1_000_000
            await acquisition.put(series(0, *(1.0 + number / 1000 for number in range(1100))))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(6.0):
                    await acquisition.put(series(1, *(2.5 + number / 20 for number in range(90))))
            bench.writer.failures = 0
            raise DeviceUnavailable("press: the cable is out")

        async def there_again(acquisition: Acquisition) -> None:
            await acquisition.online(types("force", "speed"), [])
            await acquisition.put(series(1, 6.95))  # what the lost batch ended with: the server's initial value
            await acquisition.put(series(0, asyncio.get_running_loop().time()))

        bench = Bench(tmp_path, PlayedDriver(lost_while_waiting, there_again), dict.fromkeys(range(3), rule))
        async with running(bench):
            await asyncio.sleep(60.0)
            (gap,) = bench.gaps
            assert at_s(gap["first_ns"]) == pytest.approx(2.1 - MARGIN_S_MIN)
            assert at_s(gap["last_ns"]) >= 7.0
            assert 6.95 in bench.values

    scene()


@virtual_time
async def test_a_device_whose_first_samples_were_lost_has_a_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(after_s=3.0), connected(1.0)))
    async with running(bench):
        await asyncio.sleep(10.0)
        ((reason, first_s, _),) = gap_spans(bench)
        assert (reason, first_s) == ("device_unavailable", -MARGIN_S_MIN)


@pytest.mark.parametrize(("lag_s", "held_s", "margin_s"), [(0.2, 0.0, 1.0), (10.0, 0.0, 20.0), (1.0, 60.0, 120.0)])
def test_a_gap_begins_earlier_where_tags_may_be_far_behind_each_other(
    tmp_path: Path, lag_s: float, held_s: float, margin_s: float
) -> None:
    @virtual_time
    async def scene() -> None:
        driver = PlayedDriver(lost(1.0))
        driver.lag_s_max = lag_s
        bench = Bench(tmp_path, driver, {0: ReportRule(), 1: ReportRule(interval_s_min=held_s)})
        async with running(bench):
            await asyncio.sleep(1.5)
            (gap,) = bench.outbox.open_gaps().values()
            assert at_s(gap.first_ns) == -margin_s

    scene()


@virtual_time
async def test_a_gap_grows_when_the_device_turns_out_to_be_slower_than_it_was_asked_to_be(tmp_path: Path) -> None:
    before = Bench(tmp_path, PlayedDriver(connected(1.0)))
    async with running(before):
        await asyncio.sleep(1.0)

    async def slow(acquisition: Acquisition) -> None:
        driver.lag_s_max = 10.0
        await connected(2.0)(acquisition)

    driver = PlayedDriver(slow)
    bench = Bench(tmp_path, driver)
    bench.resume()
    async with running(bench):
        await asyncio.sleep(1.0)
        assert sorted(gap_spans(bench)) == [("agent_not_running", -20.0, -1.0), ("agent_not_running", -1.0, 1.0)]


@virtual_time
async def test_an_absence_is_declared_whole_when_the_clock_had_stood_still_and_is_set_later(tmp_path: Path) -> None:
    before = polled(tmp_path)
    async with running(before):
        await asyncio.sleep(60.0)
    bench = polled(tmp_path)  # four hours later, and the clock does not know
    async with running(bench):
        await asyncio.sleep(30.0)
        bench.clock.jump_ns = 4 * HOURS_NS
        await asyncio.sleep(30.0)
        (_, first_s, closed_s), (reason, again_s, last_s) = gap_spans(bench)
        assert (first_s, reason) == (59.0, "clock_set")
        assert again_s == closed_s, "what was stored in between has the wrong time"
        assert 4 * 3600 + 90 <= last_s <= 4 * 3600 + 91 + CLOCK_LOOK_S
        assert bench.outbox.open_gaps() == {}


@virtual_time
async def test_a_clock_that_is_set_before_the_first_sample_after_a_start_makes_no_second_gap(tmp_path: Path) -> None:
    before = polled(tmp_path)
    async with running(before):
        await asyncio.sleep(10.0)
    bench = polled(tmp_path, refused(1.0))
    async with running(bench):
        await asyncio.sleep(0.5)
        bench.clock.jump_ns = HOURS_NS
        await asyncio.sleep(30.0)
        ((reason, first_s, last_s),) = gap_spans(bench)
        assert (reason, first_s, last_s) == ("agent_not_running", 9.0, pytest.approx(3611.0, abs=0.5))


@virtual_time
async def test_the_time_that_a_clock_jumps_over_in_mid_run_is_declared(tmp_path: Path) -> None:
    before = polled(tmp_path)
    async with running(before):
        await asyncio.sleep(10.0)
    bench = polled(tmp_path)
    async with running(bench):
        begin_s = CLOCK_TRUST_S + 102.0
        await asyncio.sleep(begin_s - 10.0)
        bench.clock.jump_ns += HOURS_NS  # the machine was asleep
        await asyncio.sleep(100.0)
        _, (reason, first_s, last_s) = gap_spans(bench)
        assert reason == "clock_set"
        assert begin_s - CLOCK_LOOK_S <= first_s <= begin_s
        assert begin_s + 3600.0 <= last_s <= begin_s + 3600.0 + CLOCK_LOOK_S


@virtual_time
async def test_a_clock_that_is_set_during_a_gap_or_set_by_little_makes_no_gap_of_its_own(
    tmp_path: Path,
) -> None:
    bench = polled(tmp_path, lost(1.0), refused(20.0))
    async with running(bench):
        await asyncio.sleep(10.0)
        bench.clock.jump_ns += HOURS_NS
        await asyncio.sleep(50.0)
        ((reason, first_s, last_s),) = gap_spans(bench)
        assert (reason, first_s) == ("device_unavailable", -MARGIN_S_MIN)
        assert last_s > 3600.0
        bench.clock.jump_ns += 900_000_000
        await asyncio.sleep(20.0)
        bench.clock.jump_ns -= 900_000_000
        await asyncio.sleep(20.0)
        assert len(bench.gaps) == 1


@virtual_time
async def test_a_loss_after_the_clock_was_set_back_is_declared_by_the_new_time(tmp_path: Path) -> None:
    async def act(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        await acquisition.put(doubles(0, 1.0))
        await asyncio.sleep(20.0)
        bench.clock.jump_ns = -HOURS_NS
        await asyncio.sleep(20.0)
        raise DeviceUnavailable("press: gone")

    bench = Bench(tmp_path, PlayedDriver(act, refused(60.0)))
    async with running(bench):
        await asyncio.sleep(50.0)
        (gap,) = bench.outbox.open_gaps().values()
        assert at_s(gap.first_ns) <= 20.0 + CLOCK_LOOK_S - 3600.0


@virtual_time
async def test_what_the_device_lost_or_was_not_asked_for_is_a_gap_of_its_tags(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver())
    async with running(bench):
        await asyncio.sleep(0.5)
        await bench.device.online(types("force", "speed"), [])
        await bench.device.put(series(0, 1.0, 2.0))
        bench.device.lost(np.array([0], np.int32), np.array([START_NS + 7_000_000_000]))
        bench.device.lost(np.array([0], np.int32), np.array([START_NS + 8_000_000_000]))
        await bench.device.put(series(0, 7.0, 8.0))
        await asyncio.sleep(1.0)
        assert gap_spans(bench) == [("device_overflow", 2.0, 8.0)], "one record a commit"
        assert bench.gaps[0]["tags"] == ["force"]
        bench.device.lost(np.array([0, 1], np.int32), START_NS + np.array([9, 9]) * 1_000_000_000)
        await asyncio.sleep(1.0)
        assert gap_spans(bench)[1:] == [("device_overflow", 0.5, 9.0)], "of speed nothing had come since the connect"
        assert bench.gaps[1]["tags"] == ["force", "speed"]
        bench.device.polled_late(np.array([1, 2], np.int32), START_NS + 10**10, START_NS + 10**10 + 1, "for 2.7 s")
        await asyncio.sleep(1.0)
        assert (bench.gaps[2]["reason"], bench.gaps[2]["detail"]) == ("polled_late", "for 2.7 s")
        assert (bench.gaps[2]["tags"], bench.gaps[2]["first_ns"]) == (["speed", "state"], START_NS + 10**10)
        assert bench.outbox.open_gaps() == {}
