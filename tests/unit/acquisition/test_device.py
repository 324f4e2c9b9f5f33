"""One device: its driver is kept running, its absences are declared once, its samples go to the disk under their names.

The outbox is real; the driver is played, and time is virtual.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_NODE_ID_UNKNOWN
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagName, TagType
from connectors.ports.device import Acquisition, TagProblem
from connectors.sparkplug.definition import read_definition
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.acquisition.device import GAP_MARGIN_NS, RETRY_LONGEST_S, DeviceAcquisition
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from tests.inline_outbox import InlineReader, InlineWriter
from tests.virtual_time import START_NS, VirtualClock, virtual_time

PRESS = DeviceName("press")
TAGS = ("force", "speed", "state")
Act = Callable[[Acquisition], Awaitable[None]]
ALWAYS = dict.fromkeys(range(len(TAGS)), ReportRule(always=True))


class PlayedDriver:
    """Does one act a connect; after the last one it stays connected."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.connects_s: list[float] = []

    async def acquire(self, acquisition: Acquisition) -> None:
        self.connects_s.append(asyncio.get_running_loop().time())
        if self.acts:
            await self.acts.pop(0)(acquisition)
        await asyncio.Event().wait()

    def counts(self) -> Mapping[str, int]:
        return {}


class Listener:
    """Hears births and deaths."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.definitions: list[DeviceDefinition] = []

    def device_online(self, definition: DeviceDefinition) -> None:
        self.heard.append("online")
        self.definitions.append(definition)

    def device_offline(self, device: DeviceName) -> None:
        self.heard.append("offline")


class Bench:
    """A device at work, with everything that it hands its samples to."""

    def __init__(self, folder: Path, driver: PlayedDriver, rules: Mapping[int, ReportRule] = ALWAYS) -> None:
        self.clock = VirtualClock()
        self.writer = InlineWriter(folder)
        self.outbox = self.writer.outbox
        self.feed = Feed(cast(OutboxReader, None))
        settings = CollectorSettings(commit_interval_s=0.1, samples_pending_max=1000, payload_bytes_max=100_000)
        self.collector = Collector(cast(OutboxWriter, self.writer), self.feed, settings, self.clock)
        self.listener = Listener()
        self.device = DeviceAcquisition(
            PRESS,
            TAGS,
            driver,
            rules,
            writer=cast(OutboxWriter, self.writer),
            feed=self.feed,
            collector=self.collector,
            listener=self.listener,
            clock=self.clock,
        )

    def resume(self) -> None:
        """As the agent does at a start."""
        definition, newest_ns, stored_ns = self.outbox.device_states().get(PRESS, (None, None, None))
        known = self.outbox.definition(cast(DefinitionHash, definition)) if definition else None
        self.device.resume(known, newest_ns, stored_ns)

    @property
    def rows(self) -> list[StoredBatch]:
        return InlineReader(self.writer).rows()

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [json.loads(row.record) for row in self.rows if row.kind is Kind.GAP]

    @property
    def values(self) -> list[Any]:
        rows = [row for row in self.rows if row.kind is Kind.SAMPLES]
        return [value for row in rows for part in row.parts for value in part.value.tolist()]


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    collecting = asyncio.create_task(bench.collector.run())
    acquiring = asyncio.create_task(bench.device.run())
    try:
        yield
    finally:
        acquiring.cancel()
        await asyncio.wait([acquiring])
        bench.collector.stop()
        await collecting
        bench.outbox.close()


def types(*names: str, datatype: DataType = DataType.DOUBLE) -> list[TagType]:
    return [TagType(TAGS.index(name), TagName(name), datatype) for name in names]


def doubles(tag: int, *values: float, time_ns: int | None = None) -> SampleBatch:
    times = now_ns() if time_ns is None else time_ns
    size = len(values)
    return SampleBatch(DataType.DOUBLE, np.full(size, tag, np.int32), np.full(size, times, np.int64), np.array(values))


def now_ns() -> int:
    return START_NS + round(asyncio.get_running_loop().time() * 1e9)


def lost(*values: float, after_s: float = 1.0) -> Act:
    """Connect, hand these values over, and lose the connection."""

    async def act(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        for value in values:
            await acquisition.put(doubles(0, value))
        await asyncio.sleep(after_s)
        raise DeviceUnavailable("press: the cable is out")

    return act


def refused(retry_after_s: float | None = None) -> Act:
    """Never connect."""

    async def act(acquisition: Acquisition) -> None:
        raise DeviceUnavailable("press: nothing listens", retry_after_s)

    return act


def connected(*values: float) -> Act:
    """Connect, hand these values over, and stay."""

    async def act(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        for value in values:
            await acquisition.put(doubles(0, value))

    return act


@virtual_time
async def test_an_absence_is_declared_once_when_samples_are_there_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), refused(), refused(), refused(), connected(), connected()))
    async with running(bench):
        await asyncio.sleep(0.5)
        assert (bench.device.is_online, bench.gaps, bench.outbox.open_gaps()) == (True, [], {})
        sample_ns = START_NS
        await asyncio.sleep(2.0)
        (gap,) = bench.outbox.open_gaps().values()
        assert (gap.reason, gap.first_ns, gap.detail) == (
            "device_unavailable",
            sample_ns - GAP_MARGIN_NS,
            "press: the cable is out",
        )
        await asyncio.sleep(60.0)
        assert bench.device.is_online
        assert bench.gaps == [], "connected again, and no samples yet: the gap goes on"
        await bench.device.put(doubles(0, 2.0))
        closed_ns = now_ns()
        await bench.device.put(doubles(0, 3.0))
        await asyncio.sleep(1.0)
        (declared,) = bench.gaps
        assert (declared["device"], declared["reason"]) == ("press", "device_unavailable")
        assert (declared["first_ns"], declared["last_ns"]) == (sample_ns - GAP_MARGIN_NS, closed_ns)
        assert bench.outbox.open_gaps() == {}
    assert bench.listener.heard == ["online", "offline", "online"]


@virtual_time
async def test_every_absence_has_its_own_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), lost(2.0), lost(3.0), connected(4.0)))
    async with running(bench):
        await asyncio.sleep(60.0)
        assert len(bench.gaps) == 3
        assert all(gap["first_ns"] < gap["last_ns"] for gap in bench.gaps)
        assert [gap["first_ns"] for gap in bench.gaps] == sorted(gap["first_ns"] for gap in bench.gaps)
        assert bench.values == [1.0, 2.0, 3.0, 4.0]


@virtual_time
async def test_a_device_that_answers_for_a_moment_only_stays_in_its_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), lost(2.0, after_s=0.0), refused(60.0), connected(3.0)))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert bench.values == [1.0, 2.0]
        (gap,) = bench.outbox.open_gaps().values()
        assert (gap.first_ns, bench.gaps) == (START_NS - GAP_MARGIN_NS, [])
        await asyncio.sleep(100.0)
        assert len(bench.gaps) == 1
        assert bench.outbox.open_gaps() == {}


@virtual_time
async def test_a_device_that_was_never_there_has_no_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(*[refused() for _ in range(5)], connected(1.0)))
    async with running(bench):
        await asyncio.sleep(0.1)
        assert (bench.device.is_online, bench.device.offline_reason) == (False, "press: nothing listens")
        await asyncio.sleep(120.0)
        assert (bench.values, bench.gaps, bench.outbox.open_gaps()) == ([1.0], [], {})
    assert bench.listener.heard == ["online"]


@virtual_time
async def test_the_time_in_which_the_agent_did_not_run_is_declared_with_the_first_samples(tmp_path: Path) -> None:
    first = Bench(tmp_path, PlayedDriver(connected(1.0)))
    first.resume()
    async with running(first):
        await asyncio.sleep(1.0)
        assert first.gaps == []
    for absence in (refused(), lost()):  # started twice; the second time the device answers, but gives nothing
        again = Bench(tmp_path, PlayedDriver(absence))
        again.resume()
        async with running(again):
            await asyncio.sleep(5.0)
            assert again.gaps == []
            (gap,) = again.outbox.open_gaps().values()
            assert (gap.reason, gap.first_ns) == ("agent_not_running", START_NS - GAP_MARGIN_NS)
    last = Bench(tmp_path, PlayedDriver(connected(2.0)))
    last.resume()
    async with running(last):
        await asyncio.sleep(1.0)
        assert [(gap["reason"], gap["first_ns"]) for gap in last.gaps] == [
            ("agent_not_running", START_NS - GAP_MARGIN_NS)
        ]
        assert last.outbox.open_gaps() == {}
        assert last.values == [1.0, 2.0]


@virtual_time
async def test_a_gap_begins_with_the_agent_s_own_time_when_the_device_s_clock_is_ahead(tmp_path: Path) -> None:
    async def a_day_ahead(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        await acquisition.put(doubles(0, 1.0, time_ns=now_ns() + 86_400_000_000_000))
        await asyncio.sleep(1.0)
        raise DeviceUnavailable("press: gone")

    bench = Bench(tmp_path, PlayedDriver(a_day_ahead))
    async with running(bench):
        await asyncio.sleep(1.5)
        (gap,) = bench.outbox.open_gaps().values()
        assert gap.first_ns == START_NS + 1_000_000_000 - GAP_MARGIN_NS


@virtual_time
async def test_the_waits_grow_up_to_a_limit_and_begin_anew_after_a_success(tmp_path: Path) -> None:
    driver = PlayedDriver(*[refused() for _ in range(12)], lost(1.0), connected())
    bench = Bench(tmp_path, driver)
    async with running(bench):
        await asyncio.sleep(1000.0)
    waits_s = np.diff(driver.connects_s)
    assert all(0.5 * bound_s <= wait_s <= bound_s for wait_s, bound_s in zip(waits_s, (1, 2, 4, 8, 16), strict=False))
    assert all(0.5 * RETRY_LONGEST_S <= wait_s <= RETRY_LONGEST_S for wait_s in waits_s[5:12])
    assert 0.5 <= waits_s[12] - 1.0 <= 1.0


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
async def test_values_of_a_device_that_is_away_are_stale_in_a_birth(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(7.0), refused(3600.0)))
    async with running(bench):
        await asyncio.sleep(0.5)
        assert [(value.value, value.stale) for value in bench.device.values().values()] == [(7.0, False)]
        await asyncio.sleep(5.0)
        assert [(value.value, value.stale) for value in bench.device.values().values()] == [(7.0, True)]
