"""Tags that a driver finds on its device are tags like those that the device file names."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connectors.model.datatypes import DataType
from connectors.model.quality import GOOD
from connectors.model.report_by_exception import ReportRule
from connectors.model.tags import TagName, TagType
from connectors.ports.device import Acquisition, FoundTag
from connectors.ports.settings import DerivedTagSettings
from edge_agent.buffer.rows import Kind, Lane
from tests.unit.acquisition.device_at_work import TAGS, Bench, PlayedDriver, doubles, running, types
from tests.virtual_time import virtual_time

ALWAYS = ReportRule(always=True)


def found(*names: str, rule: ReportRule = ALWAYS, is_alarm: bool = False) -> list[FoundTag]:
    return [FoundTag(TagName(name), rule, is_alarm) for name in names]


def known(index: int, name: str) -> TagType:
    return TagType(index, TagName(name), DataType.DOUBLE)


@virtual_time
async def test_samples_of_found_tags_are_stored_beside_the_others(tmp_path: Path) -> None:
    async def find(acquisition: Acquisition) -> None:
        acquisition.tags_found(found("oven/t1", "oven/t2"))
        await acquisition.online([*types("force"), known(3, "oven/t1"), known(4, "oven/t2")], [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(4, 2.0))
        acquisition.tags_found(found("oven/t3"))
        await acquisition.online([*types("force"), known(4, "oven/t2"), known(5, "oven/t3")], [])
        await acquisition.put(doubles(5, 3.0))
        await acquisition.put(doubles(4, 2.5))

    bench = Bench(tmp_path, PlayedDriver(find))
    async with running(bench):
        await asyncio.sleep(2.0)
        assert bench.values == [1.0, 2.0, 3.0, 2.5]
        assert bench.device.tag_names == (*TAGS, "oven/t1", "oven/t2", "oven/t3")
        newest = bench.listener.definitions[-1]
        names = {metric.alias: metric.name for metric in newest.metrics}
        values = {names[alias]: value.value for alias, value in bench.device.values().items() if value.quality == GOOD}
        assert values == {"force": 1.0, "oven/t2": 2.5, "oven/t3": 3.0}


@virtual_time
async def test_a_found_tag_is_reported_by_its_own_rule_and_the_file_s_tags_as_before(tmp_path: Path) -> None:
    async def find(acquisition: Acquisition) -> None:
        acquisition.tags_found(found("slow", rule=ReportRule(interval_s_min=5.0)))
        acquisition.tags_found(found("quiet", rule=ReportRule(deadband_absolute=1.0)))
        await acquisition.online([*types("force"), known(3, "slow"), known(4, "quiet")], [])
        for tag, value in [(0, 1.0), (0, 1.0), (3, 10.0), (3, 11.0), (4, 20.0), (4, 20.5), (4, 22.0)]:
            await acquisition.put(doubles(tag, value))

    bench = Bench(tmp_path, PlayedDriver(find))
    async with running(bench):
        await asyncio.sleep(2.0)
        assert bench.values == [1.0, 1.0, 10.0, 20.0, 22.0], "the file's tag reports all, the others what they are to"
        await asyncio.sleep(6.0)
        assert bench.values[5:] == [11.0], "held back until its time had come"


@virtual_time
async def test_alarms_among_found_tags_leave_first(tmp_path: Path) -> None:
    async def find(acquisition: Acquisition) -> None:
        acquisition.tags_found(found("trip", is_alarm=True))
        await acquisition.online([*types("force"), known(3, "trip")], [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(3, 2.0))

    bench = Bench(tmp_path, PlayedDriver(find))
    async with running(bench):
        await asyncio.sleep(2.0)
        rows = [row for row in bench.rows if row.kind is Kind.SAMPLES]
        assert {row.lane: row.parts[0].value.tolist() for row in rows} == {Lane.SAMPLES: [1.0], Lane.ALARMS: [2.0]}


@virtual_time
async def test_tags_are_found_beside_those_that_are_derived(tmp_path: Path) -> None:
    async def find(acquisition: Acquisition) -> None:
        acquisition.tags_found(found("t1", "t2"))
        await acquisition.online([*types("force"), known(3, "t1"), known(4, "t2")], [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(4, 5.0))

    derived = DerivedTagSettings.model_validate({"name": TAGS[-1], "value": "2 * force"})
    bench = Bench(tmp_path, PlayedDriver(find), derived=[derived])
    async with running(bench):
        await asyncio.sleep(2.0)
        assert sorted(bench.values) == [1.0, 2.0, 5.0]
        assert (await bench.device.read(TAGS[-1])).value == 0.0
        assert (await bench.device.read("t2")).value == 0.0
        assert bench.device.tag_names == (*TAGS, "t1", "t2")
