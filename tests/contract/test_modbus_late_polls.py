"""A unit that answers late, or an agent that takes nothing, leaves no hole between polls that nobody tells of."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.samples import SampleBatch
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import (
    IN_FLIGHT,
    DeviceMaker,
    Recorder,
    acquiring,
    device_settings,
    polls,
    until,
)
from tests.servers.modbus import ModbusServer


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, in_flight=request.param, timeout="30s")


@asynccontextmanager
async def frozen(unit: ModbusServer) -> AsyncIterator[None]:
    os.kill(unit.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(unit.pid, signal.SIGCONT)


def longest_holes_ns(recorder: Recorder, tag: int) -> tuple[int, int]:
    """Between which two samples of ``tag`` the longest time passed."""
    times = [time_ns for index, time_ns, _, _ in recorder.rows if index == tag]
    return max(pairwise(times), key=lambda pair: pair[1] - pair[0])


async def test_what_a_unit_that_was_frozen_left_out_is_declared_from_sample_to_sample(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 200"}, {"at": "holding 400", "poll": "60s"}]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 5, task)
        assert recorder.late == []
        async with frozen(modbus_unit):
            await asyncio.sleep(1.3)
        await polls(recorder, 5, task)
    assert len(recorder.onlines) == 1, "the device was there all the time"
    for tag in (0, 1):
        first_ns, last_ns = longest_holes_ns(recorder, tag)
        own = [(begin, end, detail) for late, begin, end, detail in recorder.late if tag in late]
        assert any(begin <= first_ns and last_ns <= end for begin, end, _ in own), (first_ns, last_ns, own)
        assert all(re.match(r"nothing was read for [1-9]\d*\.\d s", detail) for _, _, detail in own)
    assert not any(2 in late for late, *_ in recorder.late), "it is polled once a minute"
    assert driver.counters.late_polls == len(recorder.late)


async def test_a_hole_that_is_shorter_than_a_second_is_none(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    recorder = Recorder()
    async with acquiring(
        ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock()), recorder
    ) as task:
        await polls(recorder, 5, task)
        async with frozen(modbus_unit):
            await asyncio.sleep(0.3)
        await polls(recorder, 20, task)
    first_ns, last_ns = longest_holes_ns(recorder, 0)
    assert (last_ns - first_ns > 1_020_000_000) == bool(recorder.late), "more only where this machine was late itself"


async def test_what_an_acquisition_that_takes_nothing_left_out_is_declared_with_that_reason(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    class Blocked(Recorder):
        """Takes nothing for a while, after the third sample."""

        async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            await super().put(batch, committed)
            if len(self.rows) == 3:
                await asyncio.sleep(1.3)

    recorder = Blocked()
    begun_s = time.monotonic()
    async with acquiring(
        ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock()), recorder
    ) as task:
        await until(lambda: len(recorder.rows) > 5, task)
    assert time.monotonic() - begun_s > 1.3
    first_ns, last_ns = longest_holes_ns(recorder, 0)
    assert ({0}, first_ns, last_ns) in [late[:3] for late in recorder.late]
    (detail,) = (late[3] for late in recorder.late if late[1:3] == (first_ns, last_ns))
    assert re.search(r": the agent took no samples for [1-9]\d*\.\d s", detail)


async def test_a_tag_that_is_refused_for_a_while_has_no_gap_when_it_is_read_again(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    """It was told of by its problem, and by a sample without value."""
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}, {"at": "holding 200"}], retry="1500ms")
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        await polls(recorder, 3, task, tag=1)
        modbus_unit.command("refuse holding 200 200 2")
        await until(lambda: recorder.onlines[-1][1], task)
        modbus_unit.command("refuse clear")
        await polls(recorder, 3, task, tag=1)
    first_ns, last_ns = longest_holes_ns(recorder, 1)
    assert last_ns - first_ns > 1_100_000_000
    assert not any(1 in late and begin <= first_ns for late, begin, _, _ in recorder.late)
