"""What happens on one connection: a first read of everything, then polls, and a search for tags that are refused.

A unit may also give no answer at all to a read that touches an address which it does not have. Such tags are searched
for too, before a block, or the unit itself, counts as silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

import numpy as np

from connectors.modbus.connection import ModbusConnection
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.exception_codes import REFUSALS, meaning_of, refusal_sentence
from connectors.modbus.plan import READ_FUNCTIONS, Block, PlannedTag, block_of, scan_classes, tag_types
from connectors.modbus.refused_tags import find_refused
from connectors.modbus.request_queue import Priority
from connectors.modbus.scan import NoAnswer, Scan, ScanClass
from connectors.modbus.settings import ModbusDevice
from connectors.modbus.silent_tags import find_silent
from connectors.model.errors import DeviceUnavailable
from connectors.model.fixed_rate import FixedRate
from connectors.model.late_polls import LatePoll, PollTimes
from connectors.model.quality import BAD_TIMEOUT
from connectors.model.samples import SampleBatch
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, TagProblem
from connectors.stopping import Tasks

RETRIES_PASSED_OVER_MAX: Final = 16
SILENT_BLOCKS_MAX: Final = 2
"""So many blocks without an answer, one after the other, mean that the unit itself is silent."""


@dataclass(slots=True, eq=False)
class _SetAside:
    """Tags that are not polled because of a problem; they are read again, together, from time to time.

    A read that gets no answer holds up all others for the whole time-out: it is tried again after twice as long.
    """

    scan_class: ScanClass
    block: Block
    problems: tuple[TagProblem, ...]
    every: int = 1
    """Of so many times that refused tags are tried again, it is tried once."""
    passed_over: int = 0

    def is_due(self) -> bool:
        """Whether this is a time to try it; to be asked once each time."""
        self.passed_over += 1
        if self.passed_over < self.every:
            return False
        self.passed_over = 0
        return True

    def was_silent(self) -> None:
        """It got no answer."""
        self.every = min(RETRIES_PASSED_OVER_MAX, 2 * self.every)


class _SilentInSearch(Exception):
    """A read that was to find out which tags are refused has got no answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ModbusSession:
    """The work on one connection. ``run`` is called once, beside ``ModbusConnection.keep_open``."""

    def __init__(
        self,
        settings: ModbusDevice,
        planned: Sequence[PlannedTag],
        clock: Clock,
        connection: ModbusConnection,
        acquisition: Acquisition,
        counters: ModbusCounters,
        session_number: int = 0,
    ) -> None:
        """``session_number`` counts the sessions with this unit: each greets it by another tag."""
        self._settings = settings
        self._device = settings.name
        self._unit_id = settings.unit_id
        self._clock = clock
        self._connection = connection
        self._acquisition = acquisition
        self._counters = counters
        self._retry_s = settings.retry_s
        self._greeting = block_of([planned[session_number % len(planned)]])
        self._is_greeted = False
        self._times = PollTimes([tag.poll_s for tag in planned])
        classes = scan_classes(planned)
        self._classes = [ScanClass(interval_s, tags, settings) for interval_s, tags in classes.items()]
        self._set_aside: list[_SetAside] = []
        # Bounded by the number of blocks: a block is suspected once, when it leaves its scan class.
        self._suspects: list[tuple[ScanClass, Block]] = []
        self._suspected = asyncio.Event()
        self.is_online = False
        """Whether the unit has been read, so that the address is right and it is a unit that answers."""

    async def run(self) -> None:
        """Report ``online``, then hand over samples until cancelled. Raises ``DeviceUnavailable``.

        Online means that the unit has answered, not only that something took the connection.
        """
        await self._greet()
        batches = await self._read_everything()
        await self._search()
        await self._report_online()
        for batch in batches:
            await self._acquisition.put(batch)
        try:
            async with Tasks() as tasks:
                for scan_class in self._classes:
                    name = f"modbus {self._device} poll {scan_class.interval_s:g} s"
                    tasks.create_task(self._poll(scan_class), name=name)
                tasks.create_task(self._look_after_problems(), name=f"modbus {self._device} problems")
        finally:  # the gap of a device that is lost begins with its newest sample
            self._declare(self._times.behind())

    async def _greet(self) -> None:
        """Where other units wait for their turns, read one tag once before anything else: a dead unit costs no more."""
        if not self._connection.is_shared:
            return
        scan = Scan([self._greeting], self._unit_id)
        await self._connection.run(scan, Priority.POLL, attempts_max=1)
        if scan.failure is not None:
            raise DeviceUnavailable(scan.failure.reason)
        self._is_greeted = True

    async def _greet_again(self) -> None:
        """Between reads that get no answer, show that the unit is there: it is not to be left alone because of them."""
        if self._is_greeted:
            await self._connection.run(Scan([self._greeting], self._unit_id), Priority.PROBE, attempts_max=1)

    async def _read_everything(self) -> list[SampleBatch]:
        """Read every block once; what stays silent while the unit answers other reads is set aside."""
        batches: list[SampleBatch] = []
        order = [block for scan_class in self._classes for block in scan_class.scan.blocks]
        silent: set[int] = set()
        for scan_class in self._classes:
            blocks: Sequence[Block] = scan_class.scan.blocks
            while blocks:
                scan = Scan(blocks, self._unit_id)
                await self._connection.run(scan, Priority.POLL)
                self._times.read_again(scan.times())
                batches += scan.batches()
                self._suspect(scan_class, scan)
                blocks = scan.unread()
                failure = scan.failure
                if failure is None:
                    break
                if await self._divide_silent(scan_class, failure):
                    continue
                position = order.index(failure.block)
                silent.add(position)
                if len(silent) == len(order) or _silent_in_a_row(silent, position) >= SILENT_BLOCKS_MAX:
                    raise DeviceUnavailable(failure.reason)
                self._set_aside_silent(scan_class, failure)
        return batches

    async def _poll(self, scan_class: ScanClass) -> None:
        rate = FixedRate(scan_class.interval_s, self._clock.monotonic_s())
        waited_s = 0.0
        while True:
            now_s = self._clock.monotonic_s()
            wait_s, missed = rate.advance(now_s)
            self._connection.due_s[scan_class.interval_s] = now_s + wait_s
            self._counters.missed_cycles += missed
            await asyncio.sleep(wait_s)
            scan = scan_class.scan
            await self._connection.run(scan, Priority.POLL)
            self._declare(self._times.read_again(scan.times()), waited_s)
            begun_s = self._clock.monotonic_s()
            for batch in scan.batches():
                await self._acquisition.put(batch)
            waited_s = self._clock.monotonic_s() - begun_s
            if scan.failure is not None:
                raise DeviceUnavailable(scan.failure.reason)
            self._suspect(scan_class, scan)

    def _declare(self, late: LatePoll | None, waited_s: float = 0.0) -> None:
        """Tell of tags that were not read for too long; the agent took nothing for ``waited_s`` of it."""
        if late is None:
            return
        self._counters.late_polls += 1
        detail = f"nothing was read for {late.longest_s:.1f} s"
        if waited_s > late.longest_s / 2:
            detail += f": the agent took no samples for {waited_s:.1f} s"
        self._acquisition.polled_late(late.tags, late.first_ns, late.last_ns, detail)

    async def _look_after_problems(self) -> None:
        retry_at_s = self._clock.monotonic_s() + self._retry_s
        while True:
            wait_s = max(0.0, retry_at_s - self._clock.monotonic_s()) if self._set_aside else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._suspected.wait()
            except TimeoutError:
                await self._retry()
                retry_at_s = self._clock.monotonic_s() + self._retry_s
                continue
            if not self._set_aside:
                retry_at_s = self._clock.monotonic_s() + self._retry_s
            if await self._search():
                await self._report_online()

    def _suspect(self, scan_class: ScanClass, scan: Scan) -> None:
        """Stop reading the blocks that the unit refused, until it is known which of their tags it refuses."""
        for block, _code in scan.refused():
            if scan_class.leave_out(block):
                self._suspects.append((scan_class, block))
                self._suspected.set()

    async def _search(self) -> bool:
        """Divide the suspects into blocks that can be read and tags that cannot; true when there are such tags."""
        found = False
        while self._suspects:
            scan_class, block = self._suspects.pop(0)
            try:
                findings = await find_refused(block, self._read_for_search)
            except _SilentInSearch as exc:
                if not await self._divide_silent(scan_class, NoAnswer(block, exc.reason)):
                    raise DeviceUnavailable(exc.reason) from exc
                found = True
                continue  # a part that is refused is searched when it has been polled
            scan_class.take_in(findings.readable)
            for tag, code in findings.refused:
                reason = refusal_sentence(tag.place, READ_FUNCTIONS[tag.table], code, self._unit_id)
                problem = TagProblem(tag.name, reason, meaning_of(code).quality)
                self._set_aside.append(_SetAside(scan_class, block_of([tag]), (problem,)))
                found = True
        self._suspected.clear()
        return found

    async def _read_for_search(self, block: Block) -> int:
        scan = Scan([block], self._unit_id)
        await self._connection.run(scan, Priority.PROBE)
        if scan.failure is not None:
            raise _SilentInSearch(scan.failure.reason)
        return scan.codes[0]

    async def _divide_silent(self, scan_class: ScanClass, failure: NoAnswer) -> bool:
        """Set the tags aside for which a block gets no answer, and read the others; false when none of it gets one."""
        await self._greet_again()
        findings = await find_silent(failure.block, self._probe, failure.reason)
        if findings is None:
            return False
        scan_class.leave_out(failure.block)
        scan_class.take_in(findings.readable)
        for block, reasons in findings.silent:
            problems = tuple(_silent_tag(tag, reasons[tag.index]) for tag in block.tags)
            self._set_aside.append(_SetAside(scan_class, block, problems))
        return True

    async def _probe(self, block: Block) -> str | None:
        scan = Scan([block], self._unit_id)
        await self._connection.run(scan, Priority.PROBE, attempts_max=1)
        if scan.failure is None:
            return None
        await self._greet_again()
        return scan.failure.reason

    def _set_aside_silent(self, scan_class: ScanClass, failure: NoAnswer) -> None:
        problems = tuple(_silent_tag(tag, failure.reason) for tag in failure.block.tags)
        scan_class.leave_out(failure.block)
        self._set_aside.append(_SetAside(scan_class, failure.block, problems))

    async def _retry(self) -> None:
        """Read once what was set aside; whatever the unit does not refuse any more is polled again."""
        recovered: list[_SetAside] = []
        for entry in self._set_aside:
            if not entry.is_due():
                continue
            time_outs = self._counters.time_outs
            scan = Scan([entry.block], self._unit_id)
            await self._connection.run(scan, Priority.PROBE, attempts_max=1)
            if scan.failure is not None:
                if self._counters.time_outs > time_outs:  # a connection that ends holds up nobody for long
                    entry.was_silent()
                await self._greet_again()
            elif scan.codes[0] not in REFUSALS:
                recovered.append(entry)
        if not recovered:
            return
        self._set_aside = [entry for entry in self._set_aside if entry not in recovered]
        await self._report_online()
        changed = {id(entry.scan_class) for entry in recovered}
        self._suspects = [suspect for suspect in self._suspects if id(suspect[0]) not in changed]
        left_out = self._set_aside_indices()
        for scan_class in self._classes:
            if id(scan_class) in changed:
                scan_class.plan_without(left_out)

    def _set_aside_indices(self) -> frozenset[int]:
        return frozenset(tag.index for entry in self._set_aside for tag in entry.block.tags)

    async def _report_online(self) -> None:
        left_out = self._set_aside_indices()
        parted = np.array(sorted(left_out), np.int32)
        self._declare(self._times.overdue(parted, self._clock.monotonic_s(), self._clock.now_ns()))
        self._times.forget(parted)
        types = [tag_type for tag_type in tag_types(self._settings) if tag_type.index not in left_out]
        self.is_online = True
        await self._acquisition.online(types, [problem for entry in self._set_aside for problem in entry.problems])


def _silent_tag(tag: PlannedTag, reason: str) -> TagProblem:
    return TagProblem(tag.name, f"{reason}, while the unit answers reads of other addresses", BAD_TIMEOUT)


def _silent_in_a_row(silent: Set[int], last: int) -> int:
    """How many blocks up to ``last``, in the order in which they were asked for, are silent."""
    count = 0
    while last - count in silent:
        count += 1
    return count
