"""Our own drivers keep to the contract that drivers of others are held to, on servers that nobody here wrote."""

from __future__ import annotations

from typing import Any

from lineside.driver_contract import DriverContract
from lineside.servers.child_process import free_port

from edge_agent.drivers import built_in_drivers
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer

DRIVERS = built_in_drivers()
LIMITS = {"min": 0, "max": 100}


class TestModbusDriver(DriverContract):
    """A unit of libmodbus."""

    driver_name = "modbus"
    driver_type = DRIVERS["modbus"]
    writable_tag = "other"

    def setup_method(self) -> None:
        self.unit = ModbusServer()
        self.value, self.is_there = 0, False

    def entry(self) -> dict[str, Any]:
        return {
            "endpoint": self.unit.endpoint,
            "poll": "50ms",
            "timeout": "500ms",
            "tags": [
                {"name": "value", "at": "holding 0"},
                {"name": "other", "at": "holding 1", "writable": LIMITS},
                {"name": "missing", "at": "holding 60000"},
            ],
        }

    def start(self) -> None:
        self.unit.start()
        self.is_there = True
        self.unit.command("refuse holding 60000 60000 2")
        self.set_value(self.value)

    def stop(self) -> None:
        if self.is_there:
            self.unit.stop()
        self.is_there = False

    def set_value(self, value: float) -> None:
        self.value = int(value)
        self.unit.set("holding", 0, self.value)


class TestOpcUaDriver(DriverContract):
    """A server of open62541."""

    driver_name = "opcua"
    driver_type = DRIVERS["opcua"]
    writable_tag = "other"

    def setup_method(self) -> None:
        self.server = OpcUaServer()
        self.server.port = free_port()
        self.value = 0.0

    def entry(self) -> dict[str, Any]:
        return {
            "endpoint": self.server.endpoint,
            "insecure": True,
            "publishing": "50ms",
            "sampling": "20ms",
            "timeout": "2s",
            "tags": [
                {"name": "value", "at": "ns=1;s=value"},
                {"name": "other", "at": "ns=1;s=other", "writable": LIMITS},
                {"name": "missing", "at": "ns=1;s=missing"},
            ],
        }

    def start(self) -> None:
        self.server.start()
        self.server.add("value", "Double", self.value)
        self.server.add("other", "Double", 0.0, writable=True)

    def stop(self) -> None:
        self.server.kill()

    def set_value(self, value: float) -> None:
        self.value = value
        self.server.write("value", "Double", value)
