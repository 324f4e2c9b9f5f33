"""Samples of ``lineside.samples.v1`` (historian/samples.proto), of the tags alone that somebody asks for.

Most records are of devices without such a tag: of these, agent and device are read and nothing else. Of the others the
columns are read with NumPy straight from the bytes, and only the samples of wanted tags become objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import ValueFamily, family_of
from connectors.model.errors import PayloadInvalid
from connectors.model.quality import is_bad

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERS: Final[Mapping[int, str]] = {7: "<f8", 8: "<i8", 9: "<u8", 10: "u1"}
_TEXTS: Final = 11
PLACES: Final = Decimal("0.000000001")
NUMBER_MAX: Final = Decimal(10) ** 18


@dataclass(frozen=True, slots=True)
class TagSample:
    """A sample of one tag. A truth value is the number 0 or 1; what is bad, missing or no value has neither."""

    tag: str
    time_ns: int
    number: Decimal | None
    text: str | None
    is_bad: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Who has sent a batch: agent (group/name) and device, empty for the agent itself."""

    agent: str
    device: str


def source_of(record: bytes) -> tuple[Source, list[memoryview]]:
    """Of whom ``record`` is, and its columns as they are. Raises ``PayloadInvalid``."""
    group = name = device = ""
    columns: list[memoryview] = []
    for number, value in _fields(memoryview(record)):
        if number == 6 and isinstance(value, memoryview):
            columns.append(value)
        elif number in (1, 2, 3) and isinstance(value, memoryview):
            text = bytes(value).decode("utf-8", "replace")
            if number == 1:
                group = text
            elif number == 2:
                name = text
            else:
                device = text
    return Source(f"{group}/{name}", device), columns


def samples_of(column: memoryview, wanted: Mapping[str, Any]) -> Iterator[TagSample]:
    """The samples of ``column`` whose tag is in ``wanted``, in their order. Raises ``PayloadInvalid``."""
    fields: dict[int, memoryview | int] = {}
    names: list[str] = []
    texts: list[memoryview] = []
    for place, value in _fields(column):
        if place == 3 and isinstance(value, memoryview):
            names.append(bytes(value).decode("utf-8", "replace"))
        elif place == _TEXTS and isinstance(value, memoryview):
            texts.append(value)
        else:
            fields[place] = value
    asked = [at for at, name in enumerate(names) if name in wanted]
    if not asked:
        return
    tag, time_ns = _array(fields, 2, "<u4"), _array(fields, 4, "<i8")
    quality, missing = _array(fields, 5, "<u4"), _array(fields, 6, "u1")
    family = family_of(int(fields.get(1, 0)))  # type: ignore[arg-type]
    values = next((_array(fields, number, dtype) for number, dtype in _NUMBERS.items() if number in fields), None)
    if len(tag) != len(time_ns) or (values is not None and len(values) != len(tag)):
        raise PayloadInvalid("columns of different lengths")
    for at in np.flatnonzero(np.isin(tag, asked)).tolist():
        bad = bool(len(missing) and missing[at]) or bool(len(quality) and is_bad(int(quality[at])))
        exact = None if bad or values is None else _exact(values[at].item())
        text = None
        if not bad and family is ValueFamily.TEXT and at < len(texts):
            text = bytes(texts[at]).decode("utf-8", "replace")[:1000]
        yield TagSample(names[int(tag[at])], int(time_ns[at]), exact, text, bad or (exact is None and text is None))


def _exact(value: float) -> Decimal | None:
    """The number as people write it; ``None`` for what is no number, or out of all bounds."""
    number = Decimal(repr(value)) if type(value) is float else Decimal(int(value))
    if not number.is_finite() or abs(number) > NUMBER_MAX:
        return None
    return number if number == number.to_integral_value() else number.quantize(PLACES).normalize()


def _array(fields: Mapping[int, memoryview | int], number: int, dtype: str) -> NDArray[Any]:
    value = fields.get(number, memoryview(b""))
    if not isinstance(value, memoryview) or len(value) % np.dtype(dtype).itemsize:
        raise PayloadInvalid(f"field {number} of a column is not packed as it should be")
    return np.frombuffer(value, dtype)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of a protobuf message: numbers, or bytes where they have a length."""
    at, end = 0, len(data)
    while at < end:
        key, at = _read_varint(data, at)
        match key & 7:
            case 0:
                value, at = _read_varint(data, at)
                yield key >> 3, value
            case 2:
                length, at = _read_varint(data, at)
                if at + length > end:
                    raise PayloadInvalid("a field is longer than its message")
                yield key >> 3, data[at : at + length]
                at += length
            case 1 | 5 as width:
                at += 8 if width == _FIXED64 else 4
            case other:
                raise PayloadInvalid(f"wire type {other} is none that is used here")


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise PayloadInvalid("a number ends before its end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
