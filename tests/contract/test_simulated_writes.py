"""The simulated machines take set-points from the drivers, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from lineside.machines.oven import SETPOINT_RANGE_C, Oven
from lineside.machines.oven_server import REGISTERS
from lineside.machines.press import NAMESPACE, SETPOINT, Press
from lineside.machines.press_server import press_nodes
from lineside.servers.child_process import free_port

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusTag
from connectors.modbus.simulated_server import SimulatedModbusUnit
from connectors.model.errors import DeviceUnavailable, WriteRefused
from connectors.opcua.one_value import read_one_value
from connectors.opcua.simulated_server import SimulatedOpcUaServer
from connectors.ports.clock import SystemClock
from tests.contract import modbus_acquisition, opcua_acquisition
from tests.contract.modbus_acquisition import Recorder, device_settings, until


async def test_the_press_takes_its_speed_and_no_count() -> None:
    port = free_port()
    press = Press(1)
    async with SimulatedOpcUaServer(NAMESPACE, press_nodes(press), port=port) as server:
        tags = [{"at": f"nsu={NAMESPACE};s={node}"} for node in ("Ram.SpeedSetpoint", "Cycles")]
        driver = opcua_acquisition.driver(f"opc.tcp://127.0.0.1:{port}", [*tags])
        recorder = Recorder()
        async with opcua_acquisition.acquiring(driver, recorder) as task:
            await until(lambda: len(recorder.last()) == 2, task)
            await driver.write(0, 40)
            assert (await server.value("Ram.SpeedSetpoint"), (await driver.read(0)).value) == (40.0, 40.0)
            with pytest.raises(WriteRefused, match=r"\(Bad(NotWritable|UserAccessDenied) "):
                await driver.write(1, 40)
            assert await server.value("Cycles") == 0


async def test_whoever_looks_at_the_press_itself_sees_what_was_written() -> None:
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}"
    with pytest.raises(DeviceUnavailable, match=f"{endpoint} does not say what {SETPOINT} is: "):
        await read_one_value(endpoint, NAMESPACE, SETPOINT)
    press = Press(1)
    async with SimulatedOpcUaServer(NAMESPACE, press_nodes(press), port=int(endpoint.rpartition(":")[2])) as server:
        assert await read_one_value(endpoint, NAMESPACE, SETPOINT) == 25.0
        press.speed_setpoint = 40.0
        await server.set(press.values())
        assert await read_one_value(endpoint, NAMESPACE, SETPOINT) == 40.0
        with pytest.raises(DeviceUnavailable, match="BadNodeIdUnknown"):
            await read_one_value(endpoint, NAMESPACE, "Ram.Colour")
        with pytest.raises(DeviceUnavailable, match="has no namespace http://example"):
            await read_one_value(endpoint, "http://example", SETPOINT)


async def test_the_oven_takes_its_set_points_and_no_temperature() -> None:
    port = free_port()
    oven = Oven(1)
    setpoint = next(at for at, tag in enumerate(REGISTERS) if tag.name == "zone2/setpoint")
    temperature = next(at for at, tag in enumerate(REGISTERS) if tag.name == "zone2/temperature")
    async with SimulatedModbusUnit(REGISTERS, port=port) as unit:
        await unit.set(oven.values())
        tags = [tag.model_dump(by_alias=True, exclude_unset=True) for tag in REGISTERS]
        driver = ModbusDriver(device_settings(f"tcp://127.0.0.1:{port}", tags), SystemClock())
        recorder = Recorder()
        async with modbus_acquisition.acquiring(driver, recorder) as task:
            await until(lambda: setpoint in recorder.last(), task)
            others = {tag.name: await unit.value(tag.name) for at, tag in enumerate(REGISTERS) if at != setpoint}
            await driver.write(setpoint, SETPOINT_RANGE_C[1])
            assert await unit.value("zone2/setpoint") == (await driver.read(setpoint)).value == SETPOINT_RANGE_C[1]
            with pytest.raises(ValueError, match="nobody can write to the tables input and discrete"):
                await driver.write(temperature, 20.0)
            assert others == {name: await unit.value(name) for name in others}


async def test_a_simulated_unit_takes_every_kind_of_write() -> None:
    port = free_port()
    described: list[dict[str, Any]] = [
        {"name": "lamp", "at": "coil 3"},
        {"name": "start", "at": "holding 4.7"},
        {"name": "stop", "at": "holding 4.8"},
        {"name": "recipe", "at": "holding 6", "type": "string", "length": 7, "order": "BADC"},
        {"name": "target", "at": "holding 10", "type": "int64", "order": "DCBA"},
        {"name": "last", "at": "holding 65536", "base": 1, "scale": 0.1},
    ]
    values: list[Any] = [True, True, False, "Öl 12", -(1 << 40), 2.8]
    async with SimulatedModbusUnit([ModbusTag.model_validate(tag) for tag in described], port=port) as unit:
        await unit.set({"stop": True})
        driver = ModbusDriver(device_settings(f"tcp://127.0.0.1:{port}", described), SystemClock())
        recorder = Recorder()
        async with modbus_acquisition.acquiring(driver, recorder) as task:
            await until(lambda: len(recorder.last()) == len(described), task)
            for index, value in enumerate(values):
                await driver.write(index, value)
                assert await unit.value(described[index]["name"]) == (await driver.read(index)).value == value
            assert [await unit.value(tag["name"]) for tag in described] == values
