"""By which function registers are written, where the device file says it: 16 for all, or 23, which reads them back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import WriteUncertain
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls
from tests.contract.modbus_serial_line import serial_line
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusRtuUnit, ModbusServer

LIMITS = {"min": 0, "max": 1e9}
TAGS: list[dict[str, Any]] = [
    {"at": "holding 7", "writable": LIMITS},
    {"at": "holding 8", "type": "uint32", "writable": LIMITS},
    {"at": "coil 2", "writable": True},
    {"at": "holding 20.4", "writable": True},
]


def driver(endpoint: str, function: int, **more: Any) -> ModbusDriver:
    settings = device_settings(endpoint, TAGS, write_function=function, timeout="1s", **more)
    return ModbusDriver(settings, SystemClock())


@pytest.mark.parametrize("function", [16, 23])
async def test_registers_are_written_by_the_function_that_is_said_and_by_no_other(
    modbus_unit: ModbusServer, function: int
) -> None:
    recorder = Recorder()
    it = driver(modbus_unit.endpoint, function)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("reset")
        for tag, value in ((0, 5), (1, 0x1_0002), (2, True), (3, True)):
            await asyncio.wait_for(it.write(tag, value), WAIT_S_MAX)
    assert modbus_unit.get("holding", 7, 3) == [5, 1, 2]
    assert (modbus_unit.get("coil", 2), modbus_unit.get("holding", 20)) == ([1], [16])
    written = [sent for _, sent, _, _ in modbus_unit.requests() if sent > 4]
    assert written == [function, function, 5, 22]


async def test_a_reply_to_function_23_that_is_none_leaves_the_write_uncertain(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    it = driver(modbus_unit.endpoint, 23, poll="1h")
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("mute 1")
        with pytest.raises(WriteUncertain, match="it may have been done or not"):
            await asyncio.wait_for(it.write(0, 6), WAIT_S_MAX)
        modbus_unit.command("reset")
        await asyncio.wait_for(it.write(1, 7), WAIT_S_MAX)
    assert [sent for _, sent, _, _ in modbus_unit.requests()] == [23]


async def test_function_23_is_known_on_a_serial_line_too() -> None:
    recorder = Recorder()
    async with serial_line() as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            it = driver(line.endpoint, 23, unit_id=3, serial={"parity": "none"})
            async with acquiring(it, recorder) as task:
                await polls(recorder, 1, task)
                await asyncio.wait_for(it.write(1, 0x1_0002), WAIT_S_MAX)
                assert (unit.command("get 8"), unit.command("get 9")) == ("1", "2")
    assert it.counters.time_outs == 0
