"""Values to registers: what ``decode`` does, the other way round, for one tag."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from connectors.configuration.setting_names import listed
from connectors.modbus.orders import BYTES_SWAPPED, arranged, swapped
from connectors.modbus.plan import PlannedTag
from connectors.model.datatypes import DataType
from connectors.model.raw_values import raw_number
from connectors.ports.device import Value

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


def encoded_bit(tag: PlannedTag, value: Value) -> bool:
    """What a coil, or a bit of a register, is to be. Raises ``ValueError`` when ``value`` is not true or false."""
    if tag.texts is not None:
        return bool(_number_of_text(tag, tag.texts, value))
    if not isinstance(value, bool):
        raise ValueError(f"{tag.place}: {value!r} is not true or false, and the type is Boolean")
    return value


def register_bit(tag: PlannedTag) -> int:
    """Which bit of the register as it is sent belongs to ``tag``; 0 is the lowest."""
    number = tag.bit or 0
    return number ^ 8 if tag.order in BYTES_SWAPPED else number


def encoded_registers(tag: PlannedTag, value: Value) -> list[int]:
    """The registers of a number or a text, as they are sent. Raises ``ValueError`` with a sentence."""
    if tag.datatype is DataType.STRING:
        words = list(struct.unpack(f">{tag.count}H", _text(tag, value)))
        return swapped(words) if tag.order in BYTES_SWAPPED else words
    number = value if tag.texts is None else _number_of_text(tag, tag.texts, value)
    return arranged(list(struct.unpack(f">{tag.count}H", _number(tag, number))), tag.order)


def _number_of_text(tag: PlannedTag, texts: Mapping[int, str], value: Value) -> int:
    for number, text in texts.items():
        if text == value:
            return number
    known = listed([repr(text) for text in texts.values()])
    raise ValueError(f"{tag.place}: {value!r} is none of its texts; write {known}")


def _text(tag: PlannedTag, value: Value) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{tag.place}: {value!r} is not a text, and the type is String")
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError as exc:
        strange = value[exc.start]
        raise ValueError(
            f"{tag.place}: {strange!r} is no character of Latin-1, and its bytes are such characters"
        ) from exc
    if b"\0" in data:
        raise ValueError(f"{tag.place}: the text holds the character NUL, which would end it")
    if len(data) > tag.length_bytes:
        raise ValueError(f"{tag.place}: the text has {len(data)} characters, and the tag {tag.length_bytes} bytes")
    return data.ljust(2 * tag.count, b"\0")


def _number(tag: PlannedTag, value: Value) -> bytes:
    try:
        raw = raw_number(value, tag.datatype, scale=tag.scale, offset=tag.scaling_offset)
    except ValueError as exc:
        raise ValueError(f"{tag.place}: {exc}") from exc
    if tag.encoding == "bcd":
        raw = _in_digits(tag, int(raw))
    try:
        return struct.pack(">e" if tag.encoding == "half" else _FORMATS[tag.datatype], raw)
    except OverflowError as exc:
        raise ValueError(f"{tag.place}: {value!r} does not fit a float of 16 bits") from exc


def _in_digits(tag: PlannedTag, number: int) -> int:
    digits = 4 * tag.count
    if number >= 10**digits:
        raise ValueError(f"{tag.place}: {number} has more than {digits} decimal digits")
    return int(str(number), 16)
