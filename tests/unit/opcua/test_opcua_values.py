"""A value that is written is the value that is read, and no type is ever guessed."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.opcua.node_ids import split_method
from connectors.opcua.values import MS_FROM_EPOCH_MAX, shown_value, value_of, variant_of
from connectors.opcua.wire_types import WIRE_TYPES


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def values_of(built_in: int) -> st.SearchStrategy[Any]:
    dtype = WIRE_TYPES[built_in].dtype
    if 2 <= built_in <= 9:
        assert dtype is not None
        return st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return {
        1: st.booleans(),
        10: st.floats(width=32, allow_nan=False, allow_infinity=False),
        11: st.floats(allow_nan=False, allow_infinity=False),
        12: texts(),
        13: st.integers(-MS_FROM_EPOCH_MAX, MS_FROM_EPOCH_MAX),
        14: st.uuids().map(str),
        15: st.binary().map(lambda data: base64.b64encode(data).decode()),
        21: texts(),
    }[built_in]


@given(st.data(), st.sampled_from([*range(1, 16), 21]))
def test_what_is_written_is_what_is_read(data: st.DataObject, built_in: int) -> None:
    value = data.draw(values_of(built_in))
    sent = variant_from_binary(Buffer(variant_to_binary(variant_of(value, built_in))))
    assert (int(sent.VariantType.value), sent.is_array) == (built_in, False)
    assert value_of(sent, WIRE_TYPES[built_in].datatype) == value


@given(st.integers(-32768, 32767), st.sampled_from([0.1, -2.0, 0.001]), st.sampled_from([0.0, -40.0, 273.15]))
def test_scale_and_offset_are_undone_for_whatever_was_read(raw: int, scale: float, offset: float) -> None:
    value = value_of(ua.Variant(raw, ua.VariantType.Int16), DataType.INT16, scale=scale, offset=offset)
    assert variant_of(value, 4, scale=scale, offset=offset).Value == raw


@pytest.mark.parametrize("built_in", [16, 17, 19, 20])
def test_a_type_that_a_single_value_cannot_say_is_refused(built_in: int) -> None:
    with pytest.raises(ValueError, match=rf"^values of type {ua.VariantType(built_in).name} cannot be written$"):
        variant_of("1", built_in)


@pytest.mark.parametrize(
    ("value", "built_in", "sentence"),
    [
        (1, 1, "1 is not true or false, and the type is Boolean"),
        (True, 6, "True is not a number, and the type is Int32"),
        ("1", 11, "'1' is not a number, and the type is Double"),
        (1, 12, "1 is not a text, and the type is String"),
        ("\ud800", 12, "the text cannot be written in UTF-8 (surrogates not allowed)"),
        (1.5, 13, "1.5 is not a time in whole milliseconds since 1970, and the type is DateTime"),
        (
            MS_FROM_EPOCH_MAX + 1,
            13,
            "9223372036855 milliseconds since 1970 are not between the years 1677 and 2262",
        ),
        (1, None, "an array cannot be written, only a single value"),
    ],
)
def test_what_does_not_fit_is_said(value: Any, built_in: int | None, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole sentence is compared
        variant_of(value, built_in)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("variant", "shown"),
    [
        (ua.Variant(7, ua.VariantType.Int32), 7),
        (ua.Variant([1, 2], ua.VariantType.Int32), "[1, 2]"),
        (ua.Variant(None, ua.VariantType.Null), ""),
        (ua.Variant(b"\0\1", ua.VariantType.ByteString), "AAE="),
        (ua.Variant(UUID(int=5), ua.VariantType.Guid), str(UUID(int=5))),
        (ua.Variant(ua.Range(Low=1.0, High=2.0), ua.VariantType.ExtensionObject), "Range(Low=1.0, High=2.0)"),
    ],
)
def test_whatever_a_method_returns_can_be_shown(variant: ua.Variant, shown: Any) -> None:
    assert shown_value(variant) == shown


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("ns=1;s=Start", (None, "ns=1;s=Start")),
        ("ns=1;s=Press / ns=1;s=Start", ("ns=1;s=Press", "ns=1;s=Start")),
        ("i=85 / nsu=http://acme.example/press;i=7", ("i=85", "nsu=http://acme.example/press;i=7")),
        ("nsu=http://a/b;s=Press/Left / s=x", ("nsu=http://a/b;s=Press/Left", "s=x")),
        ("s=Press / Left", (None, "s=Press / Left")),
    ],
)
def test_a_method_is_written_alone_or_behind_its_object(written: str, parts: tuple[str | None, str]) -> None:
    assert split_method(written) == parts


@pytest.mark.parametrize("written", ["", "Start", "Press / s=Start", "i=x / s=Start", "i=1 / i=99999999999"])
def test_what_is_no_node_id_is_no_method(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a node id|after i= comes a number"):
        split_method(written)
