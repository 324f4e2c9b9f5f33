"""A Modbus device of a device file, played by a small unit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from connectors.modbus.settings import ModbusDevice
from connectors.modbus.simulated_server import SimulatedModbusUnit
from connectors.modbus.tag_settings import ModbusTag
from connectors.model.datatypes import DataType
from connectors.model.scaling import ratio_of
from connectors.ports.simulated_device import wave


class _Played:
    def __init__(self, device: ModbusDevice, unit: SimulatedModbusUnit, port: int) -> None:
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.left_out: Mapping[str, str] = {}
        self._device = device
        self._unit = unit

    async def step(self, at_s: float) -> None:
        """See ``SimulatedDevice``."""
        tags = enumerate(self._device.tags)
        moving = {tag.name: _value(number, tag, at_s) for number, tag in tags if tag.writable is None}
        await self._unit.set(moving)


def _value(number: int, tag: ModbusTag, at_s: float) -> Any:
    """A value that the registers of the tag can hold, as the agent reports it."""
    if tag.texts:
        texts = list(tag.texts.values())
        return texts[int(at_s / 5 + number) % len(texts)]
    if tag.is_bit:
        return wave(number, DataType.BOOLEAN, at_s)
    raw = wave(number, tag.raw_datatype, at_s)
    if isinstance(raw, str):
        return raw[: tag.length]
    return ratio_of(tag.scale, tag.scaling_offset).scaled(raw) if tag.is_scaled else raw


@asynccontextmanager
async def simulated_modbus(device: ModbusDevice, port: int) -> AsyncIterator[_Played]:
    """Serve ``device`` on 127.0.0.1 by Modbus/TCP. Raises ``OSError`` when the port is taken."""
    async with SimulatedModbusUnit(device.tags, port=port, unit_id=device.unit_id) as unit:
        yield _Played(device, unit, port)
