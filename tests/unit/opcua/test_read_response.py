"""Read responses: whatever their values are, each comes behind its own handle, as a notification would carry it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.errors import PayloadInvalid
from connectors.opcua.read_response import read_read_response

VARIANTS = st.one_of(
    st.floats(allow_nan=False).map(lambda value: ua.Variant(value, ua.VariantType.Double)),
    st.integers(-5, 5).map(lambda value: ua.Variant(value, ua.VariantType.Int16)),
    st.text(max_size=5).map(lambda value: ua.Variant(value, ua.VariantType.String)),
    st.lists(st.integers(0, 9), min_size=1, max_size=3).map(lambda value: ua.Variant(value, ua.VariantType.Int32)),
    st.just(None),
)
STATUSES = st.sampled_from([None, ua.StatusCode(ua.UInt32(0)), ua.StatusCode(ua.UInt32(0x80340000))])
TIMES = st.sampled_from([None, datetime(2026, 11, 22, 9)])


def data_value(variant: Any, status: Any, when: Any) -> ua.DataValue:
    return ua.DataValue(variant, StatusCode=status, SourceTimestamp=when)


RUNS = st.tuples(st.builds(data_value, VARIANTS, STATUSES, TIMES), st.integers(1, 7))


def encoded(values: list[ua.DataValue]) -> bytes:
    made = ua.ReadResponse()
    made.Results = values
    return struct_to_binary(made)


def response(values: list[ua.DataValue]) -> Buffer:
    return Buffer(encoded(values))


@given(st.lists(RUNS, min_size=1, max_size=6))
def test_values_come_behind_their_handles_as_in_a_notification(runs: list[tuple[ua.DataValue, int]]) -> None:
    values = [value for value, count in runs for _ in range(count)]
    handles = np.arange(len(values), dtype="<u4")[::-1].copy()
    change = ua.DataChangeNotification()
    change.MonitoredItems = [
        ua.MonitoredItemNotification(ua.UInt32(int(handle)), value)
        for handle, value in zip(handles, values, strict=True)
    ]
    whole = struct_to_binary(change)
    found = read_read_response(response(values), handles)
    assert whole.startswith(found)
    assert whole[len(found) :] == b"\xff\xff\xff\xff" or whole[len(found) :] == b"\x00\x00\x00\x00"


def test_a_response_with_another_number_of_values_is_refused() -> None:
    value = data_value(ua.Variant(1.0, ua.VariantType.Double), None, None)
    with pytest.raises(PayloadInvalid, match="2 values when asked for 3"):
        read_read_response(response([value, value]), np.arange(3, dtype="<u4"))


def test_a_response_that_breaks_off_is_no_response() -> None:
    value = data_value(ua.Variant("abc", ua.VariantType.String), None, None)
    whole = encoded([value])
    with pytest.raises(PayloadInvalid, match="longer than"):
        read_read_response(Buffer(whole[:-6]), np.arange(1, dtype="<u4"))
