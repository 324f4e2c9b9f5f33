"""Single values to and from Variants, as writes, reads and method calls need them: types are told, never guessed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from asyncua import ua

from connectors.model.datatypes import DataType
from connectors.model.raw_values import raw_number
from connectors.model.scaling import ratio_of
from connectors.model.texts import storable
from connectors.opcua.wire_types import TICKS_FROM_EPOCH_MAX, WIRE_TYPES, plain_value
from connectors.ports.device import Value

NUMBERS: Final = frozenset(range(2, 12))
"""SByte to Double (Part 6, 5.1.2)."""
MS_FROM_EPOCH_MAX: Final = TICKS_FROM_EPOCH_MAX // 10_000

_YEAR_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)


def variant_of(value: Value, built_in: int | None, *, scale: float = 1.0, offset: float = 0.0) -> ua.Variant:
    """``value`` as the built-in type (``None``: an array), scale and offset undone.

    Raises ``ValueError`` with a sentence when it does not fit, or such a type cannot be written.
    """
    if built_in is None:
        raise ValueError("an array cannot be written, only a single value")
    if built_in in NUMBERS:
        raw = raw_number(value, WIRE_TYPES[built_in].datatype, scale=scale, offset=offset)
        return ua.Variant(raw, ua.VariantType(built_in))
    make = _MAKERS.get(built_in)
    if make is None:
        raise ValueError(f"values of type {ua.VariantType(built_in).name} cannot be written")
    return ua.Variant(make(value), ua.VariantType(built_in))


def value_of(variant: ua.Variant, datatype: DataType, *, scale: float = 1.0, offset: float = 0.0) -> Value:
    """The value of ``variant``, which has one, as ``datatype``, scaled: what its samples would have.

    Raises ``ValueError`` or ``TypeError`` when it cannot be one without changing its meaning.
    """
    return shown_plain(plain_value(variant, datatype), datatype, scale=scale, offset=offset)


def shown_plain(plain: Any, datatype: DataType, *, scale: float = 1.0, offset: float = 0.0) -> Value:
    """``plain``, a value as ``datatype``, scaled: what its samples would have."""
    if isinstance(plain, bytes):
        return base64.b64encode(plain).decode()
    if (scale != 1.0 or offset != 0.0) and isinstance(plain, int | float) and datatype is not DataType.DATETIME:
        return ratio_of(scale, offset).scaled(plain)
    return plain  # type: ignore[no-any-return]


def shown_value(variant: ua.Variant) -> Value:
    """What a method has returned, whatever it is: an array is JSON, nothing an empty text."""
    wire = WIRE_TYPES.get(int(variant.VariantType.value))
    if variant.Value is None:
        return ""
    try:
        if wire is not None:
            return value_of(variant, DataType.STRING if variant.is_array else wire.datatype)
    except (TypeError, ValueError):
        pass
    return storable(str(variant.Value))


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false, and the type is Boolean")
    return value


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text, and the type is String")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"the text cannot be written in UTF-8 ({exc.reason})") from exc
    return value


def _time(value: Value) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a time in whole milliseconds since 1970, and the type is DateTime")
    if abs(value) > MS_FROM_EPOCH_MAX:  # further from now a reading could not say it
        raise ValueError(f"{value!r} milliseconds since 1970 are not between the years 1677 and 2262")
    return _YEAR_1970 + timedelta(milliseconds=value)


def _guid(value: Value) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError as exc:
        raise ValueError(f"{value!r} is not a GUID such as 09087e75-8e5e-499b-954f-f2a9603db28a") from exc


def _bytes(value: Value) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError(f"{value!r} is not base64, in which bytes are written") from exc


_MAKERS: Final[dict[int, Callable[[Value], Any]]] = {
    1: _truth,
    12: _text,
    13: _time,
    14: _guid,
    15: _bytes,
    21: lambda value: ua.LocalizedText(Text=_text(value)),
}
