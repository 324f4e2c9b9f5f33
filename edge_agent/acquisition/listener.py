"""Who hears of devices that come and go."""

from __future__ import annotations

from typing import Protocol

from connectors.model.tags import DeviceDefinition, DeviceName


class DeviceListener(Protocol):
    """Who wants to know that a device came or went: the uplink, for births and deaths."""

    def device_online(self, definition: DeviceDefinition) -> None:
        """The device is connected, with this definition."""
        ...

    def device_offline(self, device: DeviceName) -> None:
        """The device cannot be reached."""
        ...
