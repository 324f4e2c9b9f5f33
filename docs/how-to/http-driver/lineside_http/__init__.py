"""HTTP devices for Lineside. Only the settings are loaded with this: checking a file needs no HTTP."""

from __future__ import annotations

from connectors.ports.clock import Clock
from connectors.ports.device import DeviceDriver
from connectors.ports.settings import DriverType
from lineside_http.settings import HttpDevice


def _create(settings: HttpDevice, clock: Clock) -> DeviceDriver:
    from lineside_http.driver import HttpDriver

    return HttpDriver(settings, clock)


HTTP = DriverType(HttpDevice, _create)
