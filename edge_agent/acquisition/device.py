"""One device: its driver kept running, its samples filtered and named, its absences declared."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from connectors.model.back_off import BackOff
from connectors.model.errors import DeviceUnavailable, OutboxUnavailable
from connectors.model.report_by_exception import ReportFilter, ReportRule
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition, DeviceName, TagType
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceDriver, TagProblem
from connectors.sparkplug.birth import CurrentValue
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import GapReason, OpenGap
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.events import (
    DeviceConnected,
    DeviceLost,
    Fault,
    SamplesAcquired,
    TagRefused,
    TagsBound,
)

RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
GAP_MARGIN_NS: Final = 1_000_000_000
"""A gap begins this much before the newest stored sample: values of other tags may have been under way then."""

RELEASE_S: Final = 0.1
PROBLEMS_LOGGED_MAX: Final = 20


class DeviceListener(Protocol):
    """Who wants to know that a device came or went: the uplink, for births and deaths."""

    def device_online(self, definition: DeviceDefinition) -> None:
        """The device is connected, with this definition."""
        ...

    def device_offline(self, device: DeviceName) -> None:
        """The device cannot be reached."""
        ...


class DeviceAcquisition:
    """The acquisition of one device; implements the port ``Acquisition`` for its driver."""

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
    ) -> None:
        self.name = name
        self.tag_names = tuple(tag_names)
        self.current = CurrentValues(len(self.tag_names))
        self.problems: tuple[TagProblem, ...] = ()
        self.online_since_ns: int | None = None
        self.offline_reason = "not connected yet"
        self.definition: DeviceDefinition | None = None
        self.samples = 0
        self._driver = driver
        reports_all = all(rule.always and rule.interval_s_max is None for rule in rules.values())
        self._filter = None if reports_all else ReportFilter(len(self.tag_names), rules)
        self._holds_back = any(rule.interval_s_min > 0 for rule in rules.values())
        self._writer = writer
        self._feed = feed
        self._collector = collector
        self._listener = listener
        self._clock = clock
        self._aliases = np.full(len(self.tag_names), -1, np.int32)
        self._by_alias: dict[int, int] = {}
        self._newest_ns: int | None = None
        self._gap_to_close = False

    @property
    def is_online(self) -> bool:
        """Whether the device is connected."""
        return self.online_since_ns is not None

    def resume(self, definition: DeviceDefinition | None, newest_ns: int | None, stored_ns: int | None) -> None:
        """Go on after a restart: what an earlier start knew and stored last of this device."""
        if definition is not None:
            self._take_definition(definition, ())
        self._gap_to_close = True
        if newest_ns is not None and stored_ns is not None:
            self._newest_ns = min(newest_ns, stored_ns)
            self._open_gap(GapReason.AGENT_NOT_RUNNING, "")

    def values(self) -> dict[int, CurrentValue]:
        """The newest value of each alias, for a birth."""
        stale = not self.is_online
        found = {alias: self.current.of(index, stale=stale) for alias, index in self._by_alias.items()}
        return {alias: value for alias, value in found.items() if value is not None}

    async def run(self) -> None:
        """Keep the driver running until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_acquiring(), name=f"{self.name} acquisition")
            if self._holds_back:
                tasks.create_task(self._release_held(), name=f"{self.name} held values")

    async def _keep_acquiring(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            retry_s: float | None = None
            try:
                await self._driver.acquire(self)
                reason = f"{self.name}: the driver ended"
            except DeviceUnavailable as exc:
                reason, retry_s = exc.reason, exc.retry_after_s
            except Exception as exc:  # a driver's defect must not end the other devices: logged and counted
                reason = f"{self.name}: unexpected {type(exc).__name__}: {exc}"
                emit(Fault(f"device {self.name}", reason, traceback.format_exc()))
            if self.is_online:
                back_off.reset()
            wait_s = back_off.next_s() if retry_s is None else retry_s
            self._went_offline(reason, wait_s)
            await asyncio.sleep(wait_s)

    # -- the port Acquisition ----------------------------------------------------------------------------------------

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """See ``Acquisition``."""
        definition = await self._define(types)
        self._take_definition(definition, types)
        if not self.is_online:
            self.online_since_ns = self._clock.now_ns()
            self.offline_reason = ""
            emit(DeviceConnected(self.name, len(types), len(problems)))
        known = {problem.tag: problem.reason for problem in self.problems}
        fresh = [problem for problem in problems if known.get(problem.tag) != problem.reason]
        for problem in fresh[:PROBLEMS_LOGGED_MAX]:
            emit(TagRefused(self.name, problem.tag, problem.reason))
        if len(fresh) > PROBLEMS_LOGGED_MAX:
            more = f"{len(fresh) - PROBLEMS_LOGGED_MAX} more tags have a problem; `edge-agent tags` lists them"
            emit(TagRefused(self.name, "…", more))
        self.problems = tuple(problems)
        emit(TagsBound(self.name, len(problems)))
        self._listener.device_online(definition)

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """See ``Acquisition``."""
        self.current.update(batch)
        reported = batch if self._filter is None else self._filter.select(batch, self._clock.monotonic_s())
        if len(reported):
            await self._collect(reported, committed)
        elif committed is not None:
            committed()

    # ----------------------------------------------------------------------------------------------------------------

    async def _collect(self, reported: SampleBatch, committed: Callable[[], None] | None) -> None:
        if self.definition is None:
            raise RuntimeError(f"{self.name}: samples came before the tags were bound")
        newest_ns = int(reported.time_ns.max())
        self._newest_ns = newest_ns if self._newest_ns is None else max(self._newest_ns, newest_ns)
        if self._gap_to_close:
            self._gap_to_close = False
            self._collector.close_gap(self.name, max(newest_ns, self._clock.now_ns()))
        self.samples += len(reported)
        emit(SamplesAcquired(self.name, len(reported)))
        named = reported.with_tags(self._aliases[reported.tag])
        await self._collector.put(self.name, self.definition.hash, named, committed)

    async def _release_held(self) -> None:
        """Hand over values that a minimum interval has held back."""
        while True:
            await asyncio.sleep(RELEASE_S)
            for batch in self._filter.released(self._clock.monotonic_s()) if self._filter is not None else ():
                await self._collect(batch, None)

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

    def _went_offline(self, reason: str, retry_s: float) -> None:
        if self.is_online:
            self._listener.device_offline(self.name)
            if self._newest_ns is not None:
                self._open_gap(GapReason.DEVICE_UNAVAILABLE, reason)
        self.online_since_ns = None
        self.offline_reason = reason
        emit(DeviceLost(self.name, reason, round(retry_s, 1)))

    def _open_gap(self, reason: str, detail: str) -> None:
        assert self._newest_ns is not None  # noqa: S101  callers checked
        first_ns = min(self._newest_ns, self._clock.now_ns()) - GAP_MARGIN_NS
        self._collector.open_gap(OpenGap(self.name, reason, first_ns, detail))
        self._gap_to_close = True
