"""Tags, devices and definitions: what a value is called and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from connectors.model.datatypes import DataType

TagName = NewType("TagName", str)
DeviceName = NewType("DeviceName", str)
DefinitionHash = NewType("DefinitionHash", str)


@dataclass(frozen=True, slots=True)
class TagType:
    """What a driver knows of a tag once it has reached the device: its index, name, type and unit.

    ``index`` is the position of the tag in the device file; ``unit`` an engineering unit as the file spells it;
    ``limits`` the smallest and the largest number that may be written, in that unit (``None``: the file names none).
    """

    index: int
    name: TagName
    datatype: DataType
    unit: str = ""
    description: str = ""
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric of a device definition: alias, name and type. The alias belongs to (name, type) for ever."""

    alias: int
    name: TagName
    datatype: DataType
    unit: str = ""
    description: str = ""
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class DeviceDefinition:
    """The metrics of one device, sorted by alias, and the hash by which batches name it (32 hexadecimal digits)."""

    device: DeviceName
    metrics: tuple[MetricDefinition, ...]
    hash: DefinitionHash
    body: bytes
