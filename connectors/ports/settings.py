"""What a device file says of any device: the settings that every driver shares, and how quantities are written.

A driver brings its own models, derived from ``DeviceSettings`` and ``TagSettings``; names in the file are the field
aliases, names in the code carry the unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from connectors.model.datatypes import IEC_SPELLINGS, SPELLINGS, DataType, is_numeric, parse_datatype
from connectors.model.report_by_exception import ReportRule
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceDriver

_DURATION: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)\s*\Z")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*\Z")
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


def parse_duration(value: Any) -> float:
    """Seconds from ``100ms``, ``1.5s``, ``5m``, ``2h`` or ``7d``. A bare number has no unit and is refused."""
    found = _DURATION.match(value) if isinstance(value, str) else None
    duration_s = float(found[1]) * _DURATION_UNITS[found[2]] if found else math.inf
    if math.isinf(duration_s):
        raise ValueError(f"{value!r} is not a duration; write a number with a unit, such as 100ms, 5s, 2m, 1h or 7d")
    return duration_s


def parse_size(value: Any) -> int:
    """Bytes from ``64KiB``, ``500MB`` or ``2GB``. A bare number has no unit and is refused."""
    found = _SIZE.match(value) if isinstance(value, str) else None
    size = float(found[1]) * _SIZE_UNITS[found[2]] if found else math.inf
    if math.isinf(size):
        raise ValueError(f"{value!r} is not a size; write a number with a unit, such as 64KiB, 500MB or 2GB")
    return int(size)


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str)]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=str)]


class Settings(BaseModel):
    """A part of the configuration: parsed once, never changed, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Deadband:
    """How far a value has to move from the last reported one: ``absolute`` units, or ``percent`` of that value."""

    absolute: float = 0.0
    percent: float = 0.0


def parse_deadband(value: Any) -> Deadband:
    """A deadband from ``0.5`` (units of the value) or ``1%`` (of the last reported value)."""
    if isinstance(value, Deadband):
        return value
    text = str(value).strip()
    number = text.removesuffix("%").strip()
    try:
        size = float(number)
    except ValueError:
        size = -1.0
    if isinstance(value, bool) or not 0 <= size < float("inf"):
        raise ValueError(f"{value!r} is not a deadband; write a number such as 0.5, or a percentage such as 1%")
    return Deadband(percent=size) if text.endswith("%") else Deadband(absolute=size)


