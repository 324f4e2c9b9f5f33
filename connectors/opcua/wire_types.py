"""Built-in types of OPC UA (Part 6, 5.1.2), what they look like on the wire, and the data type each becomes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
from asyncua import ua

from connectors.model.datatypes import DataType
from connectors.model.texts import storable

BOOLEAN: Final = 1
DOUBLE: Final = 11
STRING: Final = 12
DATETIME: Final = 13

EPOCH_TICKS: Final = 116_444_736_000_000_000
"""1970-01-01 in ticks of 100 ns since 1601-01-01, the zero of an OPC UA DateTime (Part 6, 5.2.2.5)."""
TICKS_FROM_EPOCH_MAX: Final = ((1 << 63) - 1) // 100


@dataclass(frozen=True, slots=True)
class WireType:
    """A built-in type: its data type here, and its fixed dtype on the wire (``None``: variable length)."""

    datatype: DataType
    dtype: np.dtype[Any] | None


WIRE_TYPES: Final = {
    1: WireType(DataType.BOOLEAN, np.dtype("u1")),
    2: WireType(DataType.INT8, np.dtype("i1")),
    3: WireType(DataType.UINT8, np.dtype("u1")),
    4: WireType(DataType.INT16, np.dtype("<i2")),
    5: WireType(DataType.UINT16, np.dtype("<u2")),
    6: WireType(DataType.INT32, np.dtype("<i4")),
    7: WireType(DataType.UINT32, np.dtype("<u4")),
    8: WireType(DataType.INT64, np.dtype("<i8")),
    9: WireType(DataType.UINT64, np.dtype("<u8")),
    10: WireType(DataType.FLOAT, np.dtype("<f4")),
    11: WireType(DataType.DOUBLE, np.dtype("<f8")),
    12: WireType(DataType.STRING, None),
    13: WireType(DataType.DATETIME, np.dtype("<i8")),
    14: WireType(DataType.UUID, None),
    15: WireType(DataType.BYTES, None),
    16: WireType(DataType.STRING, None),
    17: WireType(DataType.STRING, None),
    19: WireType(DataType.UINT32, np.dtype("<u4")),
    20: WireType(DataType.STRING, None),
    21: WireType(DataType.STRING, None),
}

BUILT_IN: Final = {wire.datatype: number for number, wire in reversed(WIRE_TYPES.items())} | {DataType.TEXT: 12}
"""The built-in type that a data type has where only a device file says it."""

ABSTRACT_AND_DERIVED: Final = {
    26: 11,  # Number
    27: 8,  # Integer
    28: 9,  # UInteger
    29: 6,  # Enumeration
    288: 7,  # IntegerId
    289: 7,  # Counter
    290: 11,  # Duration
    291: 12,  # NumericRange
    292: 12,  # Time
    293: 13,  # Date
    294: 13,  # UtcTime
    295: 12,  # LocaleId
    852: 6,  # ServerState
    11737: 11,  # BitFieldMaskDataType is a UInt64; servers that declare it without a value are read as numbers
    12877: 12,  # NormalizedString
    12878: 12,  # DecimalString
    12879: 12,  # DurationString
    12880: 12,  # TimeString
    12881: 12,  # DateString
}
"""Well-known data types of namespace 0 that are not built-in themselves, by the built-in type that carries them."""


def declared_type(node: Any) -> int | None:
    """The built-in type behind the data type ``node``, or ``None`` when it is none that is well known."""
    if not isinstance(node, ua.NodeId) or node.NamespaceIndex != 0 or not isinstance(node.Identifier, int):
        return None
    number = ABSTRACT_AND_DERIVED.get(node.Identifier, node.Identifier)
    return number if number in WIRE_TYPES else None


def ticks_to_ns(
    ticks: np.ndarray[Any, np.dtype[np.int64]], first: int | None = None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """OPC UA ticks to nanoseconds since 1970, held at the ends of what int64 can say (years 1677 and 2262).

    ``first`` is the smallest of them, where that is known.
    """
    if not len(ticks):
        return ticks
    low = (int(ticks.min()) if first is None else first) - EPOCH_TICKS
    high = int(ticks.max()) - EPOCH_TICKS
    since_1970 = ticks - np.int64(EPOCH_TICKS)
    if low < -TICKS_FROM_EPOCH_MAX or high > TICKS_FROM_EPOCH_MAX:
        since_1970 = np.clip(since_1970, -TICKS_FROM_EPOCH_MAX, TICKS_FROM_EPOCH_MAX)
    return since_1970 * 100


def one_tick_to_ns(ticks: int) -> int:
    """``ticks_to_ns`` for a single time."""
    return max(-TICKS_FROM_EPOCH_MAX, min(TICKS_FROM_EPOCH_MAX, ticks - EPOCH_TICKS)) * 100


def one_to_ns(when: datetime) -> int:
    """A time as asyncua gives it (naive means UTC) to nanoseconds since 1970, exactly."""
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    delta = when - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    limit = TICKS_FROM_EPOCH_MAX // 10
    return max(-limit, min(limit, microseconds)) * 1000


def plain_value(variant: ua.Variant, datatype: DataType) -> Any:
    """The value of ``variant`` as ``datatype``; see ``plain``."""
    return plain(variant.Value, datatype)


def json_text(value: Any) -> str:
    """``value`` as JSON. Raises ``TypeError`` when it cannot be."""
    return storable(json.dumps(value, default=_json_value, ensure_ascii=False, allow_nan=False))


def plain(value: Any, datatype: DataType) -> Any:
    """``value``, as a Variant has it, as ``datatype``; arrays become JSON text when that is String.

    Raises ``ValueError`` or ``TypeError`` when it cannot be one without changing its meaning.
    """
    if isinstance(value, list):
        if datatype is not DataType.STRING:
            raise TypeError("the value is an array")
        return json_text(finite(value))
    if datatype is DataType.DATETIME:
        if not isinstance(value, datetime):
            raise TypeError(f"{type(value).__name__} is not a time")
        return one_to_ns(value) // 1_000_000
    if datatype is DataType.STRING:
        return _text(value)
    if datatype is DataType.UUID:
        if not isinstance(value, UUID):
            raise TypeError(f"{type(value).__name__} is not a Guid")
        return str(value)
    if datatype is DataType.BYTES:
        if not isinstance(value, bytes):
            raise TypeError(f"{type(value).__name__} is not a ByteString")
        return value
    if datatype is DataType.BOOLEAN:
        if not isinstance(value, bool):
            raise TypeError(f"{type(value).__name__} is not a Boolean")
        return value
    if isinstance(value, (str, bytes, datetime)) or value is None:
        raise TypeError(f"{type(value).__name__} is not a number")
    if datatype in (DataType.FLOAT, DataType.DOUBLE):
        return _as_float(value, datatype)
    number = int(value.value) if isinstance(value, ua.StatusCode) else int(value)
    info = np.iinfo(WIRE_DTYPES[datatype])
    if (number != value and not isinstance(value, ua.StatusCode)) or not info.min <= number <= info.max:
        raise ValueError(f"{value} does not fit {datatype.label}")
    return number


WIRE_DTYPES: Final = {
    wire.datatype: wire.dtype for wire in reversed(list(WIRE_TYPES.values())) if wire.dtype is not None
}


def _as_float(value: Any, datatype: DataType) -> float:
    """``value`` as a number with a point. Raises ``ValueError`` where it has more digits than there is room for."""
    number = float(value)
    with np.errstate(over="ignore"):
        kept = float(np.float32(number)) if datatype is DataType.FLOAT else number
    if kept != value and value == value:
        raise ValueError(f"{value} does not fit {datatype.label}")
    return kept


def _text(value: Any) -> str:
    return storable(_decoded(value))  # asyncua keeps bytes that are no UTF-8, as halves of surrogate pairs


def _decoded(value: Any) -> str:
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, ua.QualifiedName):
        return f"{value.NamespaceIndex}:{value.Name}"
    if isinstance(value, ua.NodeId):
        return value.to_string()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (bool, int, float)) or value is None:
        raise TypeError(f"{type(value).__name__} is not a text")
    return str(value)


def finite(value: Any) -> Any:
    """``value`` with texts for numbers that JSON does not have (Part 6, 5.4.2.5)."""
    if isinstance(value, list):
        return [finite(each) for each in value]
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _text(value)
