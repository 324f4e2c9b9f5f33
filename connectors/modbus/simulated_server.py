"""A small Modbus/TCP unit for demos and tests: values at the addresses of a device file, set from code.

Not for a machine: whoever reaches it can read everything, and write the coils and the holding registers.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType as CellType
from pymodbus.simulator import SimData, SimDevice

from connectors.modbus.addresses import Table
from connectors.modbus.decode import text_of
from connectors.modbus.orders import BYTES_SWAPPED, arranged, swapped
from connectors.modbus.plan import READ_FUNCTIONS
from connectors.modbus.settings import ModbusTag
from connectors.model.datatypes import DataType
from connectors.model.scaling import ratio_of

_FORMATS: Final = {
    DataType.INT16: ">h",
    DataType.UINT16: ">H",
    DataType.INT32: ">i",
    DataType.UINT32: ">I",
    DataType.INT64: ">q",
    DataType.UINT64: ">Q",
    DataType.FLOAT: ">f",
    DataType.DOUBLE: ">d",
}
_REAL: Final = frozenset({DataType.FLOAT, DataType.DOUBLE})
_BITS_PER_REGISTER: Final = 16


class SimulatedModbusUnit:
    """Serves ``tags`` as one unit for as long as it is entered: ``async with SimulatedModbusUnit(…) as unit``.

    Values are given as the agent reports them: scaled, whatever the type and the order of the registers. Entering
    raises ``OSError`` when the port is taken.
    """

    def __init__(self, tags: Sequence[ModbusTag], *, port: int, host: str = "127.0.0.1", unit_id: int = 1) -> None:
        self._tags = {tag.name: tag for tag in tags}
        self._address = (host, port)
        self._unit_id = unit_id
        self._running: ModbusTcpServer | None = None

    async def __aenter__(self) -> SimulatedModbusUnit:
        coils, discrete, holding, inputs = (self._table(table) for table in ("coil", "discrete", "holding", "input"))
        device = SimDevice(self._unit_id, simdata=(coils, discrete, holding, inputs))
        server = ModbusTcpServer(device, address=self._address)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as exc:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {self._address[0]}:{self._address[1]}") from exc
        self._running = server
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.shutdown()  # type: ignore[no-untyped-call]

    async def set(self, values: Mapping[str, Any]) -> None:
        """Give tags new values. Raises ``ValueError`` when one does not fit its registers."""
        for name, value in values.items():
            tag = self._tags[name]
            cells: list[int] | list[bool]
            if tag.table in ("coil", "discrete"):
                cells = [bool(_number_for(tag, value))]
            elif tag.bit is not None:
                (word,) = await self._read(tag)
                mask = 1 << _bit_as_sent(tag, tag.bit)
                cells = [word | mask if _number_for(tag, value) else word & ~mask]
            else:
                cells = _words(tag, value)
            await self._server.async_setValues(self._unit_id, READ_FUNCTIONS[tag.table], tag.address, cells)

    async def value(self, name: str) -> Any:
        """The value of a tag; in a coil or holding register, perhaps what a client has written."""
        tag = self._tags[name]
        cells = await self._read(tag)
        if tag.bit is not None:
            return _text_for(tag, bool(int(cells[0]) >> _bit_as_sent(tag, tag.bit) & 1))
        if tag.table in ("coil", "discrete"):
            return _text_for(tag, bool(cells[0]))
        return _value(tag, [int(cell) for cell in cells])

    @property
    def _server(self) -> ModbusTcpServer:
        if self._running is None:
            raise RuntimeError("the unit has not been entered")
        return self._running

    async def _read(self, tag: ModbusTag) -> list[int] | list[bool]:
        function = READ_FUNCTIONS[tag.table]
        return await self._server.async_getValues(self._unit_id, function, tag.address, tag.register_count)

    def _table(self, table: Table) -> list[SimData]:
        """Cells from 0 to the last one that a tag uses; what lies beyond is an illegal address."""
        ends = [tag.address + tag.register_count for tag in self._tags.values() if tag.table == table]
        count = max(ends, default=1)
        if table in ("coil", "discrete"):
            whole = -(-count // _BITS_PER_REGISTER) * _BITS_PER_REGISTER
            return [SimData(0, count=whole, values=False, datatype=CellType.BITS)]
        return [SimData(0, count=count, values=0, datatype=CellType.REGISTERS)]


def _bit_as_sent(tag: ModbusTag, bit: int) -> int:
    return bit ^ 8 if tag.order in BYTES_SWAPPED else bit


def _words(tag: ModbusTag, value: Any) -> list[int]:
    if tag.raw_datatype is DataType.STRING:
        try:
            data = str(value).encode("latin-1")
        except UnicodeEncodeError as exc:
            raise ValueError(f"{tag.name}: {value!r} holds characters that are not Latin-1") from exc
        if len(data) > tag.length:
            raise ValueError(f"{tag.name}: {value!r} is longer than {tag.length} bytes")
        return _in_order(tag, data.ljust(2 * tag.register_count, b"\0"))
    raw = float(ratio_of(tag.scale, tag.scaling_offset).raw_of(value)) if tag.is_scaled else _number_for(tag, value)
    if tag.encoding == "bcd":
        raw = int(str(round(raw)), 16)
    try:
        data = struct.pack(_format(tag), raw if tag.raw_datatype in _REAL else round(raw))
    except (struct.error, OverflowError) as exc:
        raise ValueError(f"{tag.name}: {value!r} does not fit {tag.raw_datatype.label}") from exc
    return _in_order(tag, data)


def _format(tag: ModbusTag) -> str:
    return ">e" if tag.encoding == "half" else _FORMATS[tag.raw_datatype]


def _in_order(tag: ModbusTag, data: bytes) -> list[int]:
    """Big-endian bytes as registers in the order of the tag; the same steps lead back."""
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    if tag.raw_datatype is DataType.STRING:
        return swapped(words) if tag.order in BYTES_SWAPPED else words
    return arranged(words, tag.order)


def _value(tag: ModbusTag, words: list[int]) -> Any:
    data = struct.pack(f">{len(words)}H", *_in_order(tag, struct.pack(f">{len(words)}H", *words)))
    if tag.raw_datatype is DataType.STRING:
        return text_of(data[: tag.length])
    (raw,) = struct.unpack(_format(tag), data)
    if tag.encoding == "bcd":
        raw = int(f"{raw:x}")
    return ratio_of(tag.scale, tag.scaling_offset).scaled(raw) if tag.is_scaled else _text_for(tag, raw)


def _number_for(tag: ModbusTag, value: Any) -> Any:
    """The number that a text stands for; anything else as it is."""
    numbers = {text: number for number, text in (tag.texts or {}).items()}
    return numbers.get(value, value)


def _text_for(tag: ModbusTag, number: Any) -> Any:
    return number if tag.texts is None else tag.texts.get(int(number), str(int(number)))
