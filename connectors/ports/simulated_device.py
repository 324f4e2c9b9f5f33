"""A device of a device file, played: its tags, at their addresses, with values that move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from connectors.model.datatypes import DataType, ValueFamily, family_of

PERIOD_S: Final = 60.0
GREATEST: Final = 100


class SimulatedDevice(Protocol):
    """Served while its context is entered. ``left_out``: tags that are not played, by name, and why."""

    endpoint: str
    left_out: Mapping[str, str]

    async def step(self, at_s: float) -> None:
        """Give each tag its value of the time ``at_s``; those that can be written keep what they have."""
        ...


def wave(number: int, datatype: DataType, at_s: float) -> Any:
    """The value of tag ``number`` at a time: from 0 to ``GREATEST`` and back in ``PERIOD_S``, each at its own.

    Conditions turn with them, texts count.
    """
    part = 0.5 - 0.5 * math.cos(2 * math.pi * (at_s / PERIOD_S + number * 0.137))
    match family_of(datatype):
        case ValueFamily.FLOAT:
            return round(GREATEST * part, 3)
        case ValueFamily.BOOL:
            return part > 0.5
        case ValueFamily.TEXT:
            return f"simulated {round(9 * part)}"
        case _:
            return round(GREATEST * part)
