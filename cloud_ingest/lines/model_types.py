"""How quantities, times and names are written in the model of a plant."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer

from connectors.ports.settings import Settings, parse_duration

CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
TAG_PATTERN: Final = r"^[^/]+/[^/]+/[^/]*/.+$"
TAG_CHARS_MAX: Final = 1100
NUMBER_MAX: Final = Decimal(10) ** 18


_BITS: Final = {"16bit": Decimal(1 << 16), "32bit": Decimal(1 << 32)}


def exact_number(value: Any) -> Decimal:
    """A number without the error of a binary fraction. Raises ``ValueError`` when it is none, or too long."""
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value) if type(value) is not bool else None
    except (InvalidOperation, TypeError, ValueError):
        number = None
    if number is None or not number.is_finite() or abs(number) > NUMBER_MAX or number.as_tuple().exponent < -9:  # type: ignore[operator]
        raise ValueError("it is not a number; write one such as 5 or 0.25, with at most nine places")
    return number


def _modulus(value: Any) -> Decimal:
    try:
        return _BITS[value] if isinstance(value, str) and value in _BITS else exact_number(value)
    except ValueError:
        raise ValueError("it is not a range; write 16bit, 32bit, or a number such as 10000") from None


def _written_duration(duration_s: float) -> str:
    text = f"{duration_s:.3f}".rstrip("0").rstrip(".")
    return f"{text}s"


def _local_time(value: Any) -> time:
    if isinstance(value, time):
        return value
    if isinstance(value, str) and len(value) == 5:
        try:
            return time.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("it is not a time of the day; write hours and minutes, such as 06:00")


def _day(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("it is not a day; write it as 2026-12-24") from None


def _zone(value: Any) -> str:
    try:
        ZoneInfo(value)
    except Exception:  # the library raises what its files raise
        raise ValueError(f"{value!r} is no time zone; write one such as Europe/Berlin") from None
    return str(value)


Number = Annotated[
    Decimal,
    BeforeValidator(exact_number, json_schema_input_type=float | str),
    PlainSerializer(lambda number: f"{number:f}", return_type=str),
]
Modulus = Annotated[
    Decimal,
    BeforeValidator(_modulus, json_schema_input_type=float | str),
    PlainSerializer(lambda number: f"{number:f}", return_type=str),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    PlainSerializer(_written_duration, return_type=str),
]
LocalTime = Annotated[
    time,
    BeforeValidator(_local_time, json_schema_input_type=str),
    PlainSerializer(lambda at: f"{at:%H:%M}", return_type=str),
]
Day = Annotated[
    date,
    BeforeValidator(_day, json_schema_input_type=str),
    PlainSerializer(lambda day: day.isoformat(), return_type=str),
]
TimeZone = Annotated[
    str,
    BeforeValidator(_zone, json_schema_input_type=str),
    Field(description="IANA name", examples=["Europe/Berlin"], max_length=64),
]
Code = Annotated[str, Field(pattern=CODE_PATTERN, description="Small letters, digits and '-', such as line-1")]
Name = Annotated[str, Field(max_length=200, description="For people")]
TagPath = Annotated[
    str,
    Field(
        pattern=TAG_PATTERN,
        max_length=TAG_CHARS_MAX,
        description="group/name/device/tag of an agent",
        examples=["plant-7/line-3/press/state"],
    ),
]


class Part(Settings):
    """A part of a plant, taken as it is written in YAML or JSON."""

    model_config = ConfigDict(defer_build=False, serialize_by_alias=True)


def written(model: Part) -> dict[str, Any]:
    """``model`` as JSON, without what nobody has said."""
    return model.model_dump(mode="json", exclude_unset=True)
