"""The buses of one agent."""

from __future__ import annotations

from weakref import WeakValueDictionary

from connectors.modbus.bus import ModbusBus
from connectors.modbus.endpoint import Route
from connectors.modbus.settings import ModbusDevice
from connectors.ports.clock import Clock


class ModbusBuses:
    """Devices with the same endpoint are units of one bus, which lives while a unit is on it."""

    def __init__(self) -> None:
        self._buses: WeakValueDictionary[Route, ModbusBus] = WeakValueDictionary()

    def bus_of(self, settings: ModbusDevice, clock: Clock) -> ModbusBus:
        """The bus of a device; called in the event loop."""
        return self._buses.setdefault(settings.route, ModbusBus(settings.route, clock))
