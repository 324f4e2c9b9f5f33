"""A part of the agent with a defect is started again: rarely while it fails at once, soon when it had worked."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from connectors.observability.events import Event, listen, listen_no_more
from connectors.stopping import THREADS_S_MAX
from edge_agent.main import GOODBYE_S_MAX, LAST_COMMAND_S_MAX, LAST_COMMIT_S_MAX, STEADY_S, raise_first, supervised
from edge_agent.observability.agent_events import Fault
from edge_agent.observability.metrics import FAULTS
from edge_agent.releases.launcher import PATIENCE_S
from tests.virtual_time import virtual_time

ROOT = Path(__file__).parents[2]


@virtual_time
async def test_a_part_that_worked_for_long_is_started_again_soon() -> None:
    begun_s: list[float] = []
    lasts_s = [0.0] * 10 + [STEADY_S + 1.0, 0.0]

    async def part() -> None:
        begun_s.append(asyncio.get_running_loop().time())
        if len(begun_s) > len(lasts_s):
            return
        await asyncio.sleep(lasts_s[len(begun_s) - 1])
        raise ValueError("a defect")

    before = FAULTS.labels("part")._value.get()
    await supervised("part", part)
    waits_s = np.diff(begun_s) - lasts_s
    assert all(0.5 * bound_s <= wait_s <= bound_s for wait_s, bound_s in zip(waits_s, (1, 2, 4, 8, 16), strict=False))
    assert all(30.0 <= wait_s <= 60.0 for wait_s in waits_s[6:10])
    assert 0.5 <= waits_s[10] <= 1.0
    assert FAULTS.labels("part")._value.get() - before == len(lasts_s)


async def test_a_part_that_is_stuck_when_the_agent_stops_is_named_and_hides_no_defect_of_others() -> None:
    async def fail() -> None:
        raise ZeroDivisionError("a defect")

    heard: list[Event] = []
    stuck = asyncio.create_task(asyncio.Event().wait(), name="uplink")
    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    listen(heard.append)
    try:
        raise_first([stuck])
        with pytest.raises(ZeroDivisionError):
            raise_first([stuck, failed])
    finally:
        listen_no_more(heard.append)
        stuck.cancel()
    assert [one.task for one in heard if isinstance(one, Fault)] == ["uplink", "uplink"]


@virtual_time
async def test_a_part_that_a_library_has_cancelled_is_started_again() -> None:
    begun = 0

    async def part() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(asked.cancel)
            await asked

    await supervised("part", part)
    assert begun == 2


def test_who_starts_the_agent_gives_it_the_time_that_it_takes_to_end() -> None:
    devices = uplink = beside = GOODBYE_S_MAX
    inside_s = LAST_COMMAND_S_MAX + devices + LAST_COMMIT_S_MAX + uplink + beside + THREADS_S_MAX
    unit = (ROOT / "systemd" / "edge-agent.service").read_text()
    (by_systemd,) = re.findall(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert inside_s < PATIENCE_S < float(by_systemd)
