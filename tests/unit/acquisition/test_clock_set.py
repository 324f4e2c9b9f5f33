"""The agent's clock is wrong, or is set: gaps stay in order, and it is recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from device_at_work import Bench, running
from test_absences import HOURS_NS, gap_spans, polled

from tests.virtual_time import START_NS, virtual_time


def detail_and_count(bench: Bench, reason: str) -> list[tuple[str, int | None]]:
    return [(gap["detail"], gap["count"]) for gap in bench.gaps if gap["reason"] == reason]


@virtual_time
async def test_a_clock_that_is_set_back_is_recorded_as_a_gap_that_misses_nothing(tmp_path: Path) -> None:
    bench = polled(tmp_path)
    async with running(bench):
        await asyncio.sleep(1201.0)
        bench.clock.jump_ns = -600 * 10**9
        await asyncio.sleep(20.0)
        ((reason, first_s, last_s),) = gap_spans(bench)
        assert reason == "clock_set"
        assert last_s - first_s == pytest.approx(600.0)
        assert 1201.0 <= last_s <= 1207.0
        assert detail_and_count(bench, "clock_set") == [("the clock of the agent was set back by 600 s", 0)]


@virtual_time
async def test_a_start_whose_clock_stands_at_1970_makes_no_gap_of_half_a_century(tmp_path: Path) -> None:
    before = polled(tmp_path)
    async with running(before):
        await asyncio.sleep(60.0)
    bench = polled(tmp_path)
    bench.clock.jump_ns = -START_NS
    async with running(bench):
        await asyncio.sleep(30.0)
        ((reason, first_s, last_s),) = gap_spans(bench)
        assert (reason, first_s) == ("agent_not_running", pytest.approx(58.0, abs=1.5))
        assert first_s <= last_s, "in order, although the clock is behind"
        bench.clock.jump_ns = HOURS_NS
        await asyncio.sleep(30.0)
        _, (again, since_s, until_s) = gap_spans(bench)
        assert again == "clock_set"
        assert since_s == pytest.approx(59.5, abs=1.5), "from the stored time on, and not from 1970"
        assert until_s > 3600.0
