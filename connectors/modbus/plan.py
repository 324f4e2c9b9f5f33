"""Which registers are read together: scan classes, and the blocks that one request can read.

Pure: settings in, blocks out. Addresses count from 0, as on the wire. A value that takes several registers is never
divided between two requests, because the unit may change it in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from connectors.modbus.addresses import Table
from connectors.modbus.orders import Order
from connectors.modbus.settings import ModbusDevice, ModbusTag
from connectors.model.datatypes import DataType
from connectors.model.tags import TagName, TagType

READ_FUNCTIONS: Final[dict[Table, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""Modbus Application Protocol 1.1b3, sections 6.1 to 6.4."""
BITS_PER_REGISTER: Final = 16
"""A read of bits carries as much as a read of registers: 2000 bits are 125 registers."""


@dataclass(frozen=True, slots=True)
class PlannedTag:
    """One tag as the plan needs it; ``count`` is registers, or bits in the bit tables.

    ``texts``: what its numbers stand for; ``written``: the address as the device file has it.
    """

    index: int
    name: TagName
    table: Table
    address: int
    count: int
    datatype: DataType
    reported: DataType
    bit: int | None
    order: Order
    length_bytes: int
    scale: float
    scaling_offset: float
    poll_s: float
    encoding: Literal["binary", "bcd", "half"]
    texts: Mapping[int, str] | None
    written: str

    @property
    def is_scaled(self) -> bool:
        """Whether the reported value is computed, not read."""
        return self.scale != 1.0 or self.scaling_offset != 0.0

    @property
    def place(self) -> str:
        """The address from 0, for example ``holding 100.5``, and as the device file has it where that is another."""
        place = f"{self.table} {self.address}" + ("" if self.bit is None else f".{self.bit}")
        return place if " ".join(self.written.split()) == place else f"{place} (written as {self.written})"


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring registers (or bits) that one request reads, and the tags in them by address; at least one."""

    table: Table
    address: int
    count: int
    tags: tuple[PlannedTag, ...]

    @property
    def is_bits(self) -> bool:
        """Whether the table is one of bits."""
        return self.table in ("coil", "discrete")

    @property
    def byte_count(self) -> int:
        """Bytes of data in the reply."""
        return (self.count + 7) // 8 if self.is_bits else self.count * 2

    @property
    def place(self) -> str:
        """The addresses for a person, for example ``holding 100 to 224``."""
        last = self.address + self.count - 1
        return f"{self.table} {self.address}" + (f" to {last}" if last > self.address else "")


def planned_tags(settings: ModbusDevice) -> tuple[PlannedTag, ...]:
    """The tags of a device in the order of its file."""
    return tuple(_planned(index, tag, settings) for index, tag in enumerate(settings.tags))


def _planned(index: int, tag: ModbusTag, settings: ModbusDevice) -> PlannedTag:
    datatype = tag.raw_datatype
    reported = tag.reported_datatype(datatype)
    return PlannedTag(
        index=index,
        name=TagName(tag.name),
        table=tag.table,
        address=tag.address,
        count=tag.register_count,
        datatype=datatype,
        reported=reported,
        bit=tag.bit,
        order=tag.order,
        length_bytes=tag.length if datatype is DataType.STRING else 0,
        scale=tag.scale if reported is DataType.DOUBLE else 1.0,
        scaling_offset=tag.scaling_offset if reported is DataType.DOUBLE else 0.0,
        poll_s=settings.poll_s if tag.poll_s is None else tag.poll_s,
        encoding=tag.encoding,
        texts=tag.texts,
        written=tag.at,
    )


def tag_types(settings: ModbusDevice) -> tuple[TagType, ...]:
    """What is told of every tag once the unit answers: a Modbus unit itself knows no names and no types."""
    return tuple(
        TagType(
            index, TagName(tag.name), tag.reported_datatype(tag.raw_datatype), tag.unit, tag.description, tag.limits
        )
        for index, tag in enumerate(settings.tags)
    )


def scan_classes(tags: Iterable[PlannedTag]) -> dict[float, tuple[PlannedTag, ...]]:
    """The tags by poll interval in seconds, the shortest first."""
    classes: dict[float, list[PlannedTag]] = defaultdict(list)
    for tag in tags:
        classes[tag.poll_s].append(tag)
    return {interval_s: tuple(classes[interval_s]) for interval_s in sorted(classes)}


def coalesce(tags: Iterable[PlannedTag], hole_registers_max: int, block_registers_max: int) -> tuple[Block, ...]:
    """As few blocks as cover ``tags`` in one sweep over the addresses, table by table.

    No block bridges more than ``hole_registers_max`` unused registers or is longer than ``block_registers_max``
    (both times 16 in the bit tables), except that a single value longer than that still makes one block.
    """
    tables: dict[Table, list[PlannedTag]] = defaultdict(list)
    for tag in tags:
        tables[tag.table].append(tag)
    blocks: list[Block] = []
    for table in READ_FUNCTIONS:
        unit = BITS_PER_REGISTER if table in ("coil", "discrete") else 1
        members = sorted(tables[table], key=lambda tag: (tag.address, tag.count, tag.index))
        blocks.extend(_sweep(members, hole_registers_max * unit, block_registers_max * unit))
    return tuple(blocks)


def _sweep(tags: Sequence[PlannedTag], hole_max: int, block_max: int) -> list[Block]:
    blocks: list[Block] = []
    first = 0
    end = 0
    for at, tag in enumerate(tags):
        tag_end = tag.address + tag.count
        joins = tag.address - end <= hole_max and max(end, tag_end) - tags[first].address <= block_max
        if at > first and not joins:
            blocks.append(block_of(tags[first:at]))
            first, end = at, tag_end
        else:
            end = max(end, tag_end) if at > first else tag_end
    if tags:
        blocks.append(block_of(tags[first:]))
    return blocks


def one_by_one(tags: Iterable[PlannedTag]) -> tuple[Block, ...]:
    """One block for each place, in the order of the addresses; tags of one place (bits of a register) share it."""
    places: dict[tuple[Table, int, int], list[PlannedTag]] = defaultdict(list)
    for tag in tags:
        places[tag.table, tag.address, tag.count].append(tag)
    tables = list(READ_FUNCTIONS)
    return tuple(block_of(places[place]) for place in sorted(places, key=lambda it: (tables.index(it[0]), *it[1:])))


def block_of(tags: Sequence[PlannedTag]) -> Block:
    """The smallest block that holds ``tags``: of one table, sorted by address, at least one."""
    address = tags[0].address
    end = max(tag.address + tag.count for tag in tags)
    return Block(tags[0].table, address, end - address, tuple(tags))
