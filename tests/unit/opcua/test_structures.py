"""Structures in bytes as their description says, and never as anything else."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.notification import DataChangeDecoder
from connectors.opcua.shapes import Output, Shape, datatype_of, type_of_part
from connectors.opcua.structures import Enumerated, Field, Structure, StructureTypes, ValueType, json_ready

DOUBLE, TEXT, UINT32, INT32 = (ValueType(built_in=number) for number in (11, 12, 7, 6))
STATE = ValueType(built_in=6, names={0: "Idle", 1: "Running"})
POSITION = Structure("Position", fields=[Field("X", DOUBLE), Field("Y", DOUBLE)])
RECIPE = Structure(
    "Recipe",
    fields=[
        Field("Name", TEXT),
        Field("Corners", ValueType(structure=POSITION), 1),
        Field("State", STATE),
        Field("Grid", INT32, 2),
        Field("Range", ValueType(known=ua.Range)),
    ],
)
REPORT = Structure(
    "Report",
    ua.StructureType.StructureWithOptionalFields,
    [Field("Code", UINT32), Field("Note", TEXT, is_optional=True), Field("Weight", DOUBLE, is_optional=True)],
)
MEASURE = Structure("Measure", ua.StructureType.Union, [Field("Number", DOUBLE), Field("Text", TEXT)])
NODES = [ua.NodeId(number, 2) for number in range(1, 5)]


def types() -> StructureTypes:
    made = StructureTypes()
    made.by_encoding = dict(zip(NODES, [POSITION, RECIPE, REPORT, MEASURE], strict=True))
    return made


def tree(number: int, body: bytes) -> Any:
    return types().tree(ua.ExtensionObject(TypeId=NODES[number], Body=body))


def text(value: str) -> bytes:
    return struct.pack("<i", len(value)) + value.encode()


BODY = (
    text("A7") + struct.pack("<i4d", 2, 1.0, 2.0, 3.0, float("inf")) + struct.pack("<i", 1)
    + struct.pack("<3i6i", 2, 2, 3, *range(6)) + struct.pack("<2d", 0.0, 100.0)
)  # fmt: skip


def test_each_field_is_read_as_its_type_says() -> None:
    found = tree(1, BODY)
    assert found == {
        "Name": "A7",
        "Corners": [{"X": 1.0, "Y": 2.0}, {"X": 3.0, "Y": float("inf")}],
        "State": 1,
        "Grid": [[0, 1, 2], [3, 4, 5]],
        "Range": {"Low": 0.0, "High": 100.0},
    }
    assert json_ready(found, has_names=True)["State"] == "Running"
    ready = json_ready(found, has_names=False)
    assert (ready["State"], ready["Corners"][1]["Y"]) == (1, "Infinity")
    assert json.loads(json.dumps(ready, allow_nan=False)) == ready


def test_optional_fields_are_there_or_not_and_a_union_is_one_of_its_fields() -> None:
    assert tree(2, struct.pack("<II", 0, 7)) == {"Code": 7}
    assert tree(2, struct.pack("<IId", 2, 7, 1.5)) == {"Code": 7, "Weight": 1.5}
    assert tree(2, struct.pack("<II", 1, 7) + text("x")) == {"Code": 7, "Note": "x"}
    assert tree(3, struct.pack("<Id", 1, 2.5)) == {"Number": 2.5}
    assert tree(3, struct.pack("<I", 2) + text("on")) == {"Text": "on"}
    assert tree(3, struct.pack("<I", 0)) == {}


@pytest.mark.parametrize(
    ("number", "body", "sentence"),
    [
        (3, struct.pack("<I", 3), "the union Measure has no choice 3"),
        (1, text("A") + struct.pack("<i", 1 << 30), "an array of 1073741824 values is longer than the structure"),
    ],
)
def test_bytes_that_are_not_as_the_type_says_are_refused(number: int, body: bytes, sentence: str) -> None:
    with pytest.raises(PayloadInvalid, match=sentence):
        tree(number, body)


def test_a_structure_within_itself_has_an_end() -> None:
    endless = Structure("Endless")
    endless.fields.append(Field("Again", ValueType(structure=endless)))
    made = StructureTypes()
    made.by_encoding[NODES[0]] = endless
    with pytest.raises(PayloadInvalid, match="structures within structures"):
        made.tree(ua.ExtensionObject(TypeId=NODES[0], Body=b"\0" * 100))


@given(st.integers(0, 3), st.one_of(st.binary(max_size=80), st.builds(lambda at: BODY[:at], st.integers(0, len(BODY)))))
def test_any_bytes_are_a_value_or_are_refused(number: int, body: bytes) -> None:
    with contextlib.suppress(*DECODING_ERRORS):
        json.dumps(json_ready(tree(number, body), has_names=True), allow_nan=False)


def test_a_value_is_for_several_tags_and_one_that_is_not_there_costs_no_other() -> None:
    outputs = (
        Output(0, ("Corners", 1, "X"), DataType.DOUBLE),
        Output(1, ("Corners", 5, "X"), DataType.DOUBLE),
        Output(2, ("State",), DataType.STRING, has_names=True),
        Output(3, ("State",), DataType.INT32),
        Output(4, ("Name",), DataType.DOUBLE),
        Output(5, ("Corners",), DataType.STRING),
    )
    shape = Shape(types(), outputs)
    value = ua.ExtensionObject(TypeId=NODES[1], Body=BODY)
    found = {output.index: (part, is_other) for output, part, is_other in shape.values(value)}
    assert found == {
        0: (3.0, False),
        1: (None, False),
        2: ("Running", False),
        3: (1, False),
        4: (None, True),
        5: ('[{"X": 1.0, "Y": 2.0}, {"X": 3.0, "Y": "Infinity"}]', False),
    }
    unknown = ua.ExtensionObject(TypeId=ua.NodeId(99, 2), Body=b"")
    assert [is_other for _, _, is_other in shape.values(unknown)] == [True] * 6


def test_values_that_the_server_has_lost_are_lost_for_each_tag_of_a_value() -> None:
    decoder = DataChangeDecoder(3)
    decoder.bind_shape(1, Shape(StructureTypes(), (Output(1, (0,), DataType.DOUBLE), Output(2, (1,), DataType.DOUBLE))))
    change = ua.DataChangeNotification()
    overflowed = ua.StatusCode(ua.UInt32(0x0480))
    value = ua.DataValue(ua.Variant([1.5, 2.5], ua.VariantType.Double), StatusCode=overflowed)
    change.MonitoredItems = [ua.MonitoredItemNotification(ua.UInt32(1), value)] * 20
    (batch,) = decoder.decode(struct_to_binary(change), 7)
    assert list(batch.rows())[:2] == [(1, 7, 1.5, 0), (2, 7, 2.5, 0)]
    assert len(batch) == 40
    assert {tag for tag, _ in decoder.take_overflowed()} == {1, 2}


def test_texts_and_numbers_of_a_shaped_tag_never_pass_it_by() -> None:
    decoder = DataChangeDecoder(2)
    decoder.bind_shape(0, Shape(StructureTypes(), (Output(0, (), DataType.STRING, has_names=True),), {1: "Running"}))
    decoder.bind(1, DataType.INT32)
    change = ua.DataChangeNotification()
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
    change.MonitoredItems = [ua.MonitoredItemNotification(ua.UInt32(number % 2), value) for number in range(40)]
    rows = [row for batch in decoder.decode(struct_to_binary(change), 7) for row in batch.rows()]
    assert {(row[0], row[2]) for row in rows} == {(0, "Running"), (1, 1)}
    assert len(rows) == 40


def test_numbers_of_an_enumeration_have_names_and_unknown_ones_are_themselves() -> None:
    shape = Shape(StructureTypes(), (Output(0, (), DataType.STRING, has_names=True),), {1: "Running"})
    assert [next(iter(shape.values(number)))[1] for number in (1, 7)] == ["Running", "7"]
    assert Enumerated(1, {1: "Running"}) == 1


@pytest.mark.parametrize(
    ("part", "datatype"),
    [
        (("Corners", 0, "Y"), DataType.DOUBLE),
        (("Corners",), DataType.STRING),
        (("State",), DataType.INT32),
        (("Grid", 0, 1), DataType.INT32),
        (("Grid", 0), DataType.STRING),
        (("Range", "High"), DataType.DOUBLE),
        ((), DataType.STRING),
    ],
)
def test_a_part_has_the_type_that_its_field_has(part: Any, datatype: DataType) -> None:
    assert datatype_of(*type_of_part(ValueType(structure=RECIPE), 0, part), has_names=False) is datatype


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (("Nmae",), "Recipe has no field 'Nmae'; it has Name, Corners, State, Grid, Range"),
        (("Name", 0), "there is \\[0\\] in 'part', and that is no array"),
        (("Corners", "X"), "there is 'X' in 'part', and that is an array: write \\[0\\] for its first one"),
        (("Name", "X"), "there is 'X' in 'part', and that is no structure"),
    ],
)
def test_a_part_that_cannot_be_there_is_told_with_what_is(part: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        type_of_part(ValueType(structure=RECIPE), 0, part)


def test_an_array_of_nothing_in_many_dimensions_has_an_end() -> None:
    made = StructureTypes()
    empty = ValueType(structure=Structure("Empty"))
    made.by_encoding = {NODES[0]: Structure("Wide", fields=[Field("Cells", empty, 3)])}
    body = struct.pack("<4i", 3, 900, 900, 900) + b"\x00" * 1000
    with pytest.raises(PayloadInvalid, match="longer than the structure"):
        made.tree(ua.ExtensionObject(TypeId=NODES[0], Body=body))


def test_a_tag_that_is_bound_anew_without_a_shape_is_read_as_it_is_bound() -> None:
    decoder = DataChangeDecoder(1)
    decoder.bind_shape(0, Shape(StructureTypes(), (Output(0, (0,), DataType.DOUBLE),)))
    decoder.bind(0, DataType.DOUBLE)
    change = ua.DataChangeNotification()
    value = ua.DataValue(ua.Variant(1.5, ua.VariantType.Double))
    change.MonitoredItems = [ua.MonitoredItemNotification(ua.UInt32(0), value)]
    ((row,),) = [list(batch.rows()) for batch in decoder.decode(struct_to_binary(change), 7)]
    assert row == (0, 7, 1.5, 0)
