"""A device that can be written to in a test: the driver, a link on which writes are counted, and the other side."""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.opcua.driver import OpcUaDriver
from connectors.ports.clock import SystemClock
from connectors.ports.device import DeviceDriver, Reading
from tests.contract.modbus_acquisition import Recorder, device_settings, until
from tests.contract.opcua_acquisition import device as opcua_settings
from tests.contract.watched_wire import WatchedWire, modbus_wire, opcua_wire
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer

KINDS: Final = ("Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "Boolean", "String")
LOCKED: Final = len(KINDS)
"""The index of a number that can be read, and not written; the tags before are of ``KINDS``."""
SCALED: Final = LOCKED + 1
"""The index of an Int16 with a scale of 0.1 and an offset of -40."""
TIMEOUT: Final = "2s"


class WritingBench(ABC):
    """One device, its driver and the link between them."""

    def __init__(self, wire: WatchedWire) -> None:
        self.wire = wire
        self.recorder = Recorder()
        self.driver: DeviceDriver
        self.losses: list[DeviceUnavailable] = []

    @abstractmethod
    def held(self, tag: int) -> Any:
        """What the device has in a tag, by its own word; of ``SCALED`` the raw number."""

    @abstractmethod
    def stop_device(self) -> None:
        """It ends at once."""

    def written(self) -> int:
        """Writes on the wire so far."""
        return len(self.wire.writes)

    async def reading(self, tag: int) -> Reading:
        """What the driver reads as soon as there is a connection."""
        while True:
            with suppress(DeviceUnavailable):
                return await self.driver.read(tag)
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def acquiring(self) -> AsyncIterator[None]:
        """The driver at work, called again when the device is lost, as the agent does; and connected."""

        async def keep_acquiring() -> None:
            while True:
                try:
                    await self.driver.acquire(self.recorder)
                except DeviceUnavailable as exc:
                    self.losses.append(exc)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(keep_acquiring())
        try:
            await until(lambda: self.recorder.rows, task)
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class ModbusBench(WritingBench):
    """libmodbus; the registers of kind ``n`` begin at ``10 * n``, in the order ``CDAB`` or of the low byte first."""

    def __init__(self, wire: WatchedWire, server: ModbusServer) -> None:
        super().__init__(wire)
        self._server = server
        tags: list[dict[str, Any]] = []
        for index, kind in enumerate(KINDS):
            tag: dict[str, Any] = {"at": f"holding {10 * index}", "type": kind}
            if kind == "Boolean":
                tag = {"at": "coil 3"}
            elif kind == "String":
                tag |= {"length": 20}
            tags.append(tag)
        tags.append({"at": "input 7"})
        tags.append({"at": "holding 200", "type": "int16", "scale": 0.1, "offset": -40})
        settings = device_settings(f"tcp://127.0.0.1:{wire.port}", tags, timeout=TIMEOUT)
        self.driver = ModbusDriver(settings, SystemClock())

    def held(self, tag: int) -> Any:
        if tag == LOCKED:
            return self._server.get("input", 7)[0]
        if tag == SCALED:
            return struct.unpack(">h", struct.pack(">H", *self._server.get("holding", 200)))[0]
        kind = KINDS[tag]
        if kind == "Boolean":
            return bool(self._server.get("coil", 3)[0])
        formats = {"Int16": "h", "UInt16": "H", "Int32": "i", "UInt32": "I", "Int64": "q", "UInt64": "Q"}
        form = formats.get(kind) or {"Float": "f", "Double": "d", "String": "20s"}[kind]
        words = self._server.get("holding", 10 * tag, struct.calcsize(form) // 2)
        (value,) = struct.unpack(f">{form}", struct.pack(f">{len(words)}H", *words))
        return value.rstrip(b"\0").decode("latin-1") if kind == "String" else value

    def stop_device(self) -> None:
        self._server.kill()


class OpcUaBench(WritingBench):
    """open62541; the variable of a kind is called as the kind."""

    def __init__(self, wire: WatchedWire, server: OpcUaServer) -> None:
        super().__init__(wire)
        self._server = server
        for kind in KINDS:
            server.add(kind, kind, {"Boolean": False, "String": ""}.get(kind, 0), writable=True)
        server.add("Locked", "Double", 0.0)
        server.add("Scaled", "Int16", 0, writable=True)
        tags: list[dict[str, Any] | str] = [*KINDS, "Locked"]
        tags.append({"at": "ns=1;s=Scaled", "scale": 0.1, "offset": -40})
        endpoint = f"opc.tcp://127.0.0.1:{wire.port}"
        self.driver: OpcUaDriver = OpcUaDriver(opcua_settings(endpoint, tags, timeout=TIMEOUT), SystemClock())

    def held(self, tag: int) -> Any:
        name = "Locked" if tag == LOCKED else "Scaled" if tag == SCALED else KINDS[tag]
        kind, value, _time = self._server.read(name)
        expected = {"Boolean": "bool", "String": "str", "Float": "float32", "Double": "float64", "Scaled": "int16"}
        assert kind == ("float64" if name == "Locked" else expected.get(name, name.lower()))
        return value

    def stop_device(self) -> None:
        self._server.kill()


@asynccontextmanager
async def modbus_bench() -> AsyncIterator[ModbusBench]:
    with ModbusServer() as server:
        async with modbus_wire(server.port) as wire:
            yield ModbusBench(wire, server)


@asynccontextmanager
async def opcua_bench() -> AsyncIterator[OpcUaBench]:
    server = OpcUaServer()
    server.start()
    try:
        async with opcua_wire(server.port) as wire:
            yield OpcUaBench(wire, server)
    finally:
        server.kill()
