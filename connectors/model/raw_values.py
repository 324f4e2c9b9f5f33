"""From what a person or the cloud writes to the number that a device takes: scale and offset undone, and checked.

Exact: it is computed in fractions of the decimal numbers that were written, so that the nearest whole number is the
nearest one, however large it is.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Final

import numpy as np

from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.scaling import ratio_of

_FLOAT_FORMATS: Final = {DataType.FLOAT: "<f", DataType.DOUBLE: "<d"}


def raw_number(
    value: bool | int | float | str, datatype: DataType, *, scale: float = 1.0, offset: float = 0.0
) -> int | float:
    """The ``raw`` of ``datatype`` for which ``raw * scale + offset`` is ``value``: of whole numbers the nearest one.

    Raises ``ValueError`` with a sentence when ``value`` is no number, or has no end, or the result does not fit the
    type; where nothing is scaled also for a fraction that is to be a whole number.
    """
    if isinstance(value, bool | str):
        raise ValueError(f"{value!r} is not a number, and the type is {datatype.label}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number that a device can be given")
    is_scaled = scale != 1.0 or offset != 0.0
    raw = ratio_of(scale, offset).raw_of(value) if is_scaled else Fraction(value)
    if family_of(datatype) is ValueFamily.FLOAT:
        return _real(value, raw if is_scaled else value, datatype)
    if not is_scaled and raw.denominator != 1:
        raise ValueError(f"{value!r} is not a whole number, and the type is {datatype.label}")
    whole, limits = round(raw), np.iinfo(dtype_of(datatype))
    if not limits.min <= whole <= limits.max:
        without = f" is {_shown(whole)} without scale and offset, which" if is_scaled else ""
        raise ValueError(f"{_shown(value)}{without} does not fit {datatype.label} ({limits.min} to {limits.max})")
    return whole


def _real(value: int | float, raw: Fraction | int | float, datatype: DataType) -> float:
    try:  # an unscaled value goes as it is: a fraction has no negative zero
        real = float(raw)
        struct.pack(_FLOAT_FORMATS[datatype], real)
    except OverflowError as exc:
        raise ValueError(f"{_shown(value)} does not fit {datatype.label}") from exc
    return real


def _shown(number: int | float) -> str:
    if isinstance(number, float) or abs(number) < 1 << 64:
        return repr(number)
    return f"a number of {len(str(abs(number)))} digits"
