"""A device at work in a test: the outbox is real, the driver is played, and time is virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.report_by_exception import ReportRule
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagName, TagType
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, DeviceDriver, Reading, Value
from connectors.ports.settings import DerivedTagSettings
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from tests.inline_outbox import InlineReader, InlineWriter
from tests.virtual_time import START_NS, VirtualClock

PRESS = DeviceName("press")
TAGS = ("force", "speed", "state")
Act = Callable[[Acquisition], Awaitable[None]]
ALWAYS = dict.fromkeys(range(len(TAGS)), ReportRule(always=True))


class PlayedDriver:
    """Does one act a connect; after the last one it stays connected."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.connects_s: list[float] = []
        self.lag_s_max = 0.0
        self.written: list[tuple[int, Value]] = []
        self.called: list[tuple[str, tuple[Value, ...]]] = []
        self.answer: Exception | None = None
        """What a write or a call is answered with, instead of success."""

    async def acquire(self, acquisition: Acquisition) -> None:
        self.connects_s.append(asyncio.get_running_loop().time())
        if self.acts:
            await self.acts.pop(0)(acquisition)
        await asyncio.Event().wait()

    async def write(self, tag: int, value: Value) -> None:
        self.written.append((tag, value))
        if self.answer is not None:
            raise self.answer

    async def read(self, tag: int) -> Reading:
        written = [value for index, value in self.written if index == tag]
        return Reading(written[-1] if written else 0.0, 0, now_ns())

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        self.called.append((method, tuple(arguments)))
        if self.answer is not None:
            raise self.answer
        return tuple(arguments)

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

    def __init__(
        self,
        folder: Path,
        driver: DeviceDriver,
        rules: Mapping[int, ReportRule] = ALWAYS,
        derived: Sequence[DerivedTagSettings] = (),
        *,
        tags: Sequence[str] = TAGS,
        clock: Clock | None = None,
    ) -> None:
        self.clock = VirtualClock() if clock is None else clock
        self.writer = InlineWriter(folder)
        self.outbox = self.writer.outbox
        self.feed = Feed(cast(OutboxReader, None))
        settings = CollectorSettings(
            commit_interval_s=0.1, samples_pending_max=1000, pending_bytes_max=1 << 30, payload_bytes_max=100_000
        )
        self.collector = Collector(cast(OutboxWriter, self.writer), self.feed, settings, self.clock)
        self.listener = Listener()
        self.device = DeviceAcquisition(
            PRESS,
            tags,
            driver,
            rules,
            writer=cast(OutboxWriter, self.writer),
            feed=self.feed,
            collector=self.collector,
            listener=self.listener,
            clock=self.clock,
            derived=derived,
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
