"""Data sets, templates, arrays and properties of other makers' nodes, as they are stored: JSON, and nothing lost."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.structured_value import property_values, structured_text
from connectors.sparkplug.type_numbers import ARRAYS, ELEMENT_OF, is_structured, stored_type, type_label

ARRAY_NUMBERS = {type_label(number): number for number in ARRAYS}
VALUES = {
    "Int8Array": ("<i1", [-128, -1, 0, 127]),
    "Int16Array": ("<i2", [-32768, -1, 32767]),
    "Int32Array": ("<i4", [-(1 << 31), -1, 315338746]),
    "Int64Array": ("<i8", [-(1 << 63), -1, (1 << 63) - 1]),
    "UInt8Array": ("u1", [0, 255]),
    "UInt16Array": ("<u2", [30, 52360]),
    "UInt32Array": ("<u4", [52, (1 << 32) - 1]),
    "UInt64Array": ("<u8", [52, (1 << 64) - 1]),
    "FloatArray": ("<f4", [1.5, -0.25]),
    "DoubleArray": ("<f8", [12.354213, -1e300]),
    "DateTimeArray": ("<i8", [1256102875335, 1656107875000]),
}


def stored(number: int, **value: Any) -> Any:
    return json.loads(structured_text(pb.Metric(name="m", **value), number, {}))


@pytest.mark.parametrize("label", sorted(VALUES))
def test_an_array_of_numbers_is_read_element_by_element(label: str) -> None:
    dtype, values = VALUES[label]
    assert stored(ARRAY_NUMBERS[label], bytes_value=np.array(values, dtype).tobytes()) == values


def test_the_array_examples_of_the_specification_are_read() -> None:
    """Section 6.4.16: [true, true, false, true, false, false, true, true, false, true, false, true] and two texts."""
    booleans = bytes((0x0C, 0, 0, 0, 0xD3, 0x50))
    assert stored(ARRAY_NUMBERS["BooleanArray"], bytes_value=booleans) == [
        *(True, True, False, True, False, False, True, True, False, True, False, True)
    ]
    assert stored(ARRAY_NUMBERS["StringArray"], bytes_value=b"ABC\x00hello\x00") == ["ABC", "hello"]


def test_numbers_that_json_does_not_know_are_named() -> None:
    data = struct.pack("<3d", float("nan"), float("inf"), float("-inf"))
    assert stored(ARRAY_NUMBERS["DoubleArray"], bytes_value=data) == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("label", [*sorted(VALUES), "BooleanArray", "StringArray"])
def test_an_empty_array_is_one(label: str) -> None:
    empty = bytes(4) if label == "BooleanArray" else b""
    assert stored(ARRAY_NUMBERS[label], bytes_value=empty) == []


@given(st.sampled_from(list(ARRAYS)), st.binary(max_size=40))
def test_any_bytes_are_an_array_or_refused(number: int, data: bytes) -> None:
    try:
        found = stored(number, bytes_value=data)
    except PayloadInvalid:
        return
    assert isinstance(found, list)


def test_a_data_set_keeps_columns_types_and_rows() -> None:
    data = pb.DataSet(num_of_columns=3, columns=["n", "text", "at"], types=[1, 12, 13])
    for number in (-1, 5):
        row = data.rows.add()
        row.elements.add(int_value=number & 0xFFFFFFFF)
        row.elements.add(string_value=f"<{number}>")
        row.elements.add()
    assert stored(16, dataset_value=data) == {
        "columns": ["n", "text", "at"],
        "types": ["Int8", "String", "DateTime"],
        "rows": [[-1, "<-1>", None], [5, "<5>", None]],
    }


@pytest.mark.parametrize(
    ("columns", "types", "elements"), [(["a"], [3, 3], 1), (["a"], [3], 2), (["a"], [19], 1), (["a"], [99], 1)]
)
def test_a_data_set_that_contradicts_itself_is_refused(columns: list[str], types: list[int], elements: int) -> None:
    data = pb.DataSet(columns=columns, types=types)
    row = data.rows.add()
    for _ in range(elements):
        row.elements.add(int_value=1)
    with pytest.raises(PayloadInvalid):
        stored(16, dataset_value=data)


def test_a_template_is_read_with_the_types_that_its_birth_has_told() -> None:
    inner = pb.Template(template_ref="Shaft", metrics=[pb.Metric(name="angle", int_value=0xFFFF_FFF6)])
    outer = pb.Template(
        template_ref="Motor",
        version="2",
        is_definition=False,
        parameters=[pb.Template.Parameter(name="poles", type=1, int_value=0xFFFF_FFFE)],
        metrics=[
            pb.Metric(name="rpm", int_value=0xFFFF_FFFF),
            pb.Metric(name="name", datatype=12, string_value="M1"),
            pb.Metric(name="off", is_null=True),
            pb.Metric(name="unknown", int_value=7),
            pb.Metric(name="code", datatype=17, bytes_value=b"\x00\xff"),
            pb.Metric(name="shaft", datatype=19, template_value=inner),
        ],
    )
    members = {"Motor": {"rpm": int(DataType.INT32)}, "Shaft": {"angle": int(DataType.INT16)}}
    text = structured_text(pb.Metric(name="m", template_value=outer), 19, members)
    assert json.loads(text) == {
        "template": "Motor",
        "version": "2",
        "parameters": {"poles": -2},
        "members": {
            "rpm": -1,
            "name": "M1",
            "off": None,
            "unknown": 7,
            "code": "AP8=",
            "shaft": {"template": "Shaft", "members": {"angle": -10}},
        },
    }


def test_a_value_of_another_kind_than_its_type_is_refused() -> None:
    for number, value in ((16, {"string_value": "x"}), (19, {"int_value": 1}), (22, {"double_value": 1.0})):
        with pytest.raises(PayloadInvalid, match=rf"cannot be a {type_label(number)}"):
            stored(number, **value)


def test_properties_nest() -> None:
    limits = pb.PropertySet(keys=["low"], values=[pb.PropertyValue(type=3, int_value=0xFFFF_FFFF)])
    both = pb.PropertySetList(propertyset=[limits, limits])
    found = property_values(
        pb.PropertySet(
            keys=["engUnit", "limits", "list", "none", "at"],
            values=[
                pb.PropertyValue(type=12, string_value="°C"),
                pb.PropertyValue(type=20, propertyset_value=limits),
                pb.PropertyValue(type=21, propertysets_value=both),
                pb.PropertyValue(type=3, is_null=True),
                pb.PropertyValue(type=13, long_value=5),
            ],
        )
    )
    assert found == {"engUnit": "°C", "limits": {"low": -1}, "list": [{"low": -1}, {"low": -1}], "none": None, "at": 5}


@pytest.mark.sparkplug("tck-id-payloads-propertyset-keys-array-size")
def test_a_property_set_with_more_keys_than_values_is_refused() -> None:
    with pytest.raises(PayloadInvalid, match="2 keys and 1 values"):
        property_values(pb.PropertySet(keys=["a", "b"], values=[pb.PropertyValue(type=12, string_value="x")]))


def test_every_data_type_of_the_specification_has_a_column_and_a_name() -> None:
    metric_types = [*range(1, 20), *ARRAYS]
    assert {stored_type(number) for number in metric_types} <= set(DataType)
    assert [type_label(number) for number in (0, 7, 16, 18, 19, 22, 34)] == [
        *("type 0", "UInt32", "DataSet", "File", "Template", "Int8Array", "DateTimeArray")
    ]
    assert all(is_structured(number) for number in ELEMENT_OF)
    for number in (0, 20, 21, 35, 1 << 31):
        with pytest.raises(PayloadInvalid, match="which no metric can have"):
            stored_type(number)
