"""One device: its driver kept running, its samples filtered and named, its absences declared."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from connectors.model.back_off import BackOff
from connectors.model.errors import DeviceUnavailable, OutboxUnavailable
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition, DeviceName, TagType
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceDriver, FoundTag, Reading, TagProblem, Value
from connectors.ports.settings import DerivedTagSettings
from connectors.sparkplug.birth import CurrentValue
from connectors.stopping import Tasks, not_silently
from edge_agent.acquisition.absences import Absences
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.acquisition.deriving import derived_tags
from edge_agent.acquisition.driver_counts import DriverCounts
from edge_agent.acquisition.leaving import left_at_the_end
from edge_agent.acquisition.listener import DeviceListener
from edge_agent.acquisition.missing_samples import MissingSamples
from edge_agent.acquisition.parting import last_words, parted
from edge_agent.acquisition.reporting import Reporting
from edge_agent.acquisition.restoring import Restoring
from edge_agent.acquisition.told_problems import tell_place, tell_problems
from edge_agent.acquisition.waiting import Waiting
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import GapReason
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.agent_events import Fault
from edge_agent.observability.device_events import DeviceConnected, DeviceEnded, DeviceLost, SamplesAcquired

RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
STEADY_S: Final = 10.0
"""A connection that lasted longer was a good one: the next attempt comes soon again."""
RELEASE_S: Final = 0.1
HAND_OVER_S_MAX: Final = 5.0


class DeviceAcquisition(MissingSamples):
    """The acquisition of one device; implements the port ``Acquisition`` for its driver, and ``DeviceWriter``."""

    def __init__(
        self,
        name: DeviceName,
        tag_names: Sequence[str],
        driver: DeviceDriver,
        rules: Mapping[int, ReportRule],
        *,
        writer: OutboxWriter,
        feed: Feed,
        collector: Collector,
        listener: DeviceListener,
        clock: Clock,
        alarms: Sequence[int] = (),
        derived: Sequence[DerivedTagSettings] = (),
    ) -> None:
        """``alarms``: indices of tags whose samples leave before others; ``derived``: the last of ``tag_names``."""
        self.name = name
        self.tag_names = tuple(tag_names)
        self.current = CurrentValues(len(self.tag_names))
        self.problems: tuple[TagProblem, ...] = ()
        self.online_since_ns: int | None = None
        self.online_since_s = 0.0
        self.offline_reason = "not connected yet"
        self.place = ""  # where it was reached last, of several
        self._has_ended = False
        self.definition: DeviceDefinition | None = None
        self.samples = 0
        self.connects = 0  # since the start of the agent
        self.taken_s: float | None = None
        """When the driver last handed over samples, by the monotonic clock; reported or not."""
        self._driver = driver
        self._derived = derived_tags(tag_names, derived)
        self._holds_back = asyncio.Event()
        self._writer = writer
        self._feed = feed
        self._collector = collector
        self._listener = listener
        self._clock = clock
        self._aliases = np.full(len(self.tag_names), -1, np.int32)
        self._by_alias: dict[int, int] = {}
        self._use(Reporting(len(self.tag_names), rules, alarms))
        self._in_order = asyncio.Lock()
        self._absences = Absences(name, collector, clock, self._lag_s)
        self._restoring = Restoring(self._absences, range(len(tag_names) - len(derived), len(tag_names)))
        self._waiting = Waiting(self._lag_s)
        self._counts = DriverCounts(name, driver.counts)

    def alias_of(self, index: int) -> int:
        """The alias of a tag on the way to the cloud; -1 while it has none."""
        return int(self._aliases[index])

    @property
    def is_online(self) -> bool:
        """Whether the device is connected."""
        return self.online_since_ns is not None

    @property
    def is_read(self) -> bool:
        """Whether it is connected, and has given a good value of any tag since the start."""
        return self.is_online and self.current.has_good()

    def resume(
        self,
        definition: DeviceDefinition | None,
        newest_ns: int | None,
        stored_ns: int | None,
        reason: str = GapReason.AGENT_NOT_RUNNING,
        detail: str = "",
    ) -> None:
        """Go on with what is known of this device from an earlier start, or from before it was taken away.

        ``reason`` says why nothing of it has come since the last that was stored.
        """
        if definition is not None:
            self._take_definition(definition, ())
        self._absences.resume(newest_ns, stored_ns, reason, detail)

    def go_on_from(self, before: DeviceAcquisition) -> None:
        """Go on where ``before`` has ended, which has read the same device with other settings."""
        if before.definition is not None:
            self._take_definition(before.definition, ())
        self._absences.go_on_from(before._absences)

    async def adjust(self, rules: Mapping[int, ReportRule], alarms: Sequence[int]) -> None:
        """Report by other rules from now on, and take other tags for alarms; the first sample of each tag passes."""
        before = self._reporting
        self._use(before.with_rules(rules, alarms))
        await self._store(*before.forget())

    async def end(self, detail: str, *, removed: bool) -> None:
        """Called when ``run`` was cancelled for good, because the configuration is another one: says so to all.

        What was held back is handed over. ``removed``: the device is not read any more; otherwise what comes until it
        is read anew is missing.
        """
        self._has_ended = True
        since_ns, self.online_since_ns = self.online_since_ns, None
        self.offline_reason = detail
        emit(DeviceEnded(self.name, removed))
        if since_ns is not None:
            self._listener.device_offline(self.name)
        if removed:
            self._absences.given_up()
        else:
            self._absences.reconfigured(since_ns, detail)
        try:
            async with asyncio.timeout(HAND_OVER_S_MAX):  # the disk may stand still; then it is part of the gap
                await self._store(*self._reporting.forget())
        except TimeoutError:
            emit(Fault(f"device {self.name}", "values that were held back are lost: the disk takes nothing", ""))

    def values(self) -> dict[int, CurrentValue]:
        """The newest value of each alias, for a birth."""
        stale = not self.is_online
        found = {alias: self.current.of(index, stale=stale) for alias, index in self._by_alias.items()}
        return {alias: value for alias, value in found.items() if value is not None}

    def changed(self) -> list[SampleBatch]:
        """The newest samples, with aliases, of the tags that have got one since the last call."""
        named = [batch.with_tags(self._aliases[batch.tag]) for batch in self.current.changed()]
        return [batch if (batch.tag >= 0).all() else batch.select(batch.tag >= 0) for batch in named]

    def measure_driver(self) -> None:
        """Bring the metrics of what the driver counts up to date."""
        self._counts.measure()

    async def write(self, tag: str, value: Value) -> None:
        """See ``DeviceWriter``."""
        driver, index = self._connected(), self._index_of(tag)
        if self._derived is not None and self._derived.is_derived(index):
            raise ValueError(f"{self.name}/{tag} is calculated from other tags")
        await driver.write(index, value)

    async def read(self, tag: str) -> Reading:
        """See ``DeviceWriter``."""
        driver, index = self._connected(), self._index_of(tag)
        if self._derived is not None and self._derived.is_derived(index):
            return await self._derived.read(index, driver.read)
        return await driver.read(index)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceWriter``."""
        return await self._connected().call(method, arguments)

    def _connected(self) -> DeviceDriver:
        if not self.is_online:
            raise DeviceUnavailable(self.offline_reason)
        return self._driver

    def _index_of(self, tag: str) -> int:
        if tag not in self.tag_names:
            raise ValueError(f"{self.name} has no tag {tag!r}")
        return self.tag_names.index(tag)

    async def run(self) -> None:
        """Keep the driver running until cancelled."""
        async with left_at_the_end(self._driver), Tasks() as tasks:
            tasks.create_task(self._keep_acquiring(), name=f"{self.name} acquisition")
            tasks.create_task(self._absences.watch_clock(), name=f"{self.name} clock")
            tasks.create_task(self._release_held(), name=f"{self.name} held values")

    async def _keep_acquiring(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while not self._has_ended:
            retry_s: float | None = None
            try:
                await not_silently(self._driver.acquire(self))
                reason = f"{self.name}: the driver ended"
            except DeviceUnavailable as exc:
                reason, retry_s = exc.reason, exc.retry_after_s
            except Exception as exc:  # a driver's defect must not end the other devices: logged and counted
                reason = f"{self.name}: unexpected {type(exc).__name__}: {exc}"
                emit(Fault(f"device {self.name}", reason, traceback.format_exc()))
            if self.is_online and self._clock.monotonic_s() - self.online_since_s > STEADY_S:
                back_off.reset()  # a device that flaps is asked less and less often
            wait_s = back_off.next_s() if retry_s is None else retry_s
            await self._went_offline(reason, wait_s)
            await asyncio.sleep(wait_s)

    # -- the port Acquisition ----------------------------------------------------------------------------------------

    def tags_found(self, tags: Sequence[FoundTag]) -> None:
        """See ``Acquisition``."""
        if not tags:
            return
        self._reporting.extend(tags)
        self._use(self._reporting)
        self.tag_names += tuple(tag.name for tag in tags)
        self.current.extend(len(tags))
        self._restoring.extend(len(tags))
        if self._derived is not None:
            self._derived.extend(len(tags))
        self._aliases = np.concatenate([self._aliases, np.full(len(tags), -1, np.int32)])

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """See ``Acquisition``."""
        self._refuse_after_end()
        if self._derived is not None:
            if not (self.is_online or self._absences.is_continued):
                self._derived.forget()
            types, problems = self._derived.bind(types, problems)
        definition = await self._define(types)
        await self._part_with_tags(types, problems)
        self._take_definition(definition, types)
        if not self.is_online:
            self.online_since_ns, self.online_since_s = self._clock.now_ns(), self._clock.monotonic_s()
            self.offline_reason = ""
            self.connects += 1
            emit(DeviceConnected(self.name, len(types), len(problems)))
        tell_problems(self.name, self.problems, problems)
        self.problems = tuple(problems)
        self._listener.device_online(definition)

    def reached(self, place: str) -> None:
        """See ``Acquisition``."""
        tell_place(self.name, self.place, place)
        self.place = place

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """See ``Acquisition``."""
        self._refuse_after_end()
        given = [batch] if self._derived is None else [*self._derived.derive(batch), batch]
        if self._absences.is_continued:
            given = [self._restoring.without_repeats(one, self.current) for one in given]
        for one in given:
            self.current.update(one)
        self.taken_s = self._clock.monotonic_s()
        if self._restoring.is_reading:
            self._restoring.saw(batch)
        for one in given[:-1]:
            await self._report(one)
        await self._report(given[-1], committed)

    async def _report(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        begun_s = self._clock.monotonic_s()
        reported = self._reporting.select(batch, begun_s) if len(batch) else batch
        self._collector.tracing.received(self.name, batch, reported)
        if len(reported):
            behind_ns = round(self._waiting.behind_s(begun_s) * 1e9)
            try:
                await self._store(reported, committed=committed, behind_ns=behind_ns)
            except asyncio.CancelledError:
                self._restoring.not_taken(reported)
                raise
            self._waiting.waited(begun_s, self._clock.monotonic_s())
            if self.is_online:
                self._absences.samples_taken(int(reported.time_ns.max()), behind_ns)
        elif committed is not None:
            self._collector.after_commit(committed)  # earlier samples of the same response may be on their way

    def _refuse_after_end(self) -> None:
        if self._has_ended:  # by a driver that has not, and gives its samples beside the one in its place
            raise DeviceUnavailable(f"{self.name}: {self.offline_reason}")

    async def _store(
        self,
        *batches: SampleBatch,
        committed: Callable[[], None] | None = None,
        behind_ns: int = 0,
        is_history: bool = False,
    ) -> None:
        """Hand over to the collector, under the definition of now; in the order of the calls, however long it waits.

        When this is cancelled nothing of the batch was taken; so nothing that follows from having it comes before.
        """
        if not batches:
            return
        if self.definition is None:
            raise RuntimeError(f"{self.name}: samples came before the tags were bound")
        definition = self.definition.hash
        async with self._in_order:
            named = [(batch, batch.with_tags(self._aliases.take(batch.tag))) for batch in batches]
            parts = [part for pair in named for part in self._reporting.by_lane(*pair)]
            for lane, part in parts:
                last = committed if part is parts[-1][1] else None
                await self._collector.put(self.name, definition, part, last, lane, behind_ns, is_history=is_history)
        count = sum(map(len, batches))
        self.samples += count
        emit(SamplesAcquired(self.name, count))

    async def _release_held(self) -> None:
        """Hand over values that a minimum interval has held back.

        They say nothing of how far the device's samples have come: they are older than what came last. While the
        device is away nothing is held; see ``_went_offline``.
        """
        await self._holds_back.wait()
        while True:
            await asyncio.sleep(RELEASE_S)
            released = self._reporting.released(self._clock.monotonic_s())
            for batch in released:
                self._collector.tracing.received(self.name, batch, batch, held=True)
            await self._store(*released)

    async def _part_with_tags(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """The last word on tags that had a type and have it no more, under the definition that they had it in.

        A value that was held back is handed over. A tag that has a problem now gets a sample without value, so that
        nobody takes its last value for the present one.
        """
        gone = parted(self.tag_names, self.definition, types)
        if not gone:
            return
        await self._store(*self._reporting.forget(gone))
        newest_ns = self.current.times_ns(np.array(list(gone), np.int32)).tolist()
        for batch in last_words(gone, newest_ns, problems, self._clock.now_ns()):
            self.current.update(batch)
            await self._store(batch)

    async def _define(self, types: Sequence[TagType]) -> DeviceDefinition:
        while True:
            try:
                definition, rows = await self._writer.define(self.name, types, self._clock.now_ns() // 1_000_000)
            except OutboxUnavailable as exc:
                self.offline_reason = str(exc)
                await asyncio.sleep(RETRY_FIRST_S)
                continue
            self._feed.push(rows)
            return definition

    def _take_definition(self, definition: DeviceDefinition, types: Sequence[TagType]) -> None:
        self.definition = definition
        self.current.bind(types)
        indices = {name: index for index, name in enumerate(self.tag_names)}
        self._by_alias = {metric.alias: indices[metric.name] for metric in definition.metrics if metric.name in indices}
        for alias, index in self._by_alias.items():
            self._aliases[index] = alias

    async def _went_offline(self, reason: str, retry_s: float) -> None:
        """Declare the absence; what was held back goes before it, and the first sample of each tag passes after it."""
        since_ns, self.online_since_ns = self.online_since_ns, None
        self._restoring.cut_off(self.tag_names, self._clock.now_ns())
        self.offline_reason = reason
        emit(DeviceLost(self.name, reason, round(retry_s, 1)))
        if since_ns is None:
            self._absences.not_continued()
            return
        self._listener.device_offline(self.name)
        self._absences.device_lost(since_ns, reason)
        await self._store(*self._reporting.forget())

    def _use(self, reporting: Reporting) -> None:
        self._reporting = reporting
        if reporting.held_s_max > 0:
            self._holds_back.set()

    def _lag_s(self) -> float:
        return max(self._driver.lag_s_max, self._reporting.held_s_max)
