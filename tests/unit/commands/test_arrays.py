"""Arrays and structures, texts in JSON: what of them may be written, and when what is read back is what was written."""

from __future__ import annotations

import pytest

from connectors.commands.refusals import Refusal
from connectors.model.datatypes import DataType
from connectors.opcua.settings import OpcUaDevice
from edge_agent.commands.targets import Refused, Targets


def targets(scale: float = 1, **writable: float) -> Targets:
    entry = {
        "name": "press", "driver": "opcua", "endpoint": "opc.tcp://press", "insecure": True,
        "tags": [
            {"name": "zones", "at": "ns=2;s=Zones", "scale": scale, "writable": {"min": 0, "max": 300, **writable}}
        ],
    }  # fmt: skip
    return Targets([OpcUaDevice.model_validate(entry)])


@pytest.mark.parametrize(
    ("wanted", "seen", "is_held"),
    [
        ("[1, 2]", "[1.0, 2.0]", True),
        ("[0.1]", "[0.10000000149011612]", True),
        ('["a", true]', '["a",true]', True),
        ("[]", "[]", True),
        ("[1, 2]", "[1.0, 2.01]", False),
        ("[1, 2]", "[1.0]", False),
        ("[1]", "[true]", False),
        ("[1]", "[null]", False),
        ("[1]", "[1", False),
        ("1", "1.0", False),
        ("[1000001]", "[1000002]", False),
        ('{"A": [1], "B": {"C": "x"}}', '{"B": {"C": "x"}, "A": [1.0]}', True),
        ('{"A": 1}', '{"A": 1, "B": 2}', False),
        ('{"A": 1}', "[1]", False),
    ],
)
def test_an_array_is_held_whose_elements_are_those_that_were_written(wanted: str, seen: str, is_held: bool) -> None:
    assert targets().is_held("press", "zones", wanted, seen, DataType.STRING) is is_held


@pytest.mark.parametrize(("wanted", "seen"), [(0.35, 0.4), (0.25, 0.2), (2.85, 2.8), (-0.35, -0.4), (28, 28.0)])
def test_a_scaled_number_is_held_within_half_a_step(wanted: float, seen: float) -> None:
    found = targets(scale=0.1)
    assert found.is_held("press", "zones", wanted, seen, DataType.DOUBLE)
    assert not found.is_held("press", "zones", wanted, seen + 0.2, DataType.DOUBLE)
    assert not found.is_held("press", "zones", wanted, seen - 0.2, DataType.DOUBLE)


def test_the_tolerance_is_that_of_each_element() -> None:
    assert targets(readback=0.5).is_held("press", "zones", "[1, 2]", "[1.4, 2.0]", DataType.STRING)
    assert not targets(readback=0.5).is_held("press", "zones", "[1, 2]", "[1.6, 2.0]", DataType.STRING)


def test_each_number_has_to_be_within_the_limits() -> None:
    def judged(value: str) -> Refused | None:
        return targets().value_problem("press", "zones", value, DataType.STRING)

    assert judged("[0, 300]") is None
    assert judged("no array") is None, "the driver says what it has to be"
    assert judged("[" * 60_000) is None
    assert judged("[0, 301]") == Refused(Refusal.OUT_OF_LIMITS, "press/zones: element 1 takes 0 to 300, and not 301")
