"""A driver that had to wait is behind with some tags, though the newest sample of another has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.ports.device import Acquisition
from edge_agent.acquisition.waiting import WAITS_MAX, Waiting
from tests.unit.acquisition.device_at_work import PRESS, Bench, PlayedDriver, doubles, running, types
from tests.virtual_time import START_NS, virtual_time

LAG_S = 2.0


def after(*waits: tuple[float, float]) -> Waiting:
    waiting = Waiting(lambda: LAG_S)
    for begun_s, ended_s in waits:
        waiting.waited(begun_s, ended_s)
    return waiting


def test_a_driver_that_has_not_waited_is_not_behind() -> None:
    assert after().behind_s(100.0) == 0
    assert after((5.0, 5.0)).behind_s(5.0) == 0


def test_it_is_behind_by_its_wait_until_it_has_had_its_lag_for_itself() -> None:
    assert after((10.0, 25.0)).behind_s(25.0) == 15
    assert after((10.0, 25.0)).behind_s(26.9) == 15
    assert after((10.0, 25.0)).behind_s(27.0) == 0


def test_waits_that_follow_one_another_add_up_as_far_as_it_had_no_time_between_them() -> None:
    assert after((10.0, 25.0), (26.0, 30.0)).behind_s(30.5) == 19
    assert after((10.0, 25.0), (26.0, 30.0)).behind_s(31.5) == 4, "it had a second between them"
    assert after((10.0, 25.0), (28.0, 30.0)).behind_s(30.0) == 2, "it had caught up before it waited again"


def test_however_many_waits_there_are_it_remembers_few_and_forgets_none_that_counts() -> None:
    waiting = after(*((number * 0.1, number * 0.1 + 0.099) for number in range(10 * WAITS_MAX)))
    assert len(waiting._waits) == WAITS_MAX
    assert waiting.behind_s(100.0) == pytest.approx(100, abs=1)
    assert waiting.behind_s(103.0) == 0
    assert not waiting._waits


def held_up(bench: Bench, until_s: float) -> None:
    """The disk takes nothing until then."""
    commit: Callable[[Any], Any] = bench.writer.commit

    async def later(work: Any) -> Any:
        await asyncio.sleep(max(0.0, until_s - asyncio.get_running_loop().time()))
        return await commit(work)

    bench.writer.commit = later  # type: ignore[method-assign]


@virtual_time
async def test_the_gap_of_a_start_covers_what_a_driver_had_not_handed_over_after_a_wait(tmp_path: Path) -> None:
    async def waits(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, *[1.0] * 1000, time_ns=bench.clock.now_ns()))
        await acquisition.put(doubles(0, 2.0, time_ns=bench.clock.now_ns()))
        await acquisition.put(doubles(0, 3.0, time_ns=bench.clock.now_ns()))  # what "speed" said is not asked for yet

    driver = PlayedDriver(waits)
    driver.lag_s_max = LAG_S
    bench = Bench(tmp_path, driver)
    held_up(bench, 20.0)
    async with running(bench):
        await asyncio.sleep(25)
        _, newest_ns, _ = bench.outbox.device_states()[PRESS]
        assert bench.values[-1] == 3.0
    assert newest_ns is not None
    assert newest_ns - START_NS < 2e9, "it goes back to before the wait"
