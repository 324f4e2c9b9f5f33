"""What a device file says of any device: the settings that every driver shares, and how quantities are written.

A driver brings its own models, derived from ``DeviceSettings`` and ``TagSettings``; names in the file are the field
aliases, names in the code carry the unit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.model.datatypes import IEC_SPELLINGS, SPELLINGS, DataType, is_numeric, parse_datatype
from connectors.model.report_by_exception import ReportRule
from connectors.ports.clock import Clock
from connectors.ports.command_settings import NamedCommandSettings, WritableSettings, read_writable
from connectors.ports.deadbands import Deadband, parse_deadband, refuse_range
from connectors.ports.derived_settings import DERIVED_MAX, DerivedValue, formula_problems
from connectors.ports.device import DeviceDriver
from connectors.ports.setting_model import (
    Duration,
    HasNoEffect,
    SettingInvalid,
    Settings,
    Size,
    parse_duration,
    parse_size,
    refuse_all,
)

__all__ = [
    "AgentPlace",
    "DataTypeReader",
    "DataTypeSetting",
    "Deadband",
    "DerivedTagSettings",
    "DeviceSettings",
    "DriverType",
    "DuplicateTag",
    "Duration",
    "HasNoEffect",
    "SettingInvalid",
    "Settings",
    "Size",
    "TagSettings",
    "check_intervals",
    "parse_deadband",
    "parse_duration",
    "parse_size",
    "refuse_range",
    "usable_name",
]


def check_intervals(shortest_s: float, longest_s: float | None) -> None:
    """Raises ``SettingInvalid`` when no value could be reported at these intervals."""
    if longest_s is not None and shortest_s > longest_s:
        raise SettingInvalid(
            "a value cannot be reported at least as often as 'max_interval' says, and at most as often as this.",
            "Make it shorter than 'max_interval', or leave one of the two out.",
            ("min_interval",),
        )


class TagSettings(Settings):
    """One tag, whatever the driver."""

    devices_say_ranges: ClassVar[bool] = False
    """Whether a deadband may be a part of the range that the device says a value has; the driver sees to it then."""

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
    writable: Annotated[
        WritableSettings | None,
        BeforeValidator(read_writable, json_schema_input_type=bool | WritableSettings | None),
        Field(description="Commands may write it: {min: 0, max: 250}, or true for a truth value, text or structure"),
    ] = None
    safety: Annotated[bool, Field(description="Part of a safety function: it can never be made writable")] = False

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return usable_name(name)

    @field_validator("scale")
    @classmethod
    def _usable_scale(cls, scale: float) -> float:
        if scale == 0 or scale != scale or abs(scale) == float("inf"):
            raise ValueError("a scale is a number other than 0")
        return scale

    @model_validator(mode="after")
    def _intervals_fit(self) -> TagSettings:
        check_intervals(self.report_interval_s_min, self.report_interval_s_max)
        return self

    @model_validator(mode="after")
    def _range_known(self) -> TagSettings:
        if not self.devices_say_ranges:
            refuse_range(self.deadband)
        return self

    @model_validator(mode="after")
    def _safety_stays(self) -> TagSettings:
        if self.safety and self.writable is not None:
            raise SettingInvalid(
                "a tag with 'safety: true' cannot be made writable: Lineside is no safety function (ISO 13849, "
                "IEC 62061).",
                "Remove 'writable'.",
                ("writable",),
            )
        return self

    @property
    def limits(self) -> tuple[float, float] | None:
        """The smallest and the largest number that commands may write; ``None`` where the file names none."""
        return None if self.writable is None else self.writable.limits

    def rounding_of(self, value: float) -> float:  # noqa: ARG002  a driver that rounds looks at it
        """How far what a device holds of ``value`` may be off, where it keeps fewer digits than its data type has."""
        return 0.0

    def refuse_limits(self, datatype: DataType) -> None:
        """Raises ``SettingInvalid`` when a number has no limits, or something else has."""
        if self.writable is None:
            return
        if self.unwritable_reason:
            raise SettingInvalid(f"{self.unwritable_reason}.", "Remove it.", ("writable",))
        if is_numeric(datatype) and self.writable.limits is None:
            raise SettingInvalid(
                f"a {datatype.label} is written within limits only.", "Write {min: …, max: …}.", ("writable",)
            )
        if not is_numeric(datatype) and self.writable.limits is not None:
            raise SettingInvalid(f"a {datatype.label} has no limits.", "Remove 'min' and 'max'.", ("writable",))

    def refuse_arithmetic(self, datatype: DataType) -> None:
        """Raises ``SettingInvalid`` when a setting that only means something for a number stands at another type."""
        if is_numeric(datatype):
            return
        for key, field in (("scale", "scale"), ("offset", "scaling_offset"), ("deadband", "deadband")):
            if field in self.model_fields_set:
                raise HasNoEffect(f"it does nothing to a {datatype.label}.", "Remove it.", (key,))

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


def usable_name(name: str) -> str:
    """``name``. Raises ``ValueError`` when no tag can have it."""
    if name != name.strip() or any(ord(char) < 32 for char in name):
        raise ValueError("a tag name has no spaces at its ends and no control characters")
    if name.startswith("Lineside/"):
        raise ValueError("names that begin with 'Lineside/' are Lineside's own")
    return name


class DerivedTagSettings(DerivedValue):
    """A tag that is calculated from others of its device; reported when its value changes."""

    deadband: Annotated[
        Deadband | None,
        BeforeValidator(parse_deadband, json_schema_input_type=float | str),
        Field(description="Report a value only when it moved by this much: 0.5, or 1%"),
    ] = None
    report_interval_s_min: Annotated[
        Duration, Field(alias="min_interval", ge=0, description="Report at most this often; the newest value wins")
    ] = 0.0
    report_interval_s_max: Annotated[
        Duration | None,
        Field(alias="max_interval", gt=0, description="Report at least this often while its inputs change"),
    ] = None
    lane: Annotated[Literal["samples", "alarms"], Field(description="As of any other tag")] = "samples"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return usable_name(name)

    @model_validator(mode="after")
    def _no_range(self) -> DerivedTagSettings:
        refuse_range(self.deadband)
        return self

    def report_rule(self) -> ReportRule:
        """When its samples are reported."""
        deadband = self.deadband or Deadband()
        return ReportRule(
            deadband_absolute=deadband.absolute,
            deadband_percent=deadband.percent,
            interval_s_min=self.report_interval_s_min,
            interval_s_max=self.report_interval_s_max,
        )


@dataclass(frozen=True, slots=True)
class AgentPlace:
    """The agent that a device belongs to: ``group/name``, and its data folder."""

    agent: str
    data_dir: Path


class DeviceSettings(Settings):
    """One device, whatever the driver."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="Sparkplug device id, unique on the agent")]
    driver: str
    plain_commands: Annotated[
        Literal["refuse", "allow"],
        Field(description="allow: Sparkplug commands of any host are taken, without signature and expiry"),
    ] = "refuse"
    commands: Annotated[
        dict[str, NamedCommandSettings],
        Field(default_factory=dict, max_length=1000, description="Sequences that are run by their names"),
    ]
    derived: Annotated[
        tuple[DerivedTagSettings, ...],
        Field(max_length=DERIVED_MAX, description="Tags that are calculated from others of this device"),
    ] = ()
    tags: Annotated[tuple[TagSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique_tags(self) -> DeviceSettings:
        seen: dict[str, int] = {}
        for index, tag in enumerate(self.tags):
            if tag.name in seen:
                raise DuplicateTag(tag.name, seen[tag.name], index)
            seen[tag.name] = index
        _keep_what_is_said(self.tags)
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> DeviceSettings:
        refuse_all([*self._wrong_commands(), *(self._wrong_derived() if self.derived else ())])
        return self

    def _wrong_commands(self) -> Iterator[SettingInvalid]:
        writable = {tag.name: tag.writable for tag in self.tags}
        for name, command in self.commands.items():
            if (problem := command.problem(writable)) is not None:
                yield SettingInvalid(problem.message, problem.suggestion, ("commands", name, *problem.path))

    def _wrong_derived(self) -> Iterator[SettingInvalid]:
        folded = {tag.name.lower() for tag in self.tags}
        for at, tag in enumerate(self.derived):
            if tag.name.lower() in folded:
                said = f"the device has another tag {tag.name!r} already."
                yield SettingInvalid(said, "Use another name.", ("derived", at, "name"))
            folded.add(tag.name.lower())
        for at, key, problem in formula_problems(self.derived, [tag.name for tag in self.tags]):
            yield SettingInvalid(problem.message, problem.suggestion, ("derived", at, key))

    @property
    def is_insecure(self) -> bool:
        """Whether anybody on the network can read or change what is exchanged with the device."""
        return True

    @property
    def weaknesses(self) -> frozenset[str]:
        """What makes the connection less secure than it could be, a sentence each, equal while nothing has changed."""
        return frozenset({"it is neither signed nor encrypted"} if self.is_insecure else ())

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where the device can be reached, as the file says it."""
        return (str(getattr(self, "endpoint", "")),)

    @property
    def shared_way(self) -> tuple[str, object] | None:
        """Where one connection is shared by all devices of it, and how it is reached, which is the same for all."""
        return None

    def placed(self, place: AgentPlace) -> DeviceSettings:  # noqa: ARG002  for drivers that keep something
        """These settings, for a device of the agent at ``place``: where its driver keeps what is its own."""
        return self

    def certificate_files(self) -> tuple[Path, ...]:
        """Files with certificates whose end has to be known in time."""
        return ()

    def alarm_tags(self) -> tuple[int, ...]:
        """The indices of the tags whose samples leave before those of others."""
        lanes = [*(tag.lane for tag in self.tags), *(tag.lane for tag in self.derived)]
        return tuple(index for index, lane in enumerate(lanes) if lane == "alarms")

    def tag_names(self) -> list[str]:
        """The names of all tags by index: those of the driver, then those that are derived."""
        return [*(tag.name for tag in self.tags), *(tag.name for tag in self.derived)]

    def report_rules(self) -> dict[int, ReportRule]:
        """When samples are reported, by tag index: all that the device sends, unless a tag asks for less."""
        tags = [self._report_rule(tag) for tag in self.tags] + [tag.report_rule() for tag in self.derived]
        alike: dict[ReportRule, ReportRule] = {}  # thousands of tags have the same few: one of each is enough
        return {index: alike.setdefault(rule, rule) for index, rule in enumerate(tags)}

    def _report_rule(self, tag: TagSettings) -> ReportRule:
        deadband = tag.deadband or Deadband()
        return ReportRule(
            always=tag.deadband is None and tag.report_interval_s_min == 0,
            deadband_absolute=deadband.absolute,
            deadband_percent=deadband.percent,
            interval_s_min=tag.report_interval_s_min,
            interval_s_max=tag.report_interval_s_max,
        )


def _keep_what_is_said(tags: Iterable[TagSettings]) -> None:
    """Thousands of tags say a few settings each, of twenty: all else they find at their class, which has the defaults.

    Tags that say the same settings share the set of their names. 5 MB of 10,000 tags.
    """
    sets: dict[frozenset[str], set[str]] = {}
    for tag in tags:
        said = sets.setdefault(frozenset(tag.model_fields_set), tag.model_fields_set)
        defaults = _defaults_at(type(tag))
        kept = {key: value for key, value in tag.__dict__.items() if key in said or defaults.get(key, tag) is not value}
        object.__setattr__(tag, "__dict__", kept)  # a frozen model: nobody changes it
        object.__setattr__(tag, "__pydantic_fields_set__", said)


@cache
def _defaults_at(kind: type[TagSettings]) -> Mapping[str, Any]:
    """The defaults of ``kind``, which the class has as attributes from now on; nothing is derived from it later."""
    fields = kind.model_fields.items()
    defaults = {name: field.default for name, field in fields if not field.is_required() and not field.default_factory}
    for name, default in defaults.items():
        type.__setattr__(kind, name, default)
    return defaults


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
    """A kind of driver: the model of its device entries, and how a driver is made from one.

    ``acts_on`` are the settings of ``TagSettings`` that the driver itself acts on, beside those that say where a tag is
    and what it is: ``deadband``, say, where the device keeps it. Another value of one of these needs another driver.
    """

    settings: type[DeviceSettings]
    create: Callable[[Any, Clock], DeviceDriver]
    acts_on: frozenset[str] = frozenset()
