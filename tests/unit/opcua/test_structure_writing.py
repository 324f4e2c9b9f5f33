"""Structures become bytes from JSON as their description says, and one field changes while all others stay."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import pack_uatype
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.errors import PayloadInvalid
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.parts import Part, parse_part, part_text
from connectors.opcua.structure_forms import StructureForm
from connectors.opcua.structure_writing import Encoder, Rewriting, json_value
from connectors.opcua.structures import Field, Structure, ValueType, json_ready, read_field
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import json_text
from tests.unit.opcua.test_structures import BODY, DOUBLE, INT32, MEASURE, NODES, RECIPE, REPORT, TEXT, text, types

VARIANT = ValueType(built_in=24)
NUMBERS = {2: (-128, 127), 3: (0, 255), 4: (-(1 << 15), (1 << 15) - 1), 7: (0, (1 << 32) - 1), 9: (0, (1 << 64) - 1)}
MANY = Structure(
    "Many",
    fields=[
        Field("When", ValueType(built_in=13)),
        Field("Who", ValueType(built_in=14)),
        Field("Raw", ValueType(built_in=15)),
        Field("Where", ValueType(built_in=17)),
        Field("Status", ValueType(built_in=19)),
        Field("Called", ValueType(built_in=20)),
        Field("Said", ValueType(built_in=21)),
        Field("Small", ValueType(built_in=10)),
    ],
)
MANY_VALUE = {
    "When": "2026-03-01T06:30:00.000250+00:00",
    "Who": "09087e75-8e5e-499b-954f-f2a9603db28a",
    "Raw": "AQID",
    "Where": "ns=2;s=Ram",
    "Status": 0x80340000,
    "Called": "2:Ram",
    "Said": "hot",
    "Small": 0.5,
}
HEAVY = struct.pack("<IId", 2, 7, 1.5)
FIVE = b"\x06\x05\0\0\0"
"""A Variant with an Int32."""

DYNAMIC = Structure("Dynamic", fields=[Field("Any", VARIANT), Field("Count", INT32)])


def as_json(structure: Structure, body: bytes, *, has_names: bool = False) -> Any:
    """What a tag shows of these bytes."""
    data = Buffer(body)
    tree = read_field(types(), ValueType(structure=structure), 0, data)
    assert len(data) == 0
    return json.loads(json_text(json_ready(tree, has_names=has_names)))


def rewritten(structure: Structure, body: bytes, part: str, new: bytes) -> bytes:
    """``body`` with another part."""
    steps = Rewriting(Buffer(body), lambda of, rank, data: read_field(types(), of, rank, data), lambda _of, _rank: new)
    return steps.structure(structure, parse_part(part))


def test_what_a_tag_shows_becomes_the_same_bytes_again() -> None:
    body = BODY.replace(struct.pack("<d", float("inf")), struct.pack("<d", 4.25))
    assert Encoder().structure(RECIPE, as_json(RECIPE, body), ()) == body
    assert Encoder(has_names=True).structure(RECIPE, as_json(RECIPE, body, has_names=True), ()) == body
    made = Encoder().structure(MANY, MANY_VALUE, ())
    assert as_json(MANY, made) == MANY_VALUE
    assert made.startswith(pack_uatype(ua.VariantType.DateTime, datetime(2026, 3, 1, 6, 30, 0, 250, UTC)))
    assert UUID(MANY_VALUE["Who"]).bytes_le in made
    for body in (struct.pack("<II", 0, 7), struct.pack("<IId", 2, 7, 1.5), struct.pack("<II", 1, 7) + text("x")):
        assert Encoder().structure(REPORT, as_json(REPORT, body), ()) == body
    for body in (struct.pack("<Id", 1, 2.5), struct.pack("<I", 2) + text("on"), struct.pack("<I", 0)):
        assert Encoder().structure(MEASURE, as_json(MEASURE, body), ()) == body


@pytest.mark.parametrize(
    ("structure", "value", "sentence"),
    [
        (RECIPE, {"Name": 1}, "Name: 1 is not a text, and the type is String"),
        (REPORT, {"Note": "x"}, "Code: it is missing, and each Report has it"),
        (MEASURE, {"Number": 1, "Text": "x"}, "Measure is one of its fields, and there are Number, Text"),
        (MEASURE, {"Color": 1}, "Color: Measure has no such field; it has Number, Text"),
        (DYNAMIC, {"Any": 1, "Count": 2}, "Any: its type is that of its value, and the server has none there now"),
        (MANY, MANY_VALUE | {"When": "yesterday"}, 'When: "yesterday" is no time; write it as 2026-03-01T06:30:00'),
        (MANY, MANY_VALUE | {"When": 5}, "When: 5 is no time"),
        (MANY, MANY_VALUE | {"Where": "Ram"}, 'Where: "Ram" is no node id'),
        (MANY, MANY_VALUE | {"Called": "Ram"}, 'Called: "Ram" is no name with its namespace'),
        (MANY, MANY_VALUE | {"Status": -1}, "Status: -1 is no status code"),
        (MANY, MANY_VALUE | {"Raw": "?"}, r"Raw: '\?' is not base64"),
        (MANY, MANY_VALUE | {"Small": 1e39}, r"Small: 1e\+39 does not fit Float"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(structure: Structure, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Encoder().structure(structure, value, ())


@pytest.mark.parametrize("built_in", NUMBERS)
@given(number=st.integers(-(1 << 70), 1 << 70))
def test_whole_numbers_are_exactly_as_large_as_their_types(built_in: int, number: int) -> None:
    low, high = NUMBERS[built_in]
    if low <= number <= high:
        made = Encoder().encoded(ValueType(built_in=built_in), 0, number, ())
        assert read_field(types(), ValueType(built_in=built_in), 0, Buffer(made)) == number
    else:
        with pytest.raises(ValueError, match=r"^A\.B: .* does not fit"):
            Encoder().encoded(ValueType(built_in=built_in), 0, number, ("A", "B"))


def test_a_matrix_is_written_row_by_row_and_has_rows_of_one_length() -> None:
    assert Encoder().encoded(INT32, 2, [[1, 2], [3, 4]], ()) == struct.pack("<3i4i", 2, 2, 2, 1, 2, 3, 4)
    for value in ([[1, 2], [3]], [[1, 2], 3], [1, 2]):
        with pytest.raises(ValueError, match=r"^Grid.*(neighbours|dimensions)"):
            Encoder().encoded(INT32, 2, value, ("Grid",))
    assert Encoder().encoded(INT32, 1, None, ()) == struct.pack("<i", -1)
    assert Encoder().encoded(TEXT, 0, None, ()) == struct.pack("<i", -1)


@pytest.mark.parametrize(
    ("structure", "before", "part", "new", "after"),
    [
        (RECIPE, BODY, "Name", text("B"), text("B") + BODY[6:]),
        (RECIPE, BODY, "Corners[1].X", struct.pack("<d", 9), BODY[:26] + struct.pack("<d", 9) + BODY[34:]),
        (RECIPE, BODY, "Range.High", struct.pack("<d", 9), BODY[:-8] + struct.pack("<d", 9)),
        (RECIPE, BODY, "Grid[1][0]", struct.pack("<i", 9), BODY[:70] + struct.pack("<i", 9) + BODY[74:]),
        (REPORT, HEAVY, "Note", text("x"), struct.pack("<II", 3, 7) + text("x") + HEAVY[8:]),
        (REPORT, HEAVY, "Code", b"\x08\0\0\0", struct.pack("<IId", 2, 8, 1.5)),
        (MEASURE, struct.pack("<I", 2) + text("on"), "Number", struct.pack("<d", 2), struct.pack("<Id", 1, 2)),
        (MEASURE, struct.pack("<I", 0), "Number", struct.pack("<d", 2), struct.pack("<Id", 1, 2)),
        (DYNAMIC, FIVE + struct.pack("<i", 1), "Count", struct.pack("<i", 2), FIVE + struct.pack("<i", 2)),
    ],
)  # fmt: skip
def test_one_field_changes_and_every_other_byte_stays(
    structure: Structure, before: bytes, part: str, new: bytes, after: bytes
) -> None:
    assert rewritten(structure, before, part, new) == after


@pytest.mark.parametrize(
    ("structure", "body", "part", "sentence"),
    [
        (RECIPE, BODY, "Corners[2].X", r"Corners\[2\]: the array has no such element now"),
        (RECIPE, BODY, "Grid[1]", r"Grid\[1\]: a row of a matrix cannot be written"),
        (RECIPE, BODY, "Colour", "Colour: Recipe has no such field now"),
        (RECIPE, BODY, "Name.First", "Name: it has no fields now"),
        (MEASURE, struct.pack("<I", 0), "Color", "Color: Measure has no such field now"),
    ],
)
def test_a_part_that_is_not_there_is_told(structure: Structure, body: bytes, part: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rewritten(structure, body, part, b"")


@given(
    st.sampled_from([RECIPE, REPORT, MEASURE, DYNAMIC]),
    st.one_of(st.binary(max_size=80), st.builds(lambda at: BODY[:at], st.integers(0, len(BODY)))),
    st.sampled_from(["Name", "Corners[0].Y", "Grid[0][0]", "Note", "Text", "Count", "Range.Low"]),
)
def test_whatever_a_server_has_is_changed_in_that_one_part_or_left_alone(
    structure: Structure, body: bytes, part: str
) -> None:
    try:
        found = rewritten(structure, body, part, b"new")
    except (PayloadInvalid, *DECODING_ERRORS):
        return
    before, _, after = found.partition(b"new")
    assert before[4:] in body and body.endswith(after)  # noqa: PT018  the first four may be a mask or a choice


def test_limits_of_the_tags_of_fields_hold_in_their_own_units() -> None:
    tag = OpcUaTag.model_validate(
        {"name": "x", "at": "ns=2;i=1", "part": "Corners[0].X", "scale": 0.1, "writable": {"min": 0, "max": 5}}
    )
    zones = OpcUaTag.model_validate(
        {"name": "zones", "at": "ns=2;i=1", "part": "Zones", "writable": {"min": 0, "max": 5}}
    )
    rules: dict[Part, OpcUaTag] = {("Corners", 0, "X"): tag, ("Zones",): zones}
    encoder = Encoder(rules=rules)
    assert encoder.encoded(DOUBLE, 0, 50, ("Corners", 0, "X"))
    with pytest.raises(ValueError, match=r"Corners\[0\].X: it takes 0 to 5 \(the tag x\), and not 5.1"):
        encoder.encoded(DOUBLE, 0, 51, ("Corners", 0, "X"))
    with pytest.raises(ValueError, match=r"Zones\[1\]: it takes 0 to 5 \(the tag zones\), and not 6"):
        encoder.encoded(DOUBLE, 1, [5, 6], ("Zones",))


def test_what_the_server_has_beyond_its_own_description_is_not_thrown_away() -> None:
    tag = OpcUaTag.model_validate({"name": "x", "at": "ns=2;i=1", "part": "Name", "writable": True})
    form = StructureForm(types(), ValueType(structure=RECIPE), 0, ("Name",), NODES[1])
    for body, sentence in ((BODY + b"more", "longer than a Recipe"), (BODY[:-1], "no Recipe as it describes it")):
        now = ua.Variant(ua.ExtensionObject(TypeId=NODES[1], Body=ua.ByteString(body)))
        with pytest.raises(ValueError, match=sentence):
            form.variant("B", tag, {}, now)
    with pytest.raises(ValueError, match="has no value now"):
        form.variant("B", tag, {}, ua.Variant(None))


@given(
    st.lists(st.one_of(st.integers(0, 9), st.from_regex(r"[A-Z][a-z]{0,3}", fullmatch=True)), min_size=1, max_size=5)
)
def test_a_part_is_written_as_it_is_read(steps: list[str | int]) -> None:
    assert parse_part(part_text(tuple(steps))) == tuple(steps)


@pytest.mark.parametrize("value", [5, "[" * 100_000, "{", '{"a": 1, "a": 2}', "Infinity"])
def test_what_is_no_json_is_one_sentence(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        json_value(value, "structure")
