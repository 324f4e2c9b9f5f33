"""The devices as commands see them: what they hold, by the acquisition or read anew, and how they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from connectors.commands.expression import TagPlace
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, WriteRefused
from connectors.model.tags import DeviceName, TagName
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceWriter, Reading, Value
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


@runtime_checkable
class IndexedDevice(Protocol):
    """A driver that can write: see ``DeviceDriver``. Tags are meant by their place in the device file."""

    async def write(self, tag: int, value: Value) -> None:
        """Write once."""
        ...

    async def read(self, tag: int) -> Reading:
        """What the tag holds now."""
        ...

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """Call a method once."""
        ...


class TagsByName:
    """Implements ``DeviceWriter`` on a driver."""

    def __init__(self, device: IndexedDevice, tag_names: Sequence[str]) -> None:
        self._device = device
        self._indices = {name: index for index, name in enumerate(tag_names)}

    async def write(self, tag: TagName, value: Value) -> None:
        """See ``DeviceWriter``."""
        await self._device.write(self._index(tag), value)

    async def read(self, tag: TagName) -> Reading:
        """See ``DeviceWriter``."""
        return await self._device.read(self._index(tag))

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceWriter``."""
        return await self._device.call(method, arguments)

    def _index(self, tag: TagName) -> int:
        if tag not in self._indices:
            raise WriteRefused(f"the device has no tag {tag!r}")
        return self._indices[tag]


class LivePlant:
    """Implements ``Plant`` on the running acquisition."""

    def __init__(
        self, devices: Mapping[DeviceName, DeviceAcquisition], writers: Mapping[str, DeviceWriter], clock: Clock
    ) -> None:
        self._devices = devices
        self._writers = writers
        self._clock = clock
        self._indices = {
            TagPlace(name, TagName(tag)): index
            for name, device in devices.items()
            for index, tag in enumerate(device.tag_names)
        }

    def writer(self, device: str) -> DeviceWriter | None:
        """See ``Plant``."""
        return self._writers.get(device)

    def datatypes(self, device: str) -> Mapping[str, DataType]:
        """See ``Plant``."""
        acquisition = self._devices.get(DeviceName(device))
        types = () if acquisition is None else acquisition.current.types
        return {tag.name: tag.datatype for tag in types if tag is not None}

    def current(self, place: TagPlace, age_s_max: float) -> Reading | None:
        """See ``Plant``."""
        index, acquisition = self._indices.get(place), self._devices.get(place.device)
        if index is None or acquisition is None or not acquisition.is_online:
            return None
        value = acquisition.current.of(index)
        if value is None or abs(self._clock.now_ns() - value.time_ns) > age_s_max * 1e9:
            return None
        is_plain = isinstance(value.value, bool | int | float | str)
        return Reading(value.value if is_plain else None, value.quality, value.time_ns)
