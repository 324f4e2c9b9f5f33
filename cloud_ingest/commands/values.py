"""Whether a value fits the tag that it is to be written to: its Sparkplug type, and the limits of its device file.

Pure. What the agent finds counts: it has the file, and judges again before it writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from connectors.commands.envelope import Value
from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.sparkplug.definition import LIMIT_PROPERTIES

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


def fitted(value: Value, type_number: int) -> Value:
    """``value`` as a tag of this type has it: a whole number becomes a float for one of those, nothing else changes.

    Raises ``ValueError`` with what is wrong.
    """
    try:
        datatype = DataType(type_number)
    except ValueError:
        raise ValueError("values of its type cannot be commanded") from None
    match family_of(datatype):
        case ValueFamily.BOOL if isinstance(value, bool):
            return value
        case ValueFamily.TEXT if isinstance(value, str):
            return value
        case ValueFamily.FLOAT if isinstance(value, int | float) and not isinstance(value, bool):
            return _float(value, datatype)
        case ValueFamily.INT | ValueFamily.UINT if isinstance(value, int) and not isinstance(value, bool):
            limits = np.iinfo(dtype_of(datatype))
            if not limits.min <= value <= limits.max:
                raise ValueError(f"{value} does not fit: {datatype.label} is from {limits.min} to {limits.max}")
            return value
        case ValueFamily.BYTES:
            raise ValueError("values of its type (Bytes) cannot be commanded")
    raise ValueError(f"{value!r} is no {datatype.label}")


LIMITS: Final = "tag.unit, CASE WHEN acknowledges THEN tag.properties ELSE '' END AS properties"
"""What ``beyond`` asks of a tag and its agent. A node of another maker means a range by it, and no limits."""


def beyond(value: Value, tag: Mapping[str, Any]) -> str:
    """What is wrong with ``value`` by the limits that the agent has told of ``tag``; empty when nothing is.

    ``tag``: a row with ``LIMITS``.
    """
    if isinstance(value, bool | str) or not tag["properties"]:
        return ""
    told = json.loads(tag["properties"])
    low, high = (told.get(key) for key in LIMIT_PROPERTIES)
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low <= value <= high:
        return ""
    unit = f" {tag['unit']}" if tag["unit"] else ""
    return f"its device file allows {low:g} to {high:g}{unit}, and not {value:g}"


def _float(value: float, datatype: DataType) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (datatype is DataType.FLOAT and abs(number) > _FLOAT32_MAX):
        raise ValueError(f"{str(value)[:40]} does not fit a {datatype.label}")
    return number
