"""The controller of the oven: its model behind a Modbus/TCP unit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connectors.modbus.settings import ModbusTag
from connectors.modbus.simulated_server import SimulatedModbusUnit
from lineside.machines.controller import Controller
from lineside.machines.oven import ZONES, restored_oven
from lineside.machines.retentive_memory import RetentiveMemory

INTERVAL_S: Final = 0.2

REGISTERS: Final = tuple(
    ModbusTag.model_validate(tag)
    for tag in (
        {"name": "zone1/temperature", "at": "input 0", "type": "float32", "order": "CDAB"},
        {"name": "zone2/temperature", "at": "input 2", "type": "float32", "order": "CDAB"},
        {"name": "zone3/temperature", "at": "input 4", "type": "float32", "order": "CDAB"},
        {"name": "zone1/duty", "at": "input 10", "scale": 0.1},
        {"name": "zone2/duty", "at": "input 11", "scale": 0.1},
        {"name": "zone3/duty", "at": "input 12", "scale": 0.1},
        {"name": "belt/speed", "at": "input 20", "scale": 0.01},
        {"name": "parts", "at": "input 30", "type": "uint32", "order": "CDAB"},
        {"name": "energy", "at": "input 32", "type": "uint32", "order": "CDAB", "scale": 0.001},
        {"name": "belt/jam", "at": "input 40.0"},
        {"name": "zone1/heater_trip", "at": "input 40.1"},
        {"name": "zone2/heater_trip", "at": "input 40.2"},
        {"name": "zone3/heater_trip", "at": "input 40.3"},
        {"name": "over_temperature", "at": "input 40.4"},
        {"name": "fault", "at": "discrete 0"},
        {"name": "zone1/setpoint", "at": "holding 0", "type": "float32", "order": "CDAB"},
        {"name": "zone2/setpoint", "at": "holding 2", "type": "float32", "order": "CDAB"},
        {"name": "zone3/setpoint", "at": "holding 4", "type": "float32", "order": "CDAB"},
    )
)
"""Where the controller keeps what; addresses count from 0, set-points can be written."""


async def run_oven(port: int, *, seed: int, memory: Path | None) -> None:
    """Run the oven on 127.0.0.1 until SIGTERM. Raises ``OSError`` when the port is taken."""
    retentive = RetentiveMemory(memory)
    controller = Controller(INTERVAL_S, retentive)
    oven = restored_oven(seed, retentive.read())
    async with SimulatedModbusUnit(REGISTERS, port=port) as unit:
        await unit.set(oven.values())

        async def show() -> None:
            for zone in range(ZONES):
                oven.set_setpoint(zone, float(await unit.value(f"zone{zone + 1}/setpoint")))
            await unit.set(oven.values())

        await controller.run(oven.step, show, oven.retained)
