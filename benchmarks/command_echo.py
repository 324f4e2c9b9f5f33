"""The bare way to a device and back: ``python -m benchmarks.command_echo URL MODBUS_PORT REGISTER ENDPOINT NODE``.

Takes ``{"n": …, "value": …}`` on ``echo/modbus`` and ``echo/opcua``, writes the value with pymodbus or asyncua, reads
it back, and publishes ``{"n": …, "value": …}`` on ``echo/done``. No signature, no checks, no journal, no database.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from asyncua import Client, ua
from pymodbus.client import AsyncModbusTcpClient

from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message


class Echo:
    """Both devices."""

    def __init__(self, modbus: AsyncModbusTcpClient, register: int, node: Any) -> None:
        self._modbus = modbus
        self._register = register
        self._node = node

    async def write(self, topic: str, value: int) -> int | float:
        """Write and read back."""
        if topic == "echo/modbus":
            await self._modbus.write_register(self._register, value)
            return int((await self._modbus.read_holding_registers(self._register, count=1)).registers[0])
        await self._node.write_value(ua.DataValue(ua.Variant(float(value), ua.VariantType.Double)))
        return float(await self._node.read_value())


async def run(url: str, port: int, register: int, endpoint: str, node: str) -> None:
    """Answer until ended."""
    session, waiting = MqttSession(MqttOptions("bare-echo")), asyncio.Queue[Message](1000)
    await session.connect(url, None, waiting.put_nowait)
    await session.subscribe([("echo/modbus", 0), ("echo/opcua", 0)])
    modbus = AsyncModbusTcpClient("127.0.0.1", port=port)
    await modbus.connect()
    async with Client(endpoint) as client:
        echo = Echo(modbus, register, client.get_node(node))
        print("ready", flush=True)
        while True:
            message = await waiting.get()
            asked = json.loads(message.payload)
            held = await echo.write(message.topic, asked["value"])
            session.publish(Message("echo/done", json.dumps({"n": asked["n"], "value": held}).encode()))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]))
