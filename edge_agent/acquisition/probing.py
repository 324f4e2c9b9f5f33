"""One look at a device, without storing anything: whether it is reached, and one value of each of its tags.

The driver goes the same way as in a running agent: it connects, binds its tags and delivers first samples. What has
none soon after is read by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_WAITING_FOR_INITIAL_DATA
from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import TagType
from connectors.ports.clock import Clock
from connectors.ports.device import Continuation, DeviceDriver, FoundTag, Reading, TagProblem, Unfilled
from connectors.ports.settings import DeviceSettings
from connectors.stopping import Tasks
from edge_agent.acquisition.leaving import leave

if TYPE_CHECKING:
    from edge_agent.acquisition.derived import DerivedTags

SETTLING_S: Final = 1.0
"""So long after the newest first value the others are waited for, before they are asked for one by one."""
READS_AT_ONCE: Final = 8


@dataclass
class Probe:
    """What was found: ``reason`` why the device was not reached, empty when it was; tags by their index.

    ``problems`` may be of something that is no tag, such as a rule that finds tags.
    """

    device: str
    tag_names: tuple[str, ...]
    reason: str = ""
    reached_s: float | None = None
    types: Mapping[int, TagType] = field(default_factory=dict)
    problems: Mapping[str, TagProblem] = field(default_factory=dict)
    readings: dict[int, Reading] = field(default_factory=dict)


async def probe(settings: DeviceSettings, driver: DeviceDriver, clock: Clock, within_s: float) -> Probe:
    """Look at a device for ``within_s`` at most; never raises what the device is to blame for."""
    found = Probe(settings.name, tuple(settings.tag_names()))
    derived = None
    if settings.derived:
        from edge_agent.acquisition.derived import DerivedTags

        derived = DerivedTags(found.tag_names, settings.derived)
    looking = _Looking(found, clock, derived)
    acquiring = asyncio.create_task(driver.acquire(looking), name=f"look at {settings.name}")
    reading = asyncio.create_task(looking.complete(driver), name=f"read {settings.name}")
    try:
        async with asyncio.timeout(within_s):
            await asyncio.wait([acquiring, reading], return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        if not looking.is_online.is_set():
            found.reason = f"{settings.name}: no connection within {within_s:g} s"
    finally:
        failure = await _ended(acquiring)
        await _ended(reading)
        await leave(driver)
    if failure is not None:
        found.reason = str(failure)
    return found


async def _ended(task: asyncio.Task[None]) -> DeviceUnavailable | None:
    """End ``task``; what it was ended by before, when that was the device."""
    task.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    except DeviceUnavailable as exc:
        return exc
    return None


class _Looking:
    """An ``Acquisition`` that keeps the first value of each tag."""

    def __init__(self, found: Probe, clock: Clock, derived: DerivedTags | None) -> None:
        self._found = found
        self._clock = clock
        self._derived = derived
        self._begun_s = clock.monotonic_s()
        self._news = asyncio.Event()
        self._without_value: set[str] = set()
        self.is_online = asyncio.Event()

    def tags_found(self, tags: Sequence[FoundTag]) -> None:
        """See ``Acquisition``."""
        self._found.tag_names += tuple(tag.name for tag in tags)
        if self._derived is not None:
            self._derived.extend(len(tags))

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        """See ``Acquisition``."""
        if self._derived is not None:
            types, problems = self._derived.bind(types, problems)
        self._found.types = {tag.index: tag for tag in types}
        self._found.problems = {str(problem.tag): problem for problem in problems}
        self._without_value = {str(problem.tag) for problem in problems if not problem.gives_values}
        if self._found.reached_s is None:
            self._found.reached_s = self._clock.monotonic_s() - self._begun_s
        self.is_online.set()

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        """See ``Acquisition``."""
        batches = [batch] if self._derived is None else [batch, *self._derived.derive(batch)]
        for one in batches:
            _, last = np.unique(one.tag[::-1], return_index=True)
            for tag, time_ns, value, quality in one.select(len(one) - 1 - last).rows():
                if tag not in self._found.readings:
                    self._news.set()
                self._found.readings[tag] = Reading(value, quality, time_ns)
        if committed is not None:
            committed()

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        """See ``Acquisition``."""

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """See ``Acquisition``."""

    def polled_late(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """See ``Acquisition``."""

    def continued(self, how: Continuation, detail: str) -> None:
        """See ``Acquisition``: it is looked at once."""

    def caught_up(self) -> None:
        """See ``Acquisition``."""

    def missing(self) -> None:
        """See ``Acquisition``: nothing was here before."""

    async def restore(self, batch: SampleBatch) -> None:
        """See ``Acquisition``."""

    def reached(self, place: str) -> None:
        """See ``Acquisition``."""

    def again(self, tags: Sequence[int]) -> None:
        """See ``Acquisition``."""

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        """See ``Acquisition``."""

    def unfilled(self, part: Unfilled) -> None:
        """See ``Acquisition``."""

    async def restored(self, *, has_history: bool = True) -> None:
        """See ``Acquisition``."""

    def awaited(self) -> list[int]:
        """The tags that should have a value, and have none yet."""
        found = self._found
        return [
            index
            for index, name in enumerate(found.tag_names)
            if index not in found.readings and name not in self._without_value and index in found.types
        ]

    async def complete(self, driver: DeviceDriver) -> None:
        """Return when every tag has a value or a problem; ask for what does not come by itself."""
        await self.is_online.wait()
        while self.awaited():
            self._news.clear()
            try:
                async with asyncio.timeout(SETTLING_S):
                    await self._news.wait()
            except TimeoutError:
                break
        waiting = iter(self.awaited())

        async def ask() -> None:
            for index in waiting:
                try:
                    reading = await self._read(index, driver)
                except DeviceUnavailable as exc:
                    name = self._found.tag_names[index]
                    tag = self._found.types[index].name
                    problem = TagProblem(tag, str(exc), BAD_WAITING_FOR_INITIAL_DATA)
                    self._found.problems = {**self._found.problems, name: problem}
                    continue
                self._found.readings.setdefault(index, reading)

        async with Tasks() as asking:
            for at in range(READS_AT_ONCE):
                asking.create_task(ask(), name=f"read {self._found.device} {at}")

    async def _read(self, index: int, driver: DeviceDriver) -> Reading:
        if self._derived is not None and self._derived.is_derived(index):
            return await self._derived.read(index, driver.read)
        return await driver.read(index)
