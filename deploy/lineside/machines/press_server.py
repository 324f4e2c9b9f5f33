"""The controller of the press: its model behind an OPC UA server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connectors.model.datatypes import DataType
from connectors.opcua.simulated_server import SimulatedNode, SimulatedOpcUaServer
from lineside.machines.controller import Controller
from lineside.machines.press import NAMESPACE, SETPOINT, Press, restored_press
from lineside.machines.retentive_memory import RetentiveMemory

INTERVAL_S: Final = 0.1

_TYPES: Final = {
    "State": DataType.INT32,
    "Cycles": DataType.UINT32,
    "Parts.Good": DataType.UINT32,
    "Parts.Reject": DataType.UINT32,
    "Ram.Force": DataType.DOUBLE,
    "Ram.PeakForce": DataType.DOUBLE,
    "Ram.Position": DataType.DOUBLE,
    "Ram.Speed": DataType.DOUBLE,
    SETPOINT: DataType.DOUBLE,
    "Oil.Temperature": DataType.FLOAT,
    "Door.Closed": DataType.BOOLEAN,
    "Fault.Text": DataType.STRING,
}


async def run_press(port: int, *, seed: int, memory: Path | None) -> None:
    """Run the press on 127.0.0.1 until SIGTERM. Raises ``OSError`` when the port is taken."""
    retentive = RetentiveMemory(memory)
    controller = Controller(INTERVAL_S, retentive)
    press = restored_press(seed, retentive.read())
    async with SimulatedOpcUaServer(NAMESPACE, press_nodes(press), port=port) as server:

        async def show() -> None:
            press.speed_setpoint = float(await server.value(SETPOINT))
            await server.set(press.values())

        await controller.run(press.step, show, press.retained)


def press_nodes(press: Press) -> list[SimulatedNode]:
    """The variables of the server, with the values of now."""
    return [
        SimulatedNode(identifier, _TYPES[identifier], value, writable=identifier == SETPOINT)
        for identifier, value in press.values().items()
    ]
