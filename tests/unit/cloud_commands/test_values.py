"""Values are as the tag's type has them, or refused with a sentence; messages say the same twice."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.commands.messages import cancel_message, command_message, time_message
from cloud_ingest.commands.values import fitted
from connectors.commands.envelope import RunCommand, WriteTag
from connectors.commands.reports import TimeAnswer
from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from tests.played_agent import commanded

AGENT = AgentName("plant", "line-1")
KEY = SigningKey.generate()
KEYS = TrustedKeys({KEY.key_id: KEY.public_jwk()})


@pytest.mark.parametrize(
    ("value", "datatype", "found"),
    [
        (5, DataType.DOUBLE, 5.0),
        (2.5, DataType.FLOAT, 2.5),
        (-128, DataType.INT8, -128),
        ((1 << 64) - 1, DataType.UINT64, (1 << 64) - 1),
        (True, DataType.BOOLEAN, True),
        ("läuft", DataType.STRING, "läuft"),
    ],
)
def test_what_fits_is_taken(value: Any, datatype: DataType, found: Any) -> None:
    assert (fitted(value, datatype), type(fitted(value, datatype))) == (found, type(found))


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (True, DataType.DOUBLE), (True, DataType.INT32), ("5", DataType.INT32), (5.0, DataType.INT32),
        (128, DataType.INT8), (-1, DataType.UINT8), (1 << 64, DataType.UINT64), (1, DataType.BOOLEAN),
        (math.nan, DataType.DOUBLE), (math.inf, DataType.FLOAT), (1e39, DataType.FLOAT), (10**400, DataType.DOUBLE),
        (5, DataType.STRING), ("ab", DataType.BYTES),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value: Any, datatype: DataType) -> None:
    with pytest.raises(ValueError, match=r"fit|is no|cannot be commanded"):
        fitted(value, datatype)


@given(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    st.one_of(st.sampled_from(DataType), st.integers(0, 40)),
)
def test_whatever_is_taken_is_what_the_plain_metric_says(value: Any, datatype: int) -> None:
    try:
        found = fitted(value, datatype)
    except ValueError:
        return
    action = WriteTag(device="press", tag="setpoint", value=found)
    message = command_message(AGENT, action, datatype, "", 1000)
    (plain,) = commanded(message.payload, KEYS).plain.values()
    bits = 64 if datatype in (DataType.INT64, DataType.DATETIME) else 32
    signed = datatype in (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64, DataType.DATETIME)
    if signed and plain >= 1 << (bits - 1):
        plain -= 1 << bits
    assert plain == (pytest.approx(found, rel=1e-6, abs=1e-44) if datatype == DataType.FLOAT else found)


def test_a_command_goes_to_its_device_and_the_rest_to_the_node() -> None:
    run = command_message(AGENT, RunCommand(device="press", command="start"), None, "sealed", 1000)
    assert run.topic == "spBv1.0/plant/DCMD/line-1/press"
    answer = TimeAnswer(agent="plant/line-1", nonce="a" * 32, time_ms=5, journal="b" * 32, number=3, restored=True)
    time = time_message(AGENT, KEY, answer)
    assert (time.topic, commanded(time.payload, KEYS).time) == ("spBv1.0/plant/NCMD/line-1", answer)
    cancel = cancel_message(AGENT, KEY, '{"id": "x", "reason": "ü"}', 1000)
    assert commanded(cancel.payload, KEYS).cancel == {"id": "x", "reason": "ü"}
