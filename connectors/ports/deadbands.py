"""How much a value has to move before it is reported, as a device file writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.ports.setting_model import SettingInvalid


@dataclass(frozen=True, slots=True)
class Deadband:
    """How far a value has to move from the last reported one.

    ``absolute`` units, ``percent`` of that value, or ``percent_of_range``: of what the device says is its range.
    """

    absolute: float = 0.0
    percent: float = 0.0
    percent_of_range: float = 0.0


def parse_deadband(value: Any) -> Deadband:
    """A deadband from ``0.5`` (units of the value), ``1%`` (of the last reported value) or ``1% of range``."""
    if isinstance(value, Deadband):
        return value
    text, of_range, rest = str(value).strip().partition("% of range")
    if of_range and not rest:
        percent = parse_deadband(f"{text}%").percent
        if percent > 100:
            raise ValueError(f"{value!r} is more than the whole range")
        return Deadband(percent_of_range=percent)
    text = str(value).strip()
    number = text.removesuffix("%").strip()
    try:
        size = float(number)
    except ValueError:
        size = -1.0
    if isinstance(value, bool) or not 0 <= size < float("inf"):
        raise ValueError(
            f"{value!r} is not a deadband; write a number such as 0.5, without its unit, or a percentage such as 1%"
        )
    return Deadband(percent=size) if text.endswith("%") else Deadband(absolute=size)


def refuse_range(deadband: Deadband | None) -> None:
    """Raises ``SettingInvalid`` where nobody says the range that a deadband is to be a part of."""
    if deadband is not None and deadband.percent_of_range:
        raise SettingInvalid(
            "nobody says here which range the value has.",
            "Write it in units of the value, such as 0.5, or as a part of the last one, such as 1%.",
            ("deadband",),
        )
