"""Reads that belong together, and their way to samples."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectors.modbus.decode import NOT_READ, DecodePlan
from connectors.modbus.exception_codes import REFUSALS
from connectors.modbus.frames import ReadFrame
from connectors.modbus.plan import Block, PlannedTag, coalesce, one_by_one
from connectors.modbus.request_queue import Priority
from connectors.modbus.settings import ModbusDevice
from connectors.model.late_polls import BlockTimes
from connectors.model.samples import SampleBatch


class BlockRead(ReadFrame):
    """The read of block ``number`` of the scan ``job``; on the wire once at a time."""

    __slots__ = ("job", "number")

    def __init__(self, scan: Scan, number: int, unit_id: int, into: memoryview) -> None:
        super().__init__(scan.blocks[number], unit_id, into)
        self.job = scan
        self.number = number

    def answered(self, code: int, arrived_ns: int, arrived_s: float) -> bool:
        """The reply has come. False: nothing has to be asked because of it."""
        scan = self.job
        scan.codes[self.number] = code
        scan.arrived_ns[self.number] = arrived_ns
        scan.arrived_s[self.number] = arrived_s
        scan.unanswered -= 1
        return False

    def failed(self, reason: str) -> bool:
        """There was no proper answer. True when the scan ends with it, false when the read is to be tried again."""
        scan = self.job
        failed = scan.attempts_failed[self.number] = scan.attempts_failed.get(self.number, 0) + 1
        if failed < scan.attempts_max:
            return False
        times = "" if failed == 1 else f", tried {failed} times"
        scan.failure = NoAnswer(self.block, f"{reason} (read of {self.place}{times})")
        return True


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A block that was given up, and why, in a sentence."""

    block: Block
    reason: str


class Scan:
    """Some blocks of one unit, read together again and again: requests, reply area and decode plan are made once.

    A connection takes reads from ``unasked``, whose answers fill in ``codes``, ``arrived_ns`` and ``arrived_s`` (by the
    monotonic clock), until ``unanswered`` is 0. A run ends early when a block gets no answer: then that is its
    ``failure``. One run at a time.
    """

    __slots__ = (
        "_all_tags",
        "_plan",
        "_reads",
        "_sizes",
        "_tags",
        "arrived_ns",
        "arrived_s",
        "attempts_failed",
        "attempts_max",
        "blocks",
        "codes",
        "done",
        "failure",
        "priority",
        "unanswered",
        "unasked",
    )

    def __init__(self, blocks: Sequence[Block], unit_id: int) -> None:
        self.blocks = tuple(blocks)
        self._plan = DecodePlan(blocks)
        self._tags = [np.array([tag.index for tag in block.tags], np.int32) for block in blocks]
        self._sizes = np.array([len(tags) for tags in self._tags], np.intp)
        self._all_tags = np.concatenate(self._tags) if blocks else np.zeros(0, np.int32)
        area = self._plan.area.data
        self._reads = [
            BlockRead(self, number, unit_id, area[start : start + block.byte_count])
            for number, (start, block) in enumerate(zip(self._plan.starts, blocks, strict=True))
        ]
        self.done: asyncio.Future[None] | None = None
        self.begin(Priority.POLL, 1)

    def begin(self, priority: Priority, attempts_max: int) -> None:
        """Forget the run before; every read is tried ``attempts_max`` times."""
        count = len(self.blocks)
        self.codes = [NOT_READ] * count
        self.arrived_ns = [0] * count
        self.arrived_s = [0.0] * count
        self.unasked = deque(self._reads)
        self.unanswered = count
        self.priority = priority
        self.attempts_max = attempts_max
        self.attempts_failed: dict[int, int] = {}
        """By number of the block, for those that failed at all."""
        self.failure: NoAnswer | None = None

    @property
    def has_ended(self) -> bool:
        """Whether all blocks are answered, or one was given up."""
        return not self.unanswered or self.failure is not None

    @property
    def has_answers(self) -> bool:
        """Whether the unit has answered anything in this run."""
        return any(code != NOT_READ for code in self.codes)

    def abandon(self, reason: str) -> None:
        """What waits is not asked any more. Nothing happens when the run has ended."""
        if not self.has_ended:
            self.failure = NoAnswer(self.blocks[0], reason)

    def data(self, number: int) -> bytes:
        """The data bytes of a block as they came last."""
        return bytes(self._reads[number].into)

    def batches(self) -> list[SampleBatch]:
        """The samples of the run; see ``DecodePlan.decode``."""
        return self._plan.decode(self.codes, self.arrived_ns) if self.blocks else []

    def times(self) -> BlockTimes:
        """The blocks that were read in this run, and when; of a whole run ``tags`` is the same array each time."""
        if not any(self.codes):
            return BlockTimes(self._all_tags, self._sizes, self.arrived_s, self.arrived_ns)
        there = [at for at, code in enumerate(self.codes) if code != NOT_READ and code not in REFUSALS]
        tags = np.concatenate([self._tags[at] for at in there] or [self._all_tags[:0]])
        at_s, at_ns = [self.arrived_s[at] for at in there], [self.arrived_ns[at] for at in there]
        return BlockTimes(tags, self._sizes[there], at_s, at_ns)

    def refused(self) -> list[tuple[Block, int]]:
        """The blocks that the unit refused to read in this run, each with the exception code."""
        if not any(self.codes):
            return []
        return [(block, code) for block, code in zip(self.blocks, self.codes, strict=True) if code in REFUSALS]

    def unread(self) -> list[Block]:
        """The blocks that have no answer yet, except for the one that was given up."""
        given_up = None if self.failure is None else self.failure.block
        return [
            block
            for block, code in zip(self.blocks, self.codes, strict=True)
            if code == NOT_READ and block is not given_up
        ]


class ScanClass:
    """The tags of one poll interval, and the scan that reads those of them that can be read."""

    def __init__(self, interval_s: float, tags: Sequence[PlannedTag], settings: ModbusDevice) -> None:
        self.interval_s = interval_s
        self._tags = tags
        self._settings = settings
        self._blocks: list[Block] = []
        self.plan_without(frozenset())

    @property
    def scan(self) -> Scan:
        """The scan to run in the next cycle; another one after each change of the plan."""
        return self._scan

    def plan_without(self, indices: frozenset[int]) -> None:
        """Plan anew, for all tags but these."""
        tags = [tag for tag in self._tags if tag.index not in indices]
        settings = self._settings
        if settings.one_per_tag:
            self._blocks = list(one_by_one(tags))
        else:
            self._blocks = list(coalesce(tags, settings.hole_registers_max, settings.block_registers_max))
        self._rebuild()

    def leave_out(self, block: Block) -> bool:
        """Read ``block`` no more; false when it was not read any more anyway."""
        if block not in self._blocks:
            return False
        self._blocks.remove(block)
        self._rebuild()
        return True

    def take_in(self, blocks: Sequence[Block]) -> None:
        """Read these blocks too."""
        self._blocks += blocks
        self._rebuild()

    def _rebuild(self) -> None:
        self._scan = Scan(self._blocks, self._settings.unit_id)
