"""The devices as commands see them: what they hold, by the acquisition or read anew, and how they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from connectors.commands.expression import TagPlace
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.tags import DeviceName
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceWriter, Reading
from edge_agent.acquisition.device import DeviceAcquisition

READ_S_MAX: Final = 10.0


class Plant(Protocol):
    """All devices of the agent."""

    def writer(self, device: str) -> DeviceWriter | None:
        """How a device is written; ``None`` when its driver cannot, or there is no such device."""
        ...

    def datatypes(self, device: str) -> Mapping[str, DataType]:
        """The types of its tags, by name; only of those that are known by now."""
        ...

    def current(self, place: TagPlace, age_s_max: float) -> Reading | None:
        """What the acquisition has of a tag, unless it is older than that or its device is away."""
        ...


async def read_anew(plant: Plant, places: Iterable[tuple[TagPlace, float]]) -> dict[TagPlace, Reading | None]:
    """The values of tags for conditions; each no older than said beside it, or read from its device now.

    ``None`` for a tag that cannot be read.
    """
    found: dict[TagPlace, Reading | None] = {}
    for place, age_s_max in places:
        found[place] = plant.current(place, age_s_max)
        if found[place] is None and (writer := plant.writer(place.device)) is not None:
            try:
                async with asyncio.timeout(READ_S_MAX):
                    found[place] = await writer.read(place.tag)
            except (DeviceUnavailable, TimeoutError):
                found[place] = None
    return found


class LivePlant:
    """Implements ``Plant`` on the running acquisition."""

    def __init__(self, devices: Mapping[DeviceName, DeviceAcquisition], clock: Clock) -> None:
        self._devices = devices
        self._clock = clock

    def writer(self, device: str) -> DeviceWriter | None:
        """See ``Plant``."""
        return self._devices.get(DeviceName(device))

    def datatypes(self, device: str) -> Mapping[str, DataType]:
        """See ``Plant``."""
        acquisition = self._devices.get(DeviceName(device))
        types = () if acquisition is None else acquisition.current.types
        return {tag.name: tag.datatype for tag in types if tag is not None}

    def current(self, place: TagPlace, age_s_max: float) -> Reading | None:
        """See ``Plant``."""
        acquisition = self._devices.get(place.device)
        if acquisition is None or not acquisition.is_online or place.tag not in acquisition.tag_names:
            return None
        value = acquisition.current.of(acquisition.tag_names.index(place.tag))
        if value is None or abs(self._clock.now_ns() - value.time_ns) > age_s_max * 1e9:
            return None
        is_plain = isinstance(value.value, bool | int | float | str)
        return Reading(value.value if is_plain else None, value.quality, value.time_ns)
