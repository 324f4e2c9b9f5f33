"""When each polled tag of a device was read last, and which of them were not read for longer than their polls ask for.

A device that answers late, or an agent that takes no samples, leaves a hole between two polls while the connection
stands. No connection is lost, so nobody else would tell of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.samples import Int32Array, Int64Array

INTERVALS_MAX: Final = 3
BEHIND_S_MIN: Final = 1.0
"""A poll may be late by so much however short its interval is: a busy machine is no reason for a gap."""

Seconds = NDArray[np.float64]


def late_after_s(interval_s: float) -> float:
    """So long after one poll of a tag the next one counts as late."""
    return max(INTERVALS_MAX * interval_s, interval_s + BEHIND_S_MIN)


@dataclass(frozen=True, slots=True)
class LatePoll:
    """``tags`` were not read between two times (the agent's, ns of Unix time), one of them for ``longest_s``."""

    tags: Int32Array
    first_ns: int
    last_ns: int
    longest_s: float


@dataclass(frozen=True, slots=True)
class BlockTimes:
    """When some blocks were read: ``tags`` block by block, ``sizes`` how many each has; times by both clocks."""

    tags: Int32Array
    sizes: NDArray[np.intp]
    at_s: Sequence[float]
    at_ns: Sequence[int]

    def of_tags(self) -> tuple[Int32Array, Seconds, Int64Array]:
        """The tags, each with its own times."""
        at_ns = np.array(self.at_ns, np.int64)
        return self.tags, np.repeat(np.array(self.at_s, np.float64), self.sizes), np.repeat(at_ns, self.sizes)


class PollTimes:
    """When the tags of one connection were read; a tag is an index into ``intervals_s``.

    How long ago that was is measured by a monotonic clock: the agent's own time may be set in between. A scan that
    comes in time, as nearly all do, is kept as it is, and only looked at tag by tag when a time is needed.
    """

    def __init__(self, intervals_s: Sequence[float]) -> None:
        self._limit_s: Seconds = np.array([late_after_s(interval_s) for interval_s in intervals_s])
        self._read_s: Seconds = np.full(len(intervals_s), np.nan)
        self._read_ns: Int64Array = np.zeros(len(intervals_s), np.int64)
        self._newest: dict[int, tuple[BlockTimes, float]] = {}  # by identity of the tags; with their shortest limit

    @classmethod
    def of_none(cls, tag_count: int) -> PollTimes:
        """For tags none of which is polled yet; see ``expect``."""
        return cls([math.inf] * tag_count)

    def expect(self, tags: Sequence[int], interval_s: float) -> None:
        """``tags`` are polled this often from now on."""
        self._settle()
        self._limit_s[list(tags)] = late_after_s(interval_s)
        self._read_s[list(tags)] = np.nan

    def read_again(self, blocks: BlockTimes) -> LatePoll | None:
        """As ``read``, for a scan that is made again and again: cheaper where its ``tags`` are the same array."""
        before, limit_s = self._newest.get(id(blocks.tags), (None, 0.0))
        if before is not None and before.tags is blocks.tags and max(blocks.at_s) - min(before.at_s) <= limit_s:
            self._newest[id(blocks.tags)] = blocks, limit_s
            return None
        late = self.read(*blocks.of_tags())
        if len(blocks.tags):
            self._newest[id(blocks.tags)] = blocks, float(self._limit_s[blocks.tags].min())
        return late

    def read(self, tags: Int32Array, at_s: Seconds, at_ns: Int64Array) -> LatePoll | None:
        """``tags`` have been read, each at its own time by the monotonic clock and by the agent's; which were late."""
        self._settle()
        late = self._late(tags, at_s, at_ns)
        self._read_s[tags] = at_s
        self._read_ns[tags] = at_ns
        return late

    def overdue(self, tags: Int32Array, now_s: float, now_ns: int) -> LatePoll | None:
        """Which of ``tags`` should have been read by now."""
        self._settle()
        return self._late(tags, np.full(len(tags), now_s), np.full(len(tags), now_ns, np.int64))

    def behind(self, heard_s: float = -math.inf, heard_ns: int = 0) -> LatePoll | None:
        """Which tags should have been read again before the newest read of any tag, or before ``heard_s``.

        Then something else came from the device; ``heard_ns`` is the same by the agent's own time.
        """
        self._settle()
        if np.isnan(self._read_s).all():
            return None
        newest, every = int(np.nanargmax(self._read_s)), np.arange(len(self._read_s), dtype=np.int32)
        if heard_s > self._read_s[newest]:
            return self.overdue(every, heard_s, heard_ns)
        return self.overdue(every, float(self._read_s[newest]), int(self._read_ns[newest]))

    def told(self, late: LatePoll, heard_s: float = -math.inf) -> None:
        """``late``, found by ``behind`` with this ``heard_s``, is told of: what is late next begins where it ends."""
        self._read_s[late.tags] = max(heard_s, float(np.nanmax(self._read_s)))
        self._read_ns[late.tags] = late.last_ns

    def forget(self, tags: Int32Array) -> None:
        """``tags`` are not polled any more: that they are not read is told otherwise."""
        self._settle()
        self._read_s[tags] = np.nan

    def _settle(self) -> None:
        for blocks, _ in self._newest.values():
            tags, at_s, at_ns = blocks.of_tags()
            self._read_s[tags] = at_s
            self._read_ns[tags] = at_ns
        self._newest.clear()

    def _late(self, tags: Int32Array, at_s: Seconds, at_ns: Int64Array) -> LatePoll | None:
        passed_s = at_s - self._read_s[tags]
        is_late: NDArray[Any] = passed_s > self._limit_s[tags]  # never so for what was not read yet
        if not is_late.any():
            return None
        first_ns = int(self._read_ns[tags][is_late].min())
        last_ns = max(first_ns, int(at_ns[is_late].max()))  # the clock may have been set back
        return LatePoll(tags[is_late], first_ns, last_ns, float(passed_s[is_late].max()))
