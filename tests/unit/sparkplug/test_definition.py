"""What a definition tells of a metric comes back, and one that tells nothing new keeps its hash."""

from __future__ import annotations

import math

import pytest

from connectors.model.datatypes import DataType
from connectors.model.tags import DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.definition import make_definition, read_definition


def definition(limits: tuple[float, float] | None) -> DeviceDefinition:
    speed = MetricDefinition(16384, TagName("speed"), DataType.DOUBLE, "1/min", "of the ram", limits)
    return make_definition(DeviceName("press"), [speed, MetricDefinition(16385, TagName("on"), DataType.BOOLEAN)])


def test_a_definition_without_limits_has_the_hash_that_it_always_had() -> None:
    assert definition(None).hash == "5e41028c85303712d001de82f8e1fd02"


def test_limits_are_the_properties_that_hosts_show_and_come_back() -> None:
    made = definition((5.0, 60.0))
    assert read_definition(made.body) == made
    told = pb.Payload.FromString(made.body).metrics[1].properties
    limits = {
        key: (value.type, value.double_value)
        for key, value in zip(told.keys, told.values, strict=True)
        if key.startswith("eng") and key != "engUnit"
    }
    assert limits == {"engLow": (DataType.DOUBLE, 5.0), "engHigh": (DataType.DOUBLE, 60.0)}
    assert definition((5.0, 61.0)).hash != made.hash


@pytest.mark.parametrize("limits", [(math.nan, 1.0), (0.0, math.inf), (2.0, 1.0)])
def test_numbers_that_cannot_be_limits_are_none(limits: tuple[float, float]) -> None:
    assert read_definition(definition(limits).body).metrics[0].limits is None