class TagSettings(Settings):
    """One tag, whatever the driver."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="Unique within the device, e.g. ram/force")]
    unit: Annotated[str, Field(max_length=40, description="Engineering unit, shown as it is written")] = ""
    description: Annotated[str, Field(max_length=1000)] = ""
    scale: Annotated[float, Field(description="value = raw * scale + offset; the result is a Double")] = 1.0
    scaling_offset: Annotated[float, Field(alias="offset")] = 0.0
    deadband: Annotated[
        Deadband | None,
        BeforeValidator(parse_deadband, json_schema_input_type=float | str),
        Field(description="Report a value only when it moved by this much: 0.5, or 1%"),
    ] = None
    report_interval_s_min: Annotated[
        Duration, Field(alias="min_interval", ge=0, description="Report at most this often; the newest value wins")
    ] = 0.0
    report_interval_s_max: Annotated[
        Duration | None, Field(alias="max_interval", gt=0, description="Report at least this often, changed or not")
    ] = None
    lane: Annotated[
        Literal["samples", "alarms"],
        Field(description="alarms: delivered before samples, and given up after them when the outbox is full"),
    ] = "samples"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name != name.strip() or any(ord(char) < 32 for char in name):
            raise ValueError("a tag name has no spaces at its ends and no control characters")
        if name.startswith("Lineside/"):
            raise ValueError("names that begin with 'Lineside/' are Lineside's own")
        return name

    @field_validator("scale")
    @classmethod
    def _usable_scale(cls, scale: float) -> float:
        if scale == 0 or scale != scale or abs(scale) == float("inf"):
            raise ValueError("a scale is a number other than 0")
        return scale

    @model_validator(mode="after")
    def _intervals_fit(self) -> TagSettings:
        longest_s = self.report_interval_s_max
        if longest_s is not None and self.report_interval_s_min > longest_s:
            raise SettingInvalid(
                "a value cannot be reported at least as often as 'max_interval' says, and at most as often as this.",
                "Make it shorter than 'max_interval', or leave one of the two out.",
                ("min_interval",),
            )
        return self

    def refuse_arithmetic(self, datatype: DataType) -> None:
        """Raises ``SettingInvalid`` when a setting that only means something for a number stands at another type."""
        if is_numeric(datatype):
            return
        for key, field in (("scale", "scale"), ("offset", "scaling_offset"), ("deadband", "deadband")):
            if field in self.model_fields_set:
                raise SettingInvalid(f"it does nothing to a {datatype.label}.", "Remove it.", (key,))

    @property
    def unwritable_reason(self) -> str:
        """Why nobody can write to this tag, in a sentence, as far as its settings tell; empty when they do not."""
        return ""

    @property
    def is_scaled(self) -> bool:
        """Whether the raw value is changed by scale or offset."""
        return self.scale != 1.0 or self.scaling_offset != 0.0

    def reported_datatype(self, raw: DataType) -> DataType:
        """The type of the reported value: Double when a number is scaled, else the raw type."""
        return DataType.DOUBLE if self.is_scaled and is_numeric(raw) else raw


class DeviceSettings(Settings):
    """One device, whatever the driver."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="Sparkplug device id, unique on the agent")]
    driver: str
    tags: Annotated[tuple[TagSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique_tags(self) -> DeviceSettings:
        seen: dict[str, int] = {}
        for index, tag in enumerate(self.tags):
            if tag.name in seen:
                raise DuplicateTag(tag.name, seen[tag.name], index)
            seen[tag.name] = index
        return self

    @property
    def is_insecure(self) -> bool:
        """Whether anybody on the network can read or change what is exchanged with the device."""
        return True

    def alarm_tags(self) -> tuple[int, ...]:
        """The indices of the tags whose samples leave before those of others."""
        return tuple(index for index, tag in enumerate(self.tags) if tag.lane == "alarms")

    def report_rules(self) -> dict[int, ReportRule]:
        """When samples are reported, by tag index: all that the device sends, unless a tag asks for less."""
        return {index: self._report_rule(tag) for index, tag in enumerate(self.tags)}

    def _report_rule(self, tag: TagSettings) -> ReportRule:
        deadband = tag.deadband or Deadband()
        return ReportRule(
            always=tag.deadband is None and tag.report_interval_s_min == 0,
            deadband_absolute=deadband.absolute,
            deadband_percent=deadband.percent,
            interval_s_min=tag.report_interval_s_min,
            interval_s_max=tag.report_interval_s_max,
        )


class SettingInvalid(ValueError):
    """A setting that does not fit another one: a sentence, what to do, and where below the model it is."""

    def __init__(self, message: str, suggestion: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(f"{message} {suggestion}")
        self.message, self.suggestion, self.path = message, suggestion, path


class DuplicateTag(ValueError):
    """Two tags of a device have the same name; ``first`` and ``second`` are their positions in the list."""

    def __init__(self, name: str, first: int, second: int) -> None:
        super().__init__(f"two tags are called {name!r}")
        self.name, self.first, self.second = name, first, second


class DataTypeReader:
    """Reads a data type as a device file names it. Raises ``ValueError`` with what is known."""

    def __init__(self, possible: Collection[DataType]) -> None:
        """``possible``: the types that the driver's values can have; no other is ever suggested."""
        self.possible = frozenset(possible)
        self.known = tuple(sorted(name for name, datatype in SPELLINGS.items() if datatype in possible))
        self.iec = tuple(sorted(name for name, datatype in IEC_SPELLINGS.items() if datatype in possible))

    def __call__(self, value: Any) -> DataType:
        """The type that ``value`` names; a type as it is, also one that the driver refuses later."""
        return value if isinstance(value, DataType) else parse_datatype(str(value))


DataTypeSetting = Annotated[DataType, BeforeValidator(DataTypeReader(tuple(DataType)), json_schema_input_type=str)]


@dataclass(frozen=True, slots=True)
class DriverType:
    """A kind of driver: the model of its device entries, and how a driver is made from one."""

    settings: type[DeviceSettings]
    create: Callable[[Any, Clock], DeviceDriver]
