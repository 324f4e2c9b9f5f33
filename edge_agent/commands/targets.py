"""What a command acts on, as the device file has it: whether it may be written, and which conditions have to hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from connectors.commands.envelope import Action, AgentAction, DeviceAction, Restart, WriteTag
from connectors.commands.refusals import Refusal
from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.json_differences import FLOAT32_PART, NOTHING, differences, read_json
from connectors.ports.command_settings import ArgumentSettings, NamedCommandSettings, WritableSettings
from connectors.ports.device import Value
from connectors.ports.settings import DeviceSettings, TagSettings

AGENT_INTERVAL_S: Final = 2.0
"""Between two of the same that are for the agent itself."""
HALF_STEP: Final = 0.5 * (1 + 1e-9)
"""The values on both sides are rounded, in their last digits: 0.35 and 0.4 are half a tenth apart."""
RESTART_S: Final = 30.0
"""Whoever can ask for restarts must not be able to keep an agent from acquiring."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A check did not pass: the code, and what exactly was wrong, in a sentence."""

    code: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What has to hold before a target is written; ``conditions`` are the device file's own."""

    interlock: str
    interlock_age_s: float
    interval_s: float
    approve: bool
    arm_s: float | None


class Targets:
    """The devices of an agent, as commands see them."""

    def __init__(self, devices: Iterable[DeviceSettings]) -> None:
        self.adopt(devices)

    def adopt(self, devices: Iterable[DeviceSettings]) -> None:
        """From now on these are the devices, for every check that begins."""
        self.devices: Mapping[str, DeviceSettings] = {device.name: device for device in devices}
        writable = ((name, tag) for name, device in self.devices.items() for tag in device.tags if tag.writable)
        self._writable = {(name, tag.name): tag for name, tag in writable}  # of thousands of tags, a few

    def is_derived(self, device: str, tag: str) -> bool:
        """Whether the tag is calculated from others of ``device``, which there is."""
        return any(one.name == tag for one in self.devices[device].derived)

    def tag(self, device: str, tag: str) -> TagSettings | None:
        """The settings of a tag; ``None`` when there is none of that name."""
        found = self._writable.get((device, tag))
        if found is None and device in self.devices:
            found = next((one for one in self.devices[device].tags if one.name == tag), None)
        return found

    def named(self, device: str, command: str) -> NamedCommandSettings | None:
        """The settings of a named command; ``None`` when there is none of that name."""
        settings = self.devices.get(device)
        return None if settings is None else settings.commands.get(command)

    def allows_plain(self, device: str) -> bool:
        """Whether the device takes Sparkplug commands without envelope."""
        settings = self.devices.get(device)
        return settings is not None and settings.plain_commands == "allow"

    def problem(self, action: DeviceAction) -> Refused | None:
        """Why there is nothing that the action could act on, or why it may not."""
        if action.device not in self.devices:
            return Refused(Refusal.UNKNOWN_TARGET, f"there is no device {action.device!r}")
        if not isinstance(action, WriteTag):
            if self.named(action.device, action.command) is None:
                said = f"the device {action.device!r} has no command {action.command!r}"
                return Refused(Refusal.UNKNOWN_TARGET, said)
            return None
        tag = self.tag(action.device, action.tag)
        if tag is None:
            if self.is_derived(action.device, action.tag):
                said = f"{action.device}/{action.tag} is calculated from other tags: write those"
                return Refused(Refusal.NOT_WRITABLE, said)
            return Refused(Refusal.UNKNOWN_TARGET, f"the device {action.device!r} has no tag {action.tag!r}")
        if tag.safety:
            return Refused(Refusal.NOT_WRITABLE, f"{action.device}/{action.tag} is part of a safety function")
        if tag.writable is None:
            return Refused(Refusal.NOT_WRITABLE, f"{action.device}/{action.tag} has no 'writable' in the device file")
        return None

    def conditions(self, action: Action) -> Conditions:
        """What the device file asks for before the action; only for an action without ``problem``.

        A named command needs what any tag needs that it writes; the interlocks of those are looked at step by step.
        """
        if isinstance(action, AgentAction):
            return Conditions("", 0.0, RESTART_S if isinstance(action, Restart) else AGENT_INTERVAL_S, False, None)
        if isinstance(action, WriteTag):
            one = self._writable[action.device, action.tag].writable or WritableSettings()
            return Conditions(one.interlock or "", one.interlock_age_s, one.interval_s, one.approve, one.arm_s)
        named = self.devices[action.device].commands[action.command]
        written = (self._writable.get((action.device, step.write or "")) for step in named.steps)
        tags = [tag.writable for tag in written if tag is not None and tag.writable is not None]
        arms_s = [arm_s for arm_s in (named.arm_s, *(tag.arm_s for tag in tags)) if arm_s is not None]
        return Conditions(
            named.interlock or "",
            named.interlock_age_s,
            max([named.interval_s, *(tag.interval_s for tag in tags)]),
            named.approve or any(tag.approve for tag in tags),
            min(arms_s, default=None),
        )

    def arguments_problem(self, device: str, command: str, arguments: Mapping[str, Value]) -> Refused | None:
        """What is wrong with the arguments of a named command."""
        wanted = self.devices[device].commands[command].arguments
        for name in wanted:
            if name not in arguments:
                return Refused(Refusal.WRONG_TYPE, f"the argument {name!r} is missing")
        for name, value in arguments.items():
            if name not in wanted:
                return Refused(Refusal.WRONG_TYPE, f"{device}/{command} has no argument {name!r}")
            if (problem := _argument_problem(name, value, wanted[name])) is not None:
                return problem
        return None

    def value_problem(self, device: str, tag: str, value: Value, datatype: DataType | None) -> Refused | None:
        """What is wrong with a value for a writable tag; ``datatype`` is what the device says, if it is known."""
        settings = self._writable[device, tag]
        place, writable = f"{device}/{tag}", settings.writable or WritableSettings()
        if datatype is not None and (problem := type_problem(value, datatype)):
            return Refused(Refusal.WRONG_TYPE, f"{place} is a {datatype.label}: {problem}")
        if writable.pulse is not None and value != writable.pulse.value:
            said = f"{place} takes pulses of {writable.pulse.value!r} only, and not {value!r}"
            return Refused(Refusal.OUT_OF_LIMITS, said)
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            beyond = _beyond(value, writable.limits)
            return None if beyond is None else Refused(Refusal.OUT_OF_LIMITS, f"{place}: {beyond}")
        if not math.isfinite(value):
            return Refused(Refusal.OUT_OF_LIMITS, f"{value} is no value that can be written")
        if writable.limits is None:
            return Refused(Refusal.NOT_WRITABLE, f"{place} is a number, and the device file names no limits for it")
        low, high = writable.limits
        if not low <= value <= high:
            said = f"{place} takes {low:g} to {high:g}{settings.unit and ' ' + settings.unit}, and not {value:g}"
            return Refused(Refusal.OUT_OF_LIMITS, said)
        return None

    def is_held(self, device: str, tag: str, wanted: Value, seen: Value | None, datatype: DataType | None) -> bool:
        """Whether what was read back is what was written, within the tolerance of the device file."""
        if seen is None or isinstance(seen, bool) is not isinstance(wanted, bool):
            return False
        settings = self._writable[device, tag]
        tolerance = settings.writable.readback if settings.writable is not None else 0.0
        if isinstance(wanted, str) and isinstance(seen, str):
            first, second = read_json(wanted), read_json(seen)
            is_known = first is not NOTHING and second is not NOTHING
            return wanted == seen or (is_known and not any(differences(first, second, tolerance)))
        if isinstance(wanted, bool | str) or isinstance(seen, str):
            return wanted == seen
        if settings.is_scaled:
            tolerance = max(tolerance, abs(settings.scale) * HALF_STEP)  # a raw value is a whole number of steps
        if datatype is DataType.FLOAT or (settings.is_scaled and not math.isinf(wanted)):
            tolerance = max(tolerance, abs(wanted) * FLOAT32_PART)
        tolerance = max(tolerance, settings.rounding_of(wanted))
        return abs(wanted - seen) <= tolerance


