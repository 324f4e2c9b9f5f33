"""The model that all settings derive from, and how quantities are written in a file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

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

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False, defer_build=True
    )


class SettingInvalid(ValueError):
    """A setting that does not fit another one: a sentence, what to do, and where below the model it is.

    ``others`` are further ones of the same model, which can raise only one.
    """

    def __init__(
        self,
        message: str,
        suggestion: str,
        path: tuple[str | int, ...] = (),
        others: tuple[SettingInvalid, ...] = (),
    ) -> None:
        super().__init__(f"{message} {suggestion}")
        self.message, self.suggestion, self.path, self.others = message, suggestion, path, others


def refuse_all(found: Sequence[SettingInvalid]) -> None:
    """Raise all of ``found`` as one ``SettingInvalid``, where there is any."""
    if found:
        first, *others = found
        raise SettingInvalid(first.message, first.suggestion, first.path, tuple(others))


class HasNoEffect(SettingInvalid):
    """A setting that would do nothing where it stands: a mistake, unless it is a default that is meant for others."""
