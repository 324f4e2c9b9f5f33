"""Reads that are made one after the other, and their way to samples."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connectors.modbus.decode import ANSWERED, NOT_READ, DecodePlan
from connectors.modbus.exception_codes import REFUSALS
from connectors.modbus.frames import ReadFrame
from connectors.modbus.plan import Block, PlannedTag, coalesce
from connectors.modbus.settings import ModbusDevice
from connectors.model.samples import SampleBatch


class Scan:
    """Some blocks of one unit, read together again and again: frames, reply area and decode plan are made once.

    A connection fills in ``codes`` and ``arrived_ns`` block by block; ``at`` is the block whose turn it is. A run ends
    early at the first block that got no answer: then ``failure`` says why. One run at a time.
    """

    __slots__ = (
        "_plan",
        "arrived_ns",
        "at",
        "attempts_failed",
        "attempts_max",
        "blocks",
        "codes",
        "done",
        "failure",
        "frames",
        "targets",
    )

    def __init__(self, blocks: Sequence[Block], unit_id: int) -> None:
        self.blocks = tuple(blocks)
        self.frames = [ReadFrame(block, unit_id) for block in blocks]
        self._plan = DecodePlan(blocks)
        area = self._plan.area.data
        self.targets = [
            area[start : start + block.byte_count] for start, block in zip(self._plan.starts, blocks, strict=True)
        ]
        self.done: asyncio.Future[None] | None = None
        self.begin(1)

    def begin(self, attempts_max: int) -> None:
        """Forget the run before; every read is tried ``attempts_max`` times."""
        count = len(self.blocks)
        self.codes = [NOT_READ] * count
        self.arrived_ns = [0] * count
        self.at = 0
        self.attempts_max = attempts_max
        self.attempts_failed = 0
        self.failure: str | None = None

    def batches(self) -> list[SampleBatch]:
        """The samples of the run; see ``DecodePlan.decode``."""
        return self._plan.decode(self.codes, self.arrived_ns) if self.blocks else []

    def refused(self) -> list[tuple[Block, int]]:
        """The blocks that the unit refused to read in this run, each with the exception code."""
        if not any(self.codes):
            return []
        return [(block, code) for block, code in zip(self.blocks, self.codes, strict=True) if code in REFUSALS]

    @property
    def answered_count(self) -> int:
        """How many blocks got any answer, exceptions included."""
        return sum(code >= ANSWERED for code in self.codes)


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
        self._blocks = list(coalesce(tags, self._settings.hole_registers_max, self._settings.block_registers_max))
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
