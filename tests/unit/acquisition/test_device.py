"""One device: its driver is kept running, its absences are declared once, its samples go to the disk under their names.

Gaps have tests of their own, in test_absences.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, WriteUncertain
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, GOOD
from connectors.model.report_by_exception import ReportRule
from connectors.model.tags import DeviceDefinition, TagName
from connectors.observability.events import Event
from connectors.ports.device import Acquisition, DeviceWriter, TagProblem
from connectors.sparkplug.definition import read_definition
from edge_agent.acquisition import told_problems
from edge_agent.acquisition.device import RETRY_LONGEST_S, STEADY_S
from edge_agent.buffer.rows import Kind
from edge_agent.observability.device_events import TagDoubted, TagsBound
from tests.unit.acquisition.device_at_work import (
    ALWAYS,
    TAGS,
    Bench,
    PlayedDriver,
    connected,
    doubles,
    lost,
    now_ns,
    refused,
    running,
    types,
)
from tests.virtual_time import START_NS, virtual_time


@virtual_time
async def test_the_waits_grow_up_to_a_limit_and_begin_anew_after_a_steady_time(tmp_path: Path) -> None:
    driver = PlayedDriver(*[refused() for _ in range(12)], lost(1.0, after_s=STEADY_S + 1), connected())
    bench = Bench(tmp_path, driver)
    async with running(bench):
        await asyncio.sleep(1000.0)
    waits_s = np.diff(driver.connects_s)
    assert all(0.5 * bound_s <= wait_s <= bound_s for wait_s, bound_s in zip(waits_s, (1, 2, 4, 8, 16), strict=False))
    assert all(0.5 * RETRY_LONGEST_S <= wait_s <= RETRY_LONGEST_S for wait_s in waits_s[5:12])
    assert 0.5 <= waits_s[12] - (STEADY_S + 1) <= 1.0


@virtual_time
async def test_a_device_that_comes_and_goes_is_asked_less_and_less_often(tmp_path: Path) -> None:
    driver = PlayedDriver(*[lost(1.0, after_s=1.0) for _ in range(12)])
    async with running(Bench(tmp_path, driver)):
        await asyncio.sleep(1000.0)
    assert all(0.5 * RETRY_LONGEST_S <= wait_s - 1.0 <= RETRY_LONGEST_S for wait_s in np.diff(driver.connects_s)[5:])


@virtual_time
async def test_a_driver_that_names_its_wait_is_believed(tmp_path: Path) -> None:
    driver = PlayedDriver(refused(), refused(42.0), refused(0.25), connected())
    async with running(Bench(tmp_path, driver)):
        await asyncio.sleep(100.0)
    assert np.diff(driver.connects_s)[1:].tolist() == [42.0, 0.25]


@virtual_time
async def test_a_defect_of_a_driver_is_a_reason_and_no_end(tmp_path: Path) -> None:
    async def defect(acquisition: Acquisition) -> None:
        raise ValueError("no such register")

    async def samples_without_tags(acquisition: Acquisition) -> None:
        await acquisition.put(doubles(0, 1.0))

    bench = Bench(tmp_path, PlayedDriver(defect, samples_without_tags, connected(5.0)))
    async with running(bench):
        await asyncio.sleep(0.1)
        assert bench.device.offline_reason == "press: unexpected ValueError: no such register"
        await asyncio.sleep(60.0)
        assert bench.values == [5.0]


class Keeping(PlayedDriver):
    """Has its device keep something while there is no connection."""

    left = 0

    async def leave(self) -> None:
        self.left += 1


@virtual_time
async def test_a_driver_whose_device_keeps_something_leaves_it_when_it_is_stopped_and_not_before(
    tmp_path: Path,
) -> None:
    driver = Keeping(lost(1.0), refused(), lost(2.0))
    async with running(Bench(tmp_path, driver)):
        await asyncio.sleep(100.0)
        assert driver.left == 0
    assert driver.left == 1


@virtual_time
async def test_a_full_disk_delays_the_device_and_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(connected(5.0)))
    bench.writer.failures = 3
    async with running(bench):
        await asyncio.sleep(0.5)
        assert (bench.device.is_online, bench.device.offline_reason) == (False, "the disk is full")
        await asyncio.sleep(5.0)
        assert (bench.device.is_online, bench.values) == (True, [5.0])


@virtual_time
async def test_samples_are_stored_under_aliases_that_stay_when_tags_come_later(tmp_path: Path) -> None:
    async def one_then_all(acquisition: Acquisition) -> None:
        problem = TagProblem(TagName("force"), "the server has no such node", BAD_NODE_ID_UNKNOWN)
        await acquisition.online(types("speed"), [problem])
        await acquisition.put(doubles(1, 10.0))
        await asyncio.sleep(1.0)
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(1, 11.0))

    bench = Bench(tmp_path, PlayedDriver(one_then_all))
    async with running(bench):
        await asyncio.sleep(0.5)
        assert [problem.tag for problem in bench.device.problems] == ["force"]
        await asyncio.sleep(2.0)
        assert bench.device.problems == ()
        read: list[tuple[str, Any]] = []
        definitions: dict[str, DeviceDefinition] = {}
        for row in bench.rows:
            if row.kind is Kind.DEFINITION:
                definitions[row.definition] = read_definition(row.record)
            elif row.kind is Kind.SAMPLES:
                names = {metric.alias: metric.name for metric in definitions[row.definition].metrics}
                read += [(names[alias], value) for part in row.parts for alias, _, value, _ in part.rows()]
        assert read == [("speed", 10.0), ("force", 1.0), ("speed", 11.0)]
        one, both = definitions.values()
        assert set(one.metrics) < set(both.metrics)
        assert {alias: value.value for alias, value in bench.device.values().items()} == {
            metric.alias: {"force": 1.0, "speed": 11.0}[metric.name] for metric in both.metrics
        }
    assert [definition.hash for definition in bench.listener.definitions] == [one.hash, both.hash]


@virtual_time
async def test_word_of_samples_that_change_nothing_comes_after_what_was_handed_over_before(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, PlayedDriver(connected()), {0: ReportRule(deadband_absolute=5.0), 1: ReportRule(always=True)}
    )
    said: list[str] = []
    async with running(bench):
        await asyncio.sleep(0.5)
        await bench.device.put(doubles(0, 1.0))
        await asyncio.sleep(0.5)
        await bench.device.put(doubles(0, 100.0))
        await bench.device.put(doubles(0, 101.0), lambda: said.append("all of it is on disk"))
        assert said == [], "the first half of the response is not on disk yet"
        await asyncio.sleep(0.5)
        assert said == ["all of it is on disk"]
        await bench.device.put(doubles(0, 102.0), lambda: said.append("nothing to wait for"))
        assert said[1:] == ["nothing to wait for"]
        assert bench.values == [1.0, 100.0]


@virtual_time
async def test_a_value_that_was_held_back_is_handed_over_when_its_time_has_come(tmp_path: Path) -> None:
    rules = {0: ReportRule(always=False, interval_s_min=2.0)}
    bench = Bench(tmp_path, PlayedDriver(connected(1.0, 2.0, 3.0)), rules)
    async with running(bench):
        await asyncio.sleep(1.0)
        assert bench.values == [1.0]
        await asyncio.sleep(1.5)
        assert bench.values == [1.0, 3.0]
        assert bench.device.current.of(0).value == 3.0  # type: ignore[union-attr]


@virtual_time
async def test_a_value_that_was_held_back_at_the_loss_is_stored_and_does_not_end_the_absence(tmp_path: Path) -> None:
    rules = {0: ReportRule(interval_s_min=10.0)}
    driver = PlayedDriver(lost(1.0, 2.0), *[refused() for _ in range(100)], connected(9.0))
    bench = Bench(tmp_path, driver, rules)
    async with running(bench):
        await asyncio.sleep(600.0)
        assert (bench.values, bench.gaps, len(bench.outbox.open_gaps())) == ([1.0, 2.0], [], 1)
        await asyncio.sleep(3000.0)
        (gap,) = bench.gaps
        assert (gap["last_ns"] - START_NS) / 1e9 == pytest.approx(driver.connects_s[-1])
        assert bench.values == [1.0, 2.0, 9.0]


@virtual_time
async def test_a_value_that_was_held_back_keeps_the_type_that_it_had(tmp_path: Path) -> None:
    async def becomes_a_whole_number(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(0, 2.0))
        await acquisition.online(types("force", datatype=DataType.INT32), [])

    bench = Bench(tmp_path, PlayedDriver(becomes_a_whole_number), {0: ReportRule(interval_s_min=10.0)})
    async with running(bench):
        await asyncio.sleep(60.0)
        assert bench.values == [1.0, 2.0]
        for row in bench.rows:
            definition = bench.outbox.definition(row.definition)
            for part in row.parts:
                assert definition is not None
                known = {metric.alias: metric.datatype for metric in definition.metrics}
                assert {known[alias] for alias in part.tag.tolist()} == {part.datatype}


def of_speed(bench: Bench) -> list[tuple[Any, int]]:
    """(value, quality) of the samples of the tag ``speed``, each read with the definition that it names."""
    found: list[tuple[Any, int]] = []
    for row in bench.rows:
        definition = bench.outbox.definition(row.definition)
        for part in row.parts:
            assert definition is not None
            names = {metric.alias: metric.name for metric in definition.metrics}
            found += [(value, quality) for alias, _, value, quality in part.rows() if names[alias] == "speed"]
    return found


@virtual_time
async def test_a_tag_in_doubt_goes_on_also_where_its_type_has_become_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    monkeypatch.setattr(told_problems, "emit", told.append)
    doubt = TagProblem(TagName("speed"), "the device file says 'type: double', and the server an Int32", GOOD)

    async def becomes_a_whole_number(acquisition: Acquisition) -> None:
        await acquisition.online(types("speed"), [])
        await acquisition.put(doubles(1, 50.0))
        await asyncio.sleep(1.0)
        for _ in range(2):
            await acquisition.online(types("speed", datatype=DataType.INT32), [doubt])

    bench = Bench(tmp_path, PlayedDriver(becomes_a_whole_number), ALWAYS)
    async with running(bench):
        await asyncio.sleep(5.0)
        assert of_speed(bench) == [(50.0, 0)]
    assert told == [TagsBound("press", 0), TagsBound("press", 0), TagDoubted("press", "speed", doubt.reason),
                    TagsBound("press", 0)]  # fmt: skip


@virtual_time
async def test_a_tag_that_cannot_be_read_any_more_gets_a_sample_without_value(tmp_path: Path) -> None:
    gone = TagProblem(TagName("speed"), "the server has no such node", BAD_NODE_ID_UNKNOWN)
    ahead_ns = 60_000_000_000

    async def both_then_one_then_both(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(1, 50.0, time_ns=now_ns() + ahead_ns))
        await asyncio.sleep(1.0)
        for _ in range(2):
            await acquisition.online(types("force"), [gone])
            await asyncio.sleep(1.0)
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(1, 50.0, time_ns=now_ns() + ahead_ns))

    bench = Bench(tmp_path, PlayedDriver(both_then_one_then_both), {1: ReportRule(deadband_absolute=5.0)})
    async with running(bench):
        await asyncio.sleep(1.5)
        assert of_speed(bench) == [(50.0, 0), (None, BAD_NODE_ID_UNKNOWN)]
        *_, last = (row.parts[0] for row in bench.rows if row.kind is Kind.SAMPLES)
        assert last.time_ns[0] > START_NS + ahead_ns, "newer than the last value, whatever the device's clock says"
        current = bench.device.current.of(1)
        assert current is not None
        assert (current.value, current.quality) == (None, BAD_NODE_ID_UNKNOWN)
        await asyncio.sleep(5.0)
        assert of_speed(bench) == [(50.0, 0), (None, BAD_NODE_ID_UNKNOWN), (50.0, 0)]

    async def one(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [gone])

    again = Bench(tmp_path, PlayedDriver(one))
    again.resume()
    async with running(again):
        await asyncio.sleep(1.0)
        assert of_speed(again)[3:] == [(None, BAD_NODE_ID_UNKNOWN)], "gone while the agent did not run"
        assert again.gaps == [], "the word on one tag is no sample of the device"


@virtual_time
async def test_values_of_a_device_that_is_away_are_stale_in_a_birth(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(7.0), refused(3600.0)))
    async with running(bench):
        await asyncio.sleep(0.5)
        assert [(value.value, value.stale) for value in bench.device.values().values()] == [(7.0, False)]
        await asyncio.sleep(5.0)
        assert [(value.value, value.stale) for value in bench.device.values().values()] == [(7.0, True)]


@virtual_time
async def test_a_write_goes_to_the_tag_by_its_name_and_a_call_as_it_is(tmp_path: Path) -> None:
    driver = PlayedDriver(connected(1.0))
    bench = Bench(tmp_path, driver)
    async with running(bench):
        await asyncio.sleep(1.0)
        device: DeviceWriter = bench.device
        await device.write("state", 7)
        assert (driver.written, (await device.read("state")).value) == ([(TAGS.index("state"), 7)], 7)
        assert await bench.device.call("s=Press.Start", [3, "slow"]) == (3, "slow")
        assert driver.called == [("s=Press.Start", (3, "slow"))]
        for work in (bench.device.write("forc", 1.0), bench.device.read("forc")):
            with pytest.raises(ValueError, match="press has no tag 'forc'"):
                await work
        driver.answer = WriteUncertain("press: no answer")
        with pytest.raises(WriteUncertain, match="no answer"):
            await bench.device.write("force", 2.0)


@virtual_time
async def test_nothing_is_sent_to_a_device_that_is_not_connected(tmp_path: Path) -> None:
    driver = PlayedDriver(lost(1.0), refused())
    bench = Bench(tmp_path, driver)
    async with running(bench):
        with pytest.raises(DeviceUnavailable, match="not connected yet"):
            await bench.device.write("force", 2.0)
        await asyncio.sleep(1.1)
        for work in (bench.device.write("force", 2.0), bench.device.read("force"), bench.device.call("s=Start", [])):
            with pytest.raises(DeviceUnavailable, match="the cable is out"):
                await work
    assert (driver.written, driver.called) == ([], [])
