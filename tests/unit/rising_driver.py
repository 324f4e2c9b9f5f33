"""A driver that is played: connected at once, and with a value that rises all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, Value

SAMPLE_S = 0.005


class PlayedDriver:
    """Gives its first tag a sample again and again: 1, 2, 3 …"""

    def __init__(self, settings: ModbusDevice, clock: Clock) -> None:
        self.settings, self._clock = settings, clock
        self.given = 0.0
        self.is_connected = False
        self.lag_s_max = 0.0

    async def acquire(self, acquisition: Acquisition) -> None:
        types = [TagType(index, TagName(tag.name), DataType.DOUBLE) for index, tag in enumerate(self.settings.tags)]
        await acquisition.online(types, [])
        self.is_connected = True
        try:
            while True:
                value, time_ns = np.array([self.given + 1]), np.array([self._clock.now_ns()], np.int64)
                await acquisition.put(SampleBatch(DataType.DOUBLE, np.zeros(1, np.int32), time_ns, value))
                self.given += 1
                await asyncio.sleep(SAMPLE_S)
        finally:
            self.is_connected = False

    async def write(self, tag: int, value: Value) -> None:
        raise NotImplementedError

    async def read(self, tag: int) -> Reading:
        raise NotImplementedError

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        raise NotImplementedError

    def counts(self) -> Mapping[str, int]:
        return {}
