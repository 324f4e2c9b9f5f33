"""Values to registers: what ``decode`` does, the other way round, for one tag.

Pure, and exact: scale and offset are undone in fractions, so that the nearest whole number is the nearest one.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Final

from connectors.modbus.decode import BYTES_SWAPPED, WORDS_SWAPPED
from connectors.modbus.plan import PlannedTag
from connectors.model.datatypes import DataType
from connectors.ports.device import Value

REGISTERS_PER_WRITE_MAX: Final = 123
"""Modbus Application Protocol 1.1b3, section 6.12."""

_FORMATS: Final = {
    DataType.INT16: ">h",
    DataType.UINT16: ">H",
    DataType.INT32: ">i",
    DataType.UINT32: ">I",
    DataType.INT64: ">q",
    DataType.UINT64: ">Q",
    DataType.FLOAT: ">f",
    DataType.DOUBLE: ">d",
}
_REAL: Final = frozenset({DataType.FLOAT, DataType.DOUBLE})


def encoded_bit(tag: PlannedTag, value: Value) -> bool:
    """What a coil, or a bit of a register, is to be. Raises ``ValueError`` when ``value`` is not true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} cannot be written to {tag.place}, which is a bit: write true or false")
    return value


def register_bit(tag: PlannedTag) -> int:
    """Which bit of the register as it is sent belongs to ``tag``; 0 is the lowest."""
    number = tag.bit or 0
    return number ^ 8 if tag.order in BYTES_SWAPPED else number


def encoded_registers(tag: PlannedTag, value: Value) -> list[int]:
    """The registers of a number or a text, as they are sent. Raises ``ValueError`` with a sentence."""
    if tag.count > REGISTERS_PER_WRITE_MAX:
        raise ValueError(
            f"{tag.place} takes {tag.count} registers, and one request can write {REGISTERS_PER_WRITE_MAX}; nothing "
            "else would change it at once"
        )
    data = _text(tag, value) if tag.datatype is DataType.STRING else _number(tag, value)
    words = list(struct.unpack(f">{tag.count}H", data))
    if tag.order in WORDS_SWAPPED and tag.datatype is not DataType.STRING:
        words.reverse()
    if tag.order in BYTES_SWAPPED:
        words = [word >> 8 | (word & 0xFF) << 8 for word in words]
    return words


def _text(tag: PlannedTag, value: Value) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} cannot be written to {tag.place}, which is a text")
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError as exc:
        strange = value[exc.start]
        raise ValueError(f"{strange!r} cannot be written to {tag.place}: its bytes are characters of Latin-1") from exc
    if b"\0" in data:
        raise ValueError(f"a text for {tag.place} cannot hold the character NUL, which ends it")
    if len(data) > tag.length_bytes:
        raise ValueError(
            f"a text of {len(data)} characters cannot be written to {tag.place}, which has {tag.length_bytes} bytes"
        )
    return data.ljust(2 * tag.count, b"\0")


def _number(tag: PlannedTag, value: Value) -> bytes:
    if isinstance(value, bool | str):
        raise ValueError(f"{value!r} cannot be written to {tag.place}, which is a {tag.reported.label}")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} cannot be written to {tag.place}: only a number that has an end can be")
    raw = Fraction(value)
    if tag.is_scaled:
        raw = (raw - Fraction(tag.scaling_offset)) / Fraction(tag.scale)
    try:
        return struct.pack(_FORMATS[tag.datatype], float(raw) if tag.datatype in _REAL else _whole(tag, value, raw))
    except (struct.error, OverflowError) as exc:
        scaled = f", which is {float(raw):g} without scale and offset," if tag.is_scaled and _is_float(raw) else ""
        raise ValueError(f"{value!r}{scaled} does not fit the {tag.datatype.label} at {tag.place}") from exc


def _whole(tag: PlannedTag, value: float, raw: Fraction) -> int:
    if not tag.is_scaled and raw.denominator != 1:
        raise ValueError(
            f"{value!r} cannot be written to {tag.place}, which is a {tag.datatype.label}: write a whole number"
        )
    return round(raw)


def _is_float(raw: Fraction) -> bool:
    try:
        float(raw)
    except OverflowError:
        return False
    return True
