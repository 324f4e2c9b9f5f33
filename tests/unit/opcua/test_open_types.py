"""Fields whose type their value chooses are written with the type that they have on the server, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from connectors.opcua.open_types import has_open_types, held_type, typed_tree
from connectors.opcua.structure_forms import StructureForm
from connectors.opcua.structures import Field, Structure, StructureTypes, ValueType, json_ready
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import json_text

V = ua.VariantType
OPEN, INT32 = ValueType(built_in=24), ValueType(built_in=6)
INNER = Structure("Inner", fields=[Field("Any", OPEN)])
OUTER = Structure(
    "Outer", fields=[Field("Any", OPEN), Field("Many", OPEN, 1), Field("Inner", ValueType(structure=INNER), 1)]
)
PLAIN = Structure("Plain", fields=[Field("Count", INT32)])
OUTER_ID, INNER_ID = ua.NodeId(1, 2), ua.NodeId(2, 2)
TAG = OpcUaTag.model_validate({"name": "x", "at": "ns=2;i=1", "writable": True})
NONE = ua.Variant(None, V.Null)


def types() -> StructureTypes:
    made = StructureTypes()
    made.by_encoding = {OUTER_ID: OUTER, INNER_ID: INNER}
    return made


def held(any_: ua.Variant, many: list[ua.Variant], inner: list[ua.Variant]) -> ua.Variant:
    """An ``Outer`` as a server has it."""
    body = variant_to_binary(any_)
    for each in (many, inner):
        body += len(each).to_bytes(4, "little") + b"".join(map(variant_to_binary, each))
    return ua.Variant(ua.ExtensionObject(TypeId=OUTER_ID, Body=ua.ByteString(body)))


def form(part: tuple[str | int, ...] = ()) -> StructureForm:
    return StructureForm(types(), ValueType(structure=OUTER), 0, part, OUTER_ID)


def shown(variant: ua.Variant) -> Any:
    """What a tag shows of an ``Outer``."""
    return json.loads(json_text(json_ready(types().tree(variant.Value), has_names=False)))


def variants(variant: ua.Variant) -> Any:
    return typed_tree(types(), variant.Value)


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        (ua.Variant(5, V.Int32), 7, ua.Variant(7, V.Int32)),
        (ua.Variant(5, V.Byte), 255, ua.Variant(255, V.Byte)),
        (ua.Variant(1.5, V.Float), 2, ua.Variant(2.0, V.Float)),
        (ua.Variant(True, V.Boolean), False, ua.Variant(False, V.Boolean)),
        (ua.Variant("a", V.String), "7", ua.Variant("7", V.String)),
        (ua.Variant("a", V.String), None, ua.Variant(None, V.String)),
        (ua.Variant(datetime(2026, 1, 1), V.DateTime), "2026-03-01T06:30:00+00:00",
         ua.Variant(datetime(2026, 3, 1, 6, 30, tzinfo=UTC), V.DateTime)),
        (ua.Variant(UUID(int=1), V.Guid), str(UUID(int=2)), ua.Variant(UUID(int=2), V.Guid)),
        (ua.Variant([1, 2], V.Int16), [3], ua.Variant([3], V.Int16)),
        (ua.Variant([1, 2], V.Int16), [], ua.Variant([], V.Int16)),
        (NONE, None, NONE),
    ],
)  # fmt: skip
def test_a_value_gets_the_type_that_the_field_has_now(before: ua.Variant, value: Any, after: ua.Variant) -> None:
    now = held(before, [before, ua.Variant("x", V.String)], [NONE, before])
    wanted = {"Any": value, "Many": [value, "y"], "Inner": [{"Any": None}, {"Any": value}]}
    made = form().variant(json.dumps(wanted), TAG, {}, now)
    expected = variant_from_binary(Buffer(variant_to_binary(after)))
    found = variants(made)
    for each in (found["Any"], found["Many"][0], found["Inner"][1]["Any"]):
        assert (each.Value, each.VariantType) == (expected.Value, expected.VariantType)
    assert found["Many"][1].Value == "y"


def test_what_a_tag_shows_of_it_becomes_the_same_bytes_again() -> None:
    now = held(ua.Variant(5, V.UInt16), [ua.Variant(1.5, V.Double), NONE], [ua.Variant(["a", "b"], V.String)])
    made = form().variant(json.dumps(shown(now)), TAG, {}, now)
    assert made.Value.Body == now.Value.Body
    assert made.Value.TypeId == now.Value.TypeId


@pytest.mark.parametrize(
    ("before", "value", "sentence"),
    [
        (ua.Variant(5, V.Int32), 1.5, "^Any: 1.5 is not a whole number, and the type is Int32; a field whose"),
        (ua.Variant(5, V.Byte), 256, r"^Any: 256 does not fit UInt8 \(0 to 255\); .* keeps the one that it has now$"),
        (ua.Variant(5, V.Int32), "7", "^Any: '7' is not a number"),
        (ua.Variant("a", V.String), 7, "^Any: 7 is not a text, and the type is String"),
        (ua.Variant(5, V.Int32), None, "^Any: null is no single value"),
        (ua.Variant(5, V.Int32), [5], r"^Any: \[5\] is no single value"),
        (ua.Variant([5], V.Int32), 5, "^Any: 5 is no array; write it in brackets"),
        (ua.Variant([[1, 2], [3, 4]], V.Int32), [[1, 2], [3, 4]], "^Any: it is a matrix whose type is that of its val"),
        (ua.Variant(ua.ExtensionObject(INNER_ID, ua.ByteString(b"\0")), V.ExtensionObject), {"Any": 1},
         "^Any: .* is no single value"),
        (NONE, 5, "^Any: its type is that of its value, and the server has none there now; let the PLC or another"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_the_type_of_now_is_refused(before: ua.Variant, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        form().variant(json.dumps({"Any": value, "Many": [], "Inner": []}), TAG, {}, held(before, [], []))


def test_an_element_that_the_server_does_not_have_yet_has_no_type() -> None:
    now = held(ua.Variant(5, V.Int32), [ua.Variant(5, V.Int32)], [])
    for value, place in (({"Many": [5, 6], "Inner": []}, r"Many\[1\]"), ({"Many": [], "Inner": [{"Any": 1}]}, "Any")):
        with pytest.raises(ValueError, match=f"{place}: its type is that of its value, and the server has none there"):
            form().variant(json.dumps({"Any": 5, **value}), TAG, {}, now)
    made = form().variant(json.dumps({"Any": 5, "Many": [], "Inner": []}), TAG, {}, now)
    assert variants(made)["Many"] == []


def test_limits_of_the_tag_of_such_a_field_hold_and_are_told_as_they_are() -> None:
    rule = OpcUaTag.model_validate({"name": "any", "at": "ns=2;i=1", "part": "Any", "writable": {"min": 0, "max": 5}})
    now = held(ua.Variant(5, V.Int32), [], [])
    with pytest.raises(ValueError, match=r"^Any: it takes 0 to 5 \(the tag any\), and not 6$"):
        form().variant(json.dumps({"Any": 6, "Many": [], "Inner": []}), TAG, {("Any",): rule}, now)


def test_such_a_field_alone_keeps_its_type_and_all_else_its_bytes() -> None:
    now = held(ua.Variant(5, V.Int16), [ua.Variant("x", V.String)], [ua.Variant(2.5, V.Double)])
    made = form(("Inner", 0, "Any")).variant(4, TAG, {}, now)
    assert made.Value.Body == now.Value.Body[:-8] + variant_to_binary(ua.Variant(4.0, V.Double))[1:]
    assert variants(form(("Any",)).variant(4, TAG, {}, now))["Any"].VariantType == V.Int16
    with pytest.raises(ValueError, match=r"^Any: 4.5 is not a whole number"):
        form(("Any",)).variant(4.5, TAG, {}, now)


def test_only_structures_with_such_fields_are_read_before_they_are_written() -> None:
    itself = Structure("Itself", fields=[Field("Count", INT32)])
    itself.fields.append(Field("Next", ValueType(structure=itself), 1))
    found = [has_open_types(ValueType(structure=each)) for each in (OUTER, INNER, PLAIN, itself)]
    assert found == [True, True, False, False]
    assert form().needs_present
    assert not StructureForm(types(), ValueType(structure=PLAIN), 0, (), OUTER_ID).needs_present


def test_what_has_no_value_has_no_type() -> None:
    assert held_type({"Any": NONE}, ("Any",)) is None
    assert held_type({"Any": ua.Variant(None, V.String)}, ("Any",)) == (12, 0)
    assert held_type({"Any": ua.Variant([1], V.Int32)}, ("Any",)) == (6, 1)
    assert held_type({}, ("Any",)) is None