def _beyond(text: str, limits: tuple[float, float] | None) -> str | None:
    """Which number of an array in JSON is outside of ``limits``, which texts that are no arrays do not have."""
    elements = read_json(text)  # of what is none the driver says what it has to be
    if limits is None or not isinstance(elements, list):
        return None
    low, high = limits
    for number, element in enumerate(elements):
        if _is_number(element) and not low <= element <= high:
            return f"element {number} takes {low:g} to {high:g}, and not {element:g}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def type_problem(value: Value, datatype: DataType) -> str:
    """Why ``value`` cannot be written to a tag of that type; empty when it can. Nothing is converted."""
    family = family_of(datatype)
    if family is ValueFamily.BOOL:
        return "" if isinstance(value, bool) else f"{value!r} is neither true nor false"
    if family is ValueFamily.TEXT:
        return "" if isinstance(value, str) else f"{value!r} is no text"
    if family is ValueFamily.FLOAT:
        if isinstance(value, bool | str):
            return f"{value!r} is no number"
        if datatype is DataType.FLOAT and abs(value) > float(np.finfo(np.float32).max):
            return f"{value!r} does not fit into 32 bits"
        return ""
    if family is ValueFamily.BYTES or datatype is DataType.DATETIME:
        return "values of this type are not written"
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{value!r} is no whole number"
    bounds = np.iinfo(dtype_of(datatype))
    return "" if int(bounds.min) <= value <= int(bounds.max) else f"{value} does not fit into it"


def value_of_text(text: str, datatype: DataType) -> Value:
    """What somebody has typed, by the type that it is for. Raises ``ValueError`` with a sentence."""
    family = family_of(datatype)
    if family is ValueFamily.TEXT:
        return text
    if family is ValueFamily.BOOL:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    try:
        return float(text) if family is ValueFamily.FLOAT else int(text)
    except ValueError as exc:
        kind = "number" if family is ValueFamily.FLOAT else "whole number"
        raise ValueError(f"{text!r} is no {kind}, and the tag is a {datatype.label}") from exc


ARGUMENT_TYPES: Final = {
    "bool": DataType.BOOLEAN, "int": DataType.INT64, "float": DataType.DOUBLE, "text": DataType.STRING,
}  # fmt: skip


def _argument_problem(name: str, value: Value, wanted: ArgumentSettings) -> Refused | None:
    types: dict[str, Sequence[type]] = {"bool": (bool,), "int": (int,), "float": (int, float), "text": (str,)}
    is_bool = isinstance(value, bool)
    if not isinstance(value, tuple(types[wanted.type])) or is_bool is not (wanted.type == "bool"):
        return Refused(Refusal.WRONG_TYPE, f"the argument {name!r} is a {wanted.type}, and not {value!r}")
    if isinstance(value, str) or is_bool or wanted.minimum is None or wanted.maximum is None:
        return None
    if not wanted.minimum <= value <= wanted.maximum:
        said = f"the argument {name!r} takes {wanted.minimum:g} to {wanted.maximum:g}, and not {value:g}"
        return Refused(Refusal.OUT_OF_LIMITS, said)
    return None
