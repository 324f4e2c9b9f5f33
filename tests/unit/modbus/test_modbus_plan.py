"""Blocks read every tag once, whole, and no more than the device file allows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.modbus.plan import Block, coalesce, one_by_one, planned_tags, scan_classes, tag_types
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType

TYPES = ["int16", "uint16", "int32", "uint32", "float", "int64", "uint64", "double"]


def device(tags: list[dict[str, Any]], **settings: Any) -> ModbusDevice:
    numbered = [{"name": f"t{index}"} | tag for index, tag in enumerate(tags)]
    return ModbusDevice.model_validate(
        {"name": "d", "driver": "modbus", "endpoint": "tcp://plc.local:502", "tags": numbered} | settings
    )


REGISTER_TAGS = st.builds(
    lambda table, address, kind: {"at": f"{table} {address}", "type": kind},
    st.sampled_from(["holding", "input"]),
    st.integers(0, 400),
    st.sampled_from(TYPES),
)
BIT_TAGS = st.builds(
    lambda table, address: {"at": f"{table} {address}"}, st.sampled_from(["coil", "discrete"]), st.integers(0, 4000)
)
STRING_TAGS = st.builds(
    lambda address, length: {"at": f"holding {address}", "type": "string", "length": length},
    st.integers(0, 400),
    st.integers(1, 250),
)


def end(block: Block) -> int:
    return block.address + block.count


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(
    st.lists(st.one_of(REGISTER_TAGS, BIT_TAGS, STRING_TAGS), min_size=1, max_size=40),
    st.integers(0, 20),
    st.integers(1, 125),
)
def test_blocks_hold_every_tag_once_and_keep_the_limits(tags: list[dict[str, Any]], hole: int, longest: int) -> None:
    planned = planned_tags(device(tags))
    blocks = coalesce(planned, hole, longest)
    assert sorted(tag.index for block in blocks for tag in block.tags) == list(range(len(tags)))
    for block in blocks:
        unit = 16 if block.is_bits else 1
        assert len(block.tags) == 1 or block.count <= longest * unit
        assert block.count <= (2000 if block.is_bits else 125)
        assert block.address == min(tag.address for tag in block.tags)
        assert end(block) == max(tag.address + tag.count for tag in block.tags)
        assert {tag.table for tag in block.tags} == {block.table}
        used = {at for tag in block.tags for at in range(tag.address, tag.address + tag.count)}
        gaps = [at for at in range(block.address, end(block)) if at not in used]
        runs = [at for at in gaps if at - 1 not in gaps]
        assert all(any(at + ahead in used for ahead in range(hole * unit + 1)) for at in runs)
    for left, right in pairwise(blocks):
        if left.table == right.table:
            unit = 16 if left.is_bits else 1
            first = right.tags[0]
            too_far = first.address - end(left) > hole * unit
            too_long = max(end(left), first.address + first.count) - left.address > longest * unit
            assert too_far or too_long


def test_neighbours_share_a_block_and_a_wide_hole_ends_it() -> None:
    tags = [{"at": "holding 10", "type": "float"}, {"at": "holding 12"}, {"at": "holding 21"}, {"at": "holding 31"}]
    blocks = coalesce(planned_tags(device(tags)), 8, 125)
    assert [(block.address, block.count) for block in blocks] == [(10, 12), (31, 1)]
    assert [block.place for block in blocks] == ["holding 10 to 21", "holding 31"]


def test_two_thousand_bits_are_one_block_and_one_more_is_another() -> None:
    tags = [{"at": f"coil {at}"} for at in range(2001)]
    blocks = coalesce(planned_tags(device(tags)), 8, 125)
    assert [(block.address, block.count, block.byte_count) for block in blocks] == [(0, 2000, 250), (2000, 1, 1)]


def test_a_value_longer_than_the_longest_block_is_read_whole() -> None:
    tags: list[dict[str, Any]] = [{"at": "holding 0", "type": "string", "length": 40}, {"at": "holding 20"}]
    blocks = coalesce(planned_tags(device(tags)), 8, 10)
    assert [(block.address, block.count) for block in blocks] == [(0, 20), (20, 1)]


def test_tags_are_read_in_classes_of_one_interval() -> None:
    tags = [{"at": "holding 0"}, {"at": "holding 1", "poll": "100ms"}, {"at": "holding 2", "poll": "1s"}]
    classes = scan_classes(planned_tags(device(tags, poll="1s")))
    assert {interval_s: [tag.index for tag in members] for interval_s, members in classes.items()} == {
        0.1: [1],
        1.0: [0, 2],
    }
    assert list(classes) == [0.1, 1.0]


def test_the_reported_type_of_a_scaled_number_is_double() -> None:
    tags: list[dict[str, Any]] = [
        {"at": "holding 0", "scale": 0.1, "unit": "°C"},
        {"at": "holding 1"},
        {"at": "holding 2.3"},
    ]
    types = tag_types(device(tags))
    assert [(each.index, each.datatype, each.unit) for each in types] == [
        (0, DataType.DOUBLE, "°C"),
        (1, DataType.UINT16, ""),
        (2, DataType.BOOLEAN, ""),
    ]


def test_a_unit_that_answers_nothing_longer_is_asked_for_each_place_alone() -> None:
    places = ["holding 2", "holding 1", "holding 1.3", "holding 1.4", "coil 7", "coil 8"]
    tags = planned_tags(device([{"at": at} for at in places] + [{"at": "holding 1", "type": "int32"}]))
    blocks = one_by_one(tags)
    assert [(block.place, [tag.index for tag in block.tags]) for block in blocks] == [
        ("coil 7", [4]),
        ("coil 8", [5]),
        ("holding 1", [1, 2, 3]),
        ("holding 1 to 2", [6]),
        ("holding 2", [0]),
    ]


def test_what_may_be_written_is_told_of_a_tag_and_of_others_nothing() -> None:
    tags = [
        {"at": "holding 1", "writable": {"min": 0, "max": 250}},
        {"at": "holding 2"},
        {"at": "coil 1", "writable": True},
    ]
    assert [tag.limits for tag in tag_types(device(tags))] == [(0.0, 250.0), None, None]


@pytest.mark.parametrize("setting", ["max_hole", "max_block"])
def test_limits_of_blocks_mean_nothing_where_there_are_none(setting: str) -> None:
    with pytest.raises(ValidationError, match="no two places are read together"):
        device([{"at": "holding 0"}], one_request_per_tag=True, **{setting: 1})
