"""Tags that are calculated from others of their device: when, with what time and quality, and in what type."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import BAD_CONFIGURATION_ERROR, BAD_NODE_ID_UNKNOWN, BAD_OUT_OF_RANGE, GOOD
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.ports.device import Acquisition, Reading, TagProblem
from connectors.ports.settings import DerivedTagSettings
from edge_agent.acquisition.derived import DerivedTags
from tests.unit.acquisition.device_at_work import TAGS, Bench, PlayedDriver, doubles, now_ns, running, types
from tests.virtual_time import virtual_time

UNCERTAIN, BAD = 0x4000, 0x8000
NAMES = ("a", "b", "state", "door")
TYPES = (DataType.DOUBLE, DataType.INT16, DataType.STRING, DataType.BOOLEAN)
DRIVER_TYPES = [TagType(at, TagName(name), kind) for at, (name, kind) in enumerate(zip(NAMES, TYPES, strict=True))]


def bound(**formulas: str) -> DerivedTags:
    found = derived(**formulas)
    assert found.bind(DRIVER_TYPES, [])[1] == []
    return found


def derived(**formulas: str) -> DerivedTags:
    settings = [DerivedTagSettings(name=name, value=value) for name, value in formulas.items()]
    return DerivedTags([*NAMES, *formulas], settings)


def batch(tag: str, *rows: tuple[int, Any] | tuple[int, Any, int]) -> SampleBatch:
    """Samples of one tag: (time, value) or (time, value, quality); ``None`` is no value."""
    return mixed(TYPES[NAMES.index(tag)], *((tag, *row) for row in rows))


def mixed(datatype: DataType, *rows: tuple[Any, ...]) -> SampleBatch:
    empty: Any = "" if datatype is DataType.STRING else 0
    return SampleBatch(
        datatype,
        np.array([NAMES.index(row[0]) for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([empty if row[2] is None else row[2] for row in rows], dtype_of(datatype)),
        np.array([row[3] if len(row) > 3 else GOOD for row in rows], np.uint16),
        np.array([row[2] is None for row in rows]),
    )


def said(batches: Sequence[SampleBatch]) -> list[tuple[int, int, Any, int]]:
    return [row for one in batches for row in one.rows()]


def test_each_sample_of_an_input_makes_one_by_the_newest_values_of_the_others() -> None:
    tags = bound(total="a + b")
    assert said(tags.derive(batch("a", (10, 1.5)))) == [], "nothing is known of 'b' yet"
    assert said(tags.derive(batch("b", (20, 2), (30, 3)))) == [(4, 20, 3.5, GOOD), (4, 30, 4.5, GOOD)]
    assert said(tags.derive(batch("a", (40, 10.0)))) == [(4, 40, 13.0, GOOD)]


def test_samples_of_one_time_make_one_value() -> None:
    tags = bound(both="a > 1 and a * 2 > 4")
    doubled = bound(total="a + if(a > 0, a, 0)")
    assert said(doubled.derive(mixed(DataType.DOUBLE, ("a", 5, 1.0), ("a", 5, 2.0)))) == [(4, 5, 4.0, GOOD)]
    assert said(tags.derive(batch("a", (5, 3.0)))) == [(4, 5, True, GOOD)]


def test_the_quality_is_the_worst_of_the_inputs_and_a_bad_input_without_value_leaves_none() -> None:
    tags = bound(total="a + b")
    tags.derive(batch("b", (1, 1, UNCERTAIN)))
    rows = said(tags.derive(batch("a", (2, 1.0), (3, 2.0, BAD), (4, None, BAD), (5, 3.0))))
    assert rows == [(4, 2, 2.0, UNCERTAIN), (4, 3, 3.0, BAD), (4, 4, None, BAD), (4, 5, 4.0, UNCERTAIN)]


def test_a_value_that_there_is_not_is_bad_although_all_inputs_are_good() -> None:
    assert said(bound(share="1 / a").derive(batch("a", (1, 0.0), (2, 4.0)))) == [
        (4, 1, None, BAD_OUT_OF_RANGE),
        (4, 2, 0.25, GOOD),
    ]


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        (DataType.INT16, 7.6, 8),
        (DataType.INT16, -40_000.0, None),
        (DataType.UINT64, 2.0**64, None),
        (DataType.UINT64, 2.0**63, 2**63),
        (DataType.INT64, -(2.0**63), -(2**63)),
        (DataType.INT64, 2.0**63, None),
        (DataType.FLOAT, 1e300, None),
        (DataType.FLOAT, 0.5, 0.5),
    ],
)
def test_a_value_that_its_type_does_not_hold_is_bad(datatype: DataType, value: float, expected: Any) -> None:
    tags = DerivedTags([*NAMES, "d"], [DerivedTagSettings(name="d", value="a * 1", type=datatype)])
    found, _ = tags.bind(DRIVER_TYPES, [])
    assert found[-1].datatype is datatype
    assert said(tags.derive(batch("a", (1, value)))) == [(4, 1, expected, GOOD if expected else BAD_OUT_OF_RANGE)]


def test_derived_tags_of_derived_tags_are_calculated_in_their_order_whatever_the_order_of_the_file() -> None:
    tags = bound(last="middle + 1", middle="first * 2", first="a + b")
    tags.derive(batch("b", (1, 1)))
    assert said(tags.derive(batch("a", (2, 1.0), (3, 2.0)))) == [
        (6, 2, 2.0, GOOD), (6, 3, 3.0, GOOD), (5, 2, 4.0, GOOD), (5, 3, 6.0, GOOD),
        (4, 2, 5.0, GOOD), (4, 3, 7.0, GOOD),
    ]  # fmt: skip


def test_types_follow_from_the_formula() -> None:
    tags = derived(n="a + b", t="state == run", s="if(door, state, closed)")
    found, problems = tags.bind(DRIVER_TYPES, [])
    assert [one.datatype for one in found[4:]] == [DataType.DOUBLE, DataType.BOOLEAN, DataType.STRING]
    assert problems == []


def test_a_tag_whose_input_is_wrong_or_of_another_kind_has_a_problem_and_no_value() -> None:
    tags = derived(total="a + b", odd="state * 2", further="odd + 1", fine="b * 2")
    missing = TagProblem(TagName("a"), "the device has no such register", BAD_NODE_ID_UNKNOWN)
    found, problems = tags.bind(DRIVER_TYPES[1:], [missing])
    assert [str(one.name) for one in found] == ["b", "state", "door", "fine"]
    assert {str(one.tag): one.quality for one in problems} == {
        "a": BAD_NODE_ID_UNKNOWN, "total": BAD_NODE_ID_UNKNOWN, "odd": BAD_CONFIGURATION_ERROR,
        "further": BAD_CONFIGURATION_ERROR,
    }  # fmt: skip
    reasons = {str(one.tag): one.reason for one in problems}
    assert reasons["total"] == "its input 'a' has a problem: the device has no such register"
    assert reasons["odd"] == "'state * 2': it calculates with a text"
    assert said(tags.derive(batch("b", (1, 4)))) == [(7, 1, 8.0, GOOD)]


def test_after_the_device_was_away_each_input_has_to_come_anew() -> None:
    tags = bound(total="a + b")
    tags.derive(batch("b", (1, 1)))
    tags.forget()
    assert said(tags.derive(batch("a", (2, 1.0)))) == []


async def test_it_is_read_by_reading_its_inputs() -> None:
    tags = bound(total="a + b", more="total * 10")

    async def read(index: int) -> Reading:
        return Reading([1.5, 2][index], [GOOD, UNCERTAIN][index], [7, 9][index])

    assert await tags.read(5, read) == Reading(35.0, UNCERTAIN, 9)


@virtual_time
async def test_at_a_device_it_is_stored_like_any_tag_and_cannot_be_written(tmp_path: Path) -> None:
    async def act(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, 2.0))
        await acquisition.put(doubles(1, 3.0))

    driver = PlayedDriver(act)
    bench = Bench(tmp_path, driver, derived=[DerivedTagSettings(name="state", value="force * speed")])
    async with running(bench):
        await asyncio.sleep(1.0)
        assert sorted(bench.values) == [2.0, 3.0, 6.0]
        current = bench.device.current.of(TAGS.index("state"))
        assert current is not None
        assert current.value == 6.0
        driver.written += [(0, 5.0), (1, 0.5)]
        assert (await bench.device.read("state")).value == 2.5
        with pytest.raises(ValueError, match="press/state is calculated from other tags"):
            await bench.device.write("state", 1.0)


@virtual_time
async def test_what_is_missing_of_an_input_is_declared_missing_of_what_is_calculated_from_it(tmp_path: Path) -> None:
    async def act(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, 2.0))
        await asyncio.sleep(1.0)
        acquisition.lost(np.array([0], np.int32), np.array([now_ns()], np.int64))
        await acquisition.put(doubles(0, 3.0))

    bench = Bench(tmp_path, PlayedDriver(act), derived=[DerivedTagSettings(name="state", value="force * 2")])
    async with running(bench):
        await asyncio.sleep(2.0)
        assert [gap["tags"] for gap in bench.gaps if gap["tags"]] == [["force", "state"]]
