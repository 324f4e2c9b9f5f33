"""What a driver counts (requests, time-outs, …), as metrics of its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from edge_agent.observability.device_events import DriverCounted


class DriverCounts:
    """``counts`` says what the driver has counted since it was made."""

    def __init__(self, device: DeviceName, counts: Callable[[], Mapping[str, int]]) -> None:
        self._device = device
        self._counts = counts
        self._told: dict[str, int] = {}

    def measure(self) -> None:
        """Bring the metrics up to date."""
        for event, count in self._counts().items():
            before = self._told.get(event)
            if count != before:  # the first time a zero too, so that every series is there from the start
                self._told[event] = count
                emit(DriverCounted(self._device, event, count - (before or 0)))
