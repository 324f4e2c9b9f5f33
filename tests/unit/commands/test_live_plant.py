"""What commands know of the devices: what is acquired and fresh, else what is read now; written by names of tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from connectors.commands.expression import TagPlace
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD, GOOD
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from connectors.ports.device import Reading, Value
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.commands.plant import LivePlant, read_anew
from tests.virtual_time import START_NS, VirtualClock, virtual_time

STATE = TagPlace(DeviceName("press"), TagName("state"))


class PlayedDevice:
    """What a device is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.is_away = False
        self.tag_names = ("other", "state")
        self.current = CurrentValues(2)
        self.is_online = True

    async def write(self, tag: str, value: Value) -> None:
        self.asked.append(("write", tag, value))

    async def read(self, tag: str) -> Reading:
        self.asked.append(("read", tag))
        if self.is_away:
            raise DeviceUnavailable("press: away")
        return Reading(42, GOOD, START_NS)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        self.asked.append(("call", method, *arguments))
        return (7,)


def plant(device: PlayedDevice, *, age_s: float = 0.0, quality: int = GOOD, is_online: bool = True) -> LivePlant:
    """A press whose state was acquired so long ago."""
    device.current.bind([TagType(1, TagName("state"), DataType.UINT16)])
    time_ns = np.array([START_NS - round(age_s * 1e9)])
    qualities, value = np.array([quality], np.uint16), np.array([3], np.uint16)
    device.current.update(SampleBatch(DataType.UINT16, np.array([1], np.int32), time_ns, value, qualities))
    device.is_online = is_online
    return LivePlant({DeviceName("press"): cast(DeviceAcquisition, device)}, VirtualClock())


@virtual_time
async def test_a_fresh_value_of_a_device_that_is_there_is_taken_as_it_is() -> None:
    device = PlayedDevice()
    found = await read_anew(plant(device, age_s=4.0, quality=BAD), [(STATE, 5.0)])
    assert found == {STATE: Reading(3, BAD, START_NS - 4_000_000_000)}
    assert device.asked == []


@pytest.mark.parametrize("known", [{"age_s": 6.0}, {"age_s": -6.0}, {"is_online": False}])
def test_any_other_is_read_now(known: dict[str, Any]) -> None:
    @virtual_time
    async def scene() -> None:
        device = PlayedDevice()
        assert await read_anew(plant(device, **known), [(STATE, 5.0)]) == {STATE: Reading(42, GOOD, START_NS)}
        assert device.asked == [("read", "state")]

    scene()


@virtual_time
async def test_what_cannot_be_read_is_not_known() -> None:
    device = PlayedDevice()
    device.is_away = True
    nowhere = TagPlace(DeviceName("oven"), TagName("x"))
    found = await read_anew(plant(device, age_s=60.0), [(STATE, 5.0), (nowhere, 5.0)])
    assert found == {STATE: None, nowhere: None}


@virtual_time
async def test_tags_are_written_by_their_names_and_their_types_are_known() -> None:
    device = PlayedDevice()
    live = plant(device)
    writer = live.writer("press")
    assert writer is not None
    await writer.write(TagName("state"), 5)
    assert await writer.call("ns=2;s=Begin", [1, "a"]) == (7,)
    assert device.asked == [("write", "state", 5), ("call", "ns=2;s=Begin", 1, "a")]
    assert live.datatypes("press") == {"state": DataType.UINT16}
    assert live.datatypes("oven") == {}
    assert live.writer("oven") is None
