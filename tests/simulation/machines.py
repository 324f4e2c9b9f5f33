"""The machines: each tag numbers what it says, at times that depend on nothing but the plant's clock.

So what a machine has said until now is known without asking it, and every number that is not stored is known to be
missing. A driver collects what was said since it last looked; a machine keeps only so much for it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, WriteRefused
from connectors.model.quality import BAD_WAITING_FOR_INITIAL_DATA, GOOD
from connectors.model.samples import batch_of_rows
from connectors.model.tags import TagName, TagType
from connectors.ports.device import Acquisition, Reading, Value
from tests.virtual_time import START_NS

KEPT_MAX: Final = 12
"""So many samples of a tag a machine keeps for a driver that does not come; the oldest go first."""
LONG_TEXT_BYTES: Final = 5000
PERIOD_S_MAX: Final = 2.0
TYPES: Final = (DataType.DOUBLE, DataType.INT64, DataType.STRING)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag says its number ``n`` at ``phase_s + n * period_s``; every ``long_every``-th text is a very long one."""

    name: str
    datatype: DataType
    period_s: float
    phase_s: float
    long_every: int = 0
    is_alarm: bool = False

    def first_after(self, time_s: float) -> int:
        """The first number that is said after ``time_s``."""
        return max(0, math.floor((time_s - self.phase_s) / self.period_s) + 1)

    def time_ns(self, number: int) -> int:
        """When it is said: in steps of 100 ns, as OPC UA has them."""
        return START_NS + round((self.phase_s + number * self.period_s) * 1e7) * 100

    def value(self, number: int) -> Any:
        if self.datatype is not DataType.STRING:
            return number
        return f"{number:0{LONG_TEXT_BYTES}d}" if self.long_every and number % self.long_every == 5 else str(number)


@dataclass(slots=True)
class Machine:
    """One device. ``offered`` is what a driver has handed over, ``taken`` what was committed, by tag."""

    name: str
    tags: tuple[Tag, ...]
    poll_s: float
    is_up: bool = True
    stopped_s: float = math.inf
    """It says nothing after this."""
    definition: int = 0
    """Counts up when the machine gets another program: its tags have other units then."""
    offered: dict[str, set[int]] = field(default_factory=dict)
    taken: dict[str, set[int]] = field(default_factory=dict)
    forgotten_s: float = -1.0
    """Until then, the agent has forgotten that it ever heard the machine."""
    taken_s: float = -1.0
    """The source time of the newest sample that was committed, in seconds of the plant."""

    def said(self, tag: Tag, until_s: float) -> range:
        """The numbers that were said until then."""
        return range(tag.first_after(min(until_s, self.stopped_s)))

    def heard_ns(self) -> int:
        """The time of the first sample that was committed and is remembered."""
        taken = (tag.time_ns(number) for tag in self.tags for number in self.taken.get(tag.name, ()))
        return min(time_ns for time_ns in taken if self.seconds(time_ns) > self.forgotten_s)

    def seconds(self, time_ns: int) -> float:
        return (time_ns - START_NS) / 1e9


class MachineDriver:
    """See ``DeviceDriver``."""

    def __init__(self, machine: Machine, draw: random.Random) -> None:
        self._machine = machine
        self._draw = draw
        self._next: dict[str, int] = {}

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``: a poll, and as much again for the answer."""
        return 2 * self._machine.poll_s

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``."""
        return {}

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        machine = self._machine
        await asyncio.sleep(self._draw.uniform(0.01, 0.2))
        self._check()
        await self._online(acquisition)
        definition = machine.definition
        begun_s = asyncio.get_running_loop().time()
        self._next = {tag.name: tag.first_after(begun_s) for tag in machine.tags}
        while True:
            await asyncio.sleep(machine.poll_s)
            self._check()
            if machine.definition != definition:
                definition = machine.definition
                await self._online(acquisition)
            await self._poll(acquisition)

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``: these machines only speak."""
        self._check()
        raise WriteRefused(f"{self._machine.name}: {self._machine.tags[tag].name} cannot be written")

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``: what was said last."""
        self._check()
        spoken = self._machine.tags[tag]
        said = self._machine.said(spoken, asyncio.get_running_loop().time())
        if not said:
            return Reading(None, BAD_WAITING_FOR_INITIAL_DATA, START_NS)
        return Reading(spoken.value(said[-1]), GOOD, spoken.time_ns(said[-1]))

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``: these machines have no methods."""
        self._check()
        raise WriteRefused(f"{self._machine.name}: {method} cannot be called")

    async def _online(self, acquisition: Acquisition) -> None:
        types = [
            TagType(index, TagName(tag.name), tag.datatype, unit=f"unit {self._machine.definition}")
            for index, tag in enumerate(self._machine.tags)
        ]
        await acquisition.online(types, [])

    async def _poll(self, acquisition: Acquisition) -> None:
        """Hand over what was said since the last time, each data type in a batch of its own."""
        machine, now_s = self._machine, asyncio.get_running_loop().time()
        rows: dict[DataType, list[tuple[int, int, Any, int]]] = {}
        given: list[tuple[str, range]] = []
        lost: list[tuple[int, int]] = []
        for index, tag in enumerate(machine.tags):
            end = tag.first_after(min(now_s, machine.stopped_s))
            first = max(self._next[tag.name], end - KEPT_MAX)
            if first > self._next[tag.name]:
                lost.append((index, tag.time_ns(first)))
            self._next[tag.name] = max(end, self._next[tag.name])
            if first < end:
                given.append((tag.name, range(first, end)))
                of_type = rows.setdefault(tag.datatype, [])
                of_type += [(index, tag.time_ns(number), tag.value(number), 0) for number in range(first, end)]
        for tag in machine.tags:
            for number in next((numbers for name, numbers in given if name == tag.name), ()):
                machine.offered.setdefault(tag.name, set()).add(number)
        if lost:
            indices, times = zip(*lost, strict=True)
            acquisition.lost(np.array(indices, np.int32), np.array(times, np.int64))
        for datatype, of_type in rows.items():
            names = {machine.tags[row[0]].name for row in of_type}
            await acquisition.put(
                batch_of_rows(datatype, of_type), self._committed([each for each in given if each[0] in names])
            )

    def _committed(self, given: list[tuple[str, range]]) -> Callable[[], None]:
        def note() -> None:
            for name, numbers in given:
                self._machine.taken.setdefault(name, set()).update(numbers)
                tag = next(tag for tag in self._machine.tags if tag.name == name)
                self._machine.taken_s = max(self._machine.taken_s, self._machine.seconds(tag.time_ns(numbers[-1])))

        return note

    def _check(self) -> None:
        if not self._machine.is_up:
            raise DeviceUnavailable(f"{self._machine.name} does not answer")


def drawn_machines(
    draw: random.Random, agent: str, count: int, *, long_texts: bool, alarms: float
) -> Iterator[Machine]:
    """The machines of an agent."""
    for number in range(count):
        tags = tuple(
            Tag(
                f"t{index}",
                draw.choice(TYPES),
                draw.choice((0.4, 0.7, 1.0, PERIOD_S_MAX)),
                draw.uniform(0, 1),
                draw.choice((0, 25)) if long_texts else 0,
                draw.random() < alarms,
            )
            for index in range(draw.randint(1, 3))
        )
        yield Machine(f"{agent}-m{number + 1}", tags, draw.choice((0.3, 0.6, 1.0)))
