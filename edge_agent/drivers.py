"""The drivers that come with the agent.

Only their settings are imported with this module: a protocol library is loaded when the first device that speaks the
protocol is made, so that checking a configuration needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connectors.modbus.settings import ModbusDevice
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceDriver
from connectors.ports.settings import DriverType


def _opcua(settings: OpcUaDevice, clock: Clock) -> DeviceDriver:
    from connectors.opcua.driver import OpcUaDriver

    return OpcUaDriver(settings, clock)


def _modbus(settings: ModbusDevice, clock: Clock) -> DeviceDriver:
    from connectors.modbus.driver import ModbusDriver

    return ModbusDriver(settings, clock)


def built_in_drivers() -> Mapping[str, DriverType]:
    """The drivers, by the name that a device file gives them."""
    return MappingProxyType(
        {"modbus": DriverType(ModbusDevice, _modbus), "opcua": DriverType(OpcUaDevice, _opcua)},
    )
