"""What is written to registers is what reading makes of them: every type, every order, scaled or not."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from connectors.modbus.decode import DecodePlan
from connectors.modbus.encode import encoded_bit, encoded_registers, register_bit
from connectors.modbus.plan import PlannedTag, coalesce, planned_tags
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType, dtype_of

INTEGERS = [
    DataType.INT16,
    DataType.UINT16,
    DataType.INT32,
    DataType.UINT32,
    DataType.INT64,
    DataType.UINT64,
]
ORDERS = ["ABCD", "BADC", "CDAB", "DCBA"]


def planned(**tag: Any) -> PlannedTag:
    device = {
        "name": "d",
        "driver": "modbus",
        "endpoint": "tcp://plc",
        "tags": [{"name": "t", "at": "holding 7"} | tag],
    }
    return planned_tags(ModbusDevice.model_validate(device))[0]


def decoded(tag: PlannedTag, registers: list[int]) -> Any:
    """What the driver would report, having read these registers."""
    plan = DecodePlan(coalesce([tag], 8, 125))
    plan.area[:] = np.frombuffer(struct.pack(f">{len(registers)}H", *registers), np.uint8)
    ((_tag, _time, value, quality),) = (row for batch in plan.decode([0], [0]) for row in batch.rows())
    assert quality == 0
    return value


def limits(datatype: DataType) -> tuple[int, int]:
    info = np.iinfo(dtype_of(datatype))
    return int(info.min), int(info.max)


@given(st.data(), st.sampled_from(INTEGERS), st.sampled_from(ORDERS))
def test_a_whole_number_is_read_back_as_it_is(data: st.DataObject, datatype: DataType, order: str) -> None:
    tag = planned(type=datatype.label, order=order)
    value = data.draw(st.integers(*limits(datatype)))
    assert decoded(tag, encoded_registers(tag, value)) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(ORDERS))
def test_a_float_is_read_back_as_it_is(value: float, order: str) -> None:
    for kind in ("float", "double"):
        tag = planned(type=kind, order=order)
        assert decoded(tag, encoded_registers(tag, value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(ORDERS))
@example(-0.0, "ABCD")
def test_a_double_is_read_back_to_the_last_bit(value: float, order: str) -> None:
    tag = planned(type="double", order=order)
    assert struct.pack(">d", decoded(tag, encoded_registers(tag, value))) == struct.pack(">d", value)


@given(
    st.data(),
    st.sampled_from(INTEGERS),
    st.sampled_from(ORDERS),
    st.sampled_from([0.1, 0.01, -2.0, 1e-3, 7.25, 1e4]),
    st.sampled_from([0.0, -40.0, 0.5, 273.15]),
)
def test_scale_and_offset_are_undone_for_whatever_was_read(
    data: st.DataObject, datatype: DataType, order: str, scale: float, offset: float
) -> None:
    tag = planned(type=datatype.label, order=order, scale=scale, offset=offset)
    lowest, highest = limits(datatype)
    exact = 1 << 48  # beyond, the value that is reported has not the digits of the raw one
    raw = data.draw(st.integers(max(lowest, -exact), min(highest, exact)))
    registers = encoded_registers(planned(type=datatype.label, order=order), raw)
    value = decoded(tag, registers)
    assert encoded_registers(tag, value) == registers


@given(
    st.sampled_from(INTEGERS), st.floats(-1e6, 1e6), st.sampled_from([0.1, 3.0, -0.25]), st.sampled_from([0.0, 12.5])
)
def test_a_register_gets_the_nearest_whole_number(
    datatype: DataType, value: float, scale: float, offset: float
) -> None:
    assume(scale != 1.0 or offset != 0.0)
    tag = planned(type=datatype.label, scale=scale, offset=offset)
    exact = (Fraction(str(value)) - Fraction(str(offset))) / Fraction(str(scale))  # as they were written
    lowest, highest = limits(datatype)
    if not lowest <= round(exact) <= highest:
        with pytest.raises(
            ValueError, match=rf"^holding 7: .* does not fit {datatype.label} \({lowest} to {highest}\)$"
        ):
            encoded_registers(tag, value)
        return
    raw = decoded(planned(type=datatype.label), encoded_registers(tag, value))
    assert abs(raw - exact) <= Fraction(1, 2)


TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\0"), max_size=12)


@given(TEXT, st.integers(1, 12), st.sampled_from(ORDERS))
def test_a_text_is_read_back_without_the_white_space_at_its_ends(text: str, length: int, order: str) -> None:
    tag = planned(type="string", length=length, order=order)
    if len(text) > length:
        with pytest.raises(ValueError, match=f"the text has {len(text)} characters, and the tag {length} bytes"):
            encoded_registers(tag, text)
        return
    assert decoded(tag, encoded_registers(tag, text)) == text.encode("latin-1").strip().decode("latin-1")


@given(st.integers(0, 15), st.sampled_from(["ABCD", "BADC", "DCBA"]), st.booleans())
def test_the_bit_that_is_written_is_the_bit_that_is_read(bit: int, order: str, value: bool) -> None:
    tag = planned(at=f"holding 7.{bit}", order=order)
    mask = 1 << register_bit(tag)
    assert encoded_bit(tag, value) is value
    assert decoded(tag, [mask]) is True
    assert decoded(tag, [0xFFFF & ~mask]) is False


@pytest.mark.parametrize(
    ("tag", "value", "sentence"),
    [
        ({}, 65536, "holding 7: 65536 does not fit UInt16 (0 to 65535)"),
        ({}, -1, "holding 7: -1 does not fit UInt16 (0 to 65535)"),
        ({}, 1.5, "holding 7: 1.5 is not a whole number, and the type is UInt16"),
        ({}, True, "holding 7: True is not a number, and the type is UInt16"),
        ({}, "3", "holding 7: '3' is not a number, and the type is UInt16"),
        ({}, math.nan, "holding 7: nan is not a number that a device can be given"),
        ({"type": "double"}, math.inf, "holding 7: inf is not a number that a device can be given"),
        ({"type": "float"}, 1e39, "holding 7: 1e+39 does not fit Float"),
        ({"type": "double"}, 10**400, "holding 7: a number of 401 digits does not fit Double"),
        ({"type": "double", "scale": 1e-300}, 1e300, "holding 7: 1e+300 does not fit Double"),
        (
            {"type": "int16", "scale": 0.1},
            3277,
            "holding 7: 3277 is 32770 without scale and offset, which does not fit Int16 (-32768 to 32767)",
        ),
        ({"type": "string", "length": 4}, 5, "holding 7: 5 is not a text, and the type is String"),
        (
            {"type": "string", "length": 4},
            "5 €",
            "holding 7: '€' is no character of Latin-1, and its bytes are such characters",
        ),
        (
            {"type": "string", "length": 4},
            "a\0b",
            "holding 7: the text holds the character NUL, which would end it",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_sent(tag: dict[str, Any], value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole sentence is compared
        encoded_registers(planned(**tag), value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", [0, 1, 1.0, "true"])
def test_a_bit_takes_only_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="is not true or false, and the type is Boolean"):
        encoded_bit(planned(at="coil 3"), value)
