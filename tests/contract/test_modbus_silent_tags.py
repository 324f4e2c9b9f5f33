"""A unit of libmodbus that gives no answer to whatever touches one address: the neighbours in its block go on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_TIMEOUT
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import IN_FLIGHT, DeviceMaker, Recorder, acquiring, device_settings, polls, until
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer

ONE_BLOCK = [{"at": f"holding {at}"} for at in (100, 101, 105)]
SECOND_BLOCK = [{"at": "holding 400"}]


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, in_flight=request.param)


@pytest.mark.parametrize("more", [[], SECOND_BLOCK], ids=["only block", "with a second block"])
async def test_the_neighbours_of_an_address_that_is_ignored_are_read(
    modbus_unit: ModbusServer, device: DeviceMaker, more: list[dict[str, Any]]
) -> None:
    modbus_unit.set("holding", 100, 7, 8)
    modbus_unit.set("holding", 105, 9)
    modbus_unit.command("refuse holding 105 105 0")
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, ONE_BLOCK + more, retry="500ms", timeout="400ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await until(lambda: recorder.last() == {0: 7, 1: 8} | ({3: 0} if more else {}), task)
        ((types, problems),) = recorder.onlines
        assert [tag.name for tag in types] == ["t0", "t1"] + (["t3"] if more else [])
        assert [(problem.tag, problem.quality) for problem in problems] == [("t2", BAD_TIMEOUT)]
        assert "(read of holding 105), while the unit answers reads of other addresses" in problems[0].reason
        modbus_unit.command("refuse clear")
        await until(lambda: recorder.last().get(2) == 9, task)
        assert not task.done()


async def test_an_address_that_is_ignored_among_others_that_are_refused(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 101 101 2")
    modbus_unit.command("refuse holding 105 105 0")
    recorder = Recorder()
    tags = [*ONE_BLOCK, *({"at": f"holding {at}"} for at in (107, 108))]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, timeout="400ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await until(lambda: set(recorder.last()) >= {0, 3, 4} and len(recorder.onlines[-1][1]) == 2, task)
        problems = {str(problem.tag): problem.quality for problem in recorder.onlines[-1][1]}
    assert problems["t2"] == BAD_TIMEOUT
    assert "t1" in problems


async def test_a_unit_of_which_no_part_of_a_block_answers_is_silent_after_few_probes(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("silent -1")
    tags = [{"at": f"holding {at}"} for at in range(60)]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, timeout="50ms"), SystemClock())
    with pytest.raises(DeviceUnavailable, match=r"no answer within .*\(read of holding 0 to 59\)"):
        await asyncio.wait_for(driver.acquire(Recorder()), WAIT_S_MAX)
    assert driver.counters.time_outs == 5


async def test_what_is_ignored_later_costs_the_device_one_new_connection(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, ONE_BLOCK, timeout="400ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("refuse holding 105 105 0")
        with pytest.raises(DeviceUnavailable, match="no answer within"):
            await asyncio.wait_for(task, WAIT_S_MAX)
    recorder.rows.clear()
    async with acquiring(driver, recorder) as task:
        await until(lambda: set(recorder.last()) == {0, 1}, task)
        assert [problem.tag for problem in recorder.onlines[-1][1]] == ["t2"]


async def test_what_stays_silent_is_tried_less_and_less_often_as_it_holds_up_the_others_each_time(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 105 105 0")
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, ONE_BLOCK, retry="20ms", timeout="300ms")
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        await until(lambda: set(recorder.last()) == {0, 1}, task)
        modbus_unit.command("reset")
        await polls(recorder, 80, task)
        tries = [request for request in modbus_unit.requests() if request[2] == 105]
        assert 1 <= len(tries) <= 10, "twice as long each time, and then every 16th time"
        modbus_unit.command("refuse clear")
        await until(lambda: 2 in recorder.last(), task)
