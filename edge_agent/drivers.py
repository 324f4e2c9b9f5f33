"""The drivers that come with the agent, and those of packages of others.

Only their settings are imported with this module, so that checking a configuration needs no protocol library.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, DeviceDriver, Reading, Value
from connectors.ports.settings import DeviceSettings, DriverType
from connectors.ports.simulated_device import SimulatedDevice
from connectors.ports.survey import LiveSurvey, Survey
from connectors.ports.unit_scan import ScanFindings, ScanLimits
from edge_agent.config.known_drivers import KnownDrivers, with_installed

if TYPE_CHECKING:
    from connectors.modbus.buses import ModbusBuses

__all__ = [
    "LoadedLater",
    "OpcUaBrowse",
    "OpcUaDevice",
    "built_in_drivers",
    "known_drivers",
    "live_survey_opcua",
    "scan_modbus",
    "simulated",
    "survey_opcua",
]


class LoadedLater:
    """A driver whose protocol library is loaded, in a thread, when it first connects.

    asyncua takes half a second of CPU to load: meanwhile other devices are read already.
    """

    def __init__(self, settings: OpcUaDevice, make: Callable[[], DeviceDriver]) -> None:
        self._settings = settings
        self._make = make
        self._driver: DeviceDriver | None = None

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``."""
        return self._settings.lag_s_max if self._driver is None else self._driver.lag_s_max

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``."""
        return {} if self._driver is None else self._driver.counts()

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        if self._driver is None:
            self._driver = await asyncio.to_thread(self._make)
        await self._driver.acquire(acquisition)

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``."""
        await self._loaded().write(tag, value)

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``."""
        return await self._loaded().read(tag)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``."""
        return await self._loaded().call(method, arguments)

    def _loaded(self) -> DeviceDriver:
        if self._driver is None:
            raise DeviceUnavailable(f"{self._settings.name}: not connected yet")
        return self._driver


def _opcua(settings: OpcUaDevice, clock: Clock) -> DeviceDriver:
    def make() -> DeviceDriver:
        from connectors.opcua.driver import OpcUaDriver

        return OpcUaDriver(settings, clock)

    return LoadedLater(settings, make)


def _modbus() -> Callable[[ModbusDevice, Clock], DeviceDriver]:
    buses: ModbusBuses | None = None

    def make(settings: ModbusDevice, clock: Clock) -> DeviceDriver:
        from connectors.modbus.buses import ModbusBuses
        from connectors.modbus.driver import ModbusDriver

        nonlocal buses
        buses = buses or ModbusBuses()
        return ModbusDriver(settings, clock, buses)

    return make


async def survey_opcua(settings: OpcUaDevice, rule: OpcUaBrowse) -> Survey:
    """What a server has below a node. Raises ``DeviceUnavailable`` with what to check."""
    from connectors.opcua.survey import survey

    return await survey(settings, rule)


@asynccontextmanager
async def live_survey_opcua(settings: OpcUaDevice, rule: OpcUaBrowse) -> AsyncIterator[LiveSurvey]:
    """A server to be looked at folder by folder. Raises ``DeviceUnavailable`` with what to check."""
    from connectors.opcua.live_survey import live_survey

    async with live_survey(settings, rule) as survey:
        yield survey


async def scan_modbus(
    settings: Mapping[str, object], limits: ScanLimits, told: Callable[[str], None], timeout_s: float, pause_s: float
) -> ScanFindings:
    """What answers at ``endpoint`` of ``settings``, a device entry without its tags.

    Raises ``ValueError`` when they are no such entry, and ``DeviceUnavailable`` with what to check.
    """
    from connectors.modbus.scanning import scan_bus
    from connectors.ports.clock import SystemClock

    entry = {"name": "scan", "driver": "modbus", "tags": [{"name": "any", "at": "holding 0"}], **settings}
    route = ModbusDevice.model_validate(entry).route
    return await scan_bus(route, limits, SystemClock(), told, timeout_s=timeout_s, pause_s=pause_s)


def simulated(settings: DeviceSettings, port: int) -> AbstractAsyncContextManager[SimulatedDevice]:
    """A device of a device file, played on 127.0.0.1. Raises ``NotImplementedError`` where a driver has no player."""
    if isinstance(settings, ModbusDevice):
        from connectors.modbus.simulated_device import simulated_modbus

        return simulated_modbus(settings, port)
    if isinstance(settings, OpcUaDevice):
        from connectors.opcua.simulated_device import simulated_opcua

        return simulated_opcua(settings, port)
    raise NotImplementedError(f"devices of the driver {settings.driver!r} cannot be simulated")


def built_in_drivers() -> Mapping[str, DriverType]:
    """The drivers, by the name that a device file gives them."""
    return MappingProxyType(
        {
            "modbus": DriverType(ModbusDevice, _modbus()),
            "opcua": DriverType(OpcUaDevice, _opcua, acts_on=frozenset({"deadband"})),
        }
    )


def known_drivers() -> KnownDrivers:
    """The drivers that come with the agent, and those of packages that are installed beside it."""
    return with_installed(built_in_drivers())
