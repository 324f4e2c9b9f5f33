"""When the next commit to the disk is due: as soon as something fresh is there, and not too soon after the last one.

Most of what a commit costs does not depend on how much is in it: the processor, a write and a flush of the disk, which
on flash memory wears it, then a message and its acknowledgement. So commits are at least an interval apart. Devices are
read in a rhythm, and what has just been read should not wait for the next round: once the interval is over, it is the
arrival of samples that starts a commit, and only when none come does the clock.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from connectors.ports.clock import Clock

GATHER_S: Final = 0.005
"""Samples of one round of reading come a little apart: a commit that they start waits so long for the others."""

TIDY_S: Final = 1.0
"""Rows that were acknowledged while no samples come are deleted this often."""


class CommitTimes:
    """Tells when to commit; ``interval_s`` is the least time from one commit's end to the next one's begin.

    Samples that come after that are committed at once, but for a few milliseconds in which others may come; samples
    that came before wait for these, half an interval at most. So nothing waits longer than one and a half intervals,
    and what is an alarm does not wait for anything but the disk, which it may keep busy for four times as much.
    """

    def __init__(self, interval_s: float, clock: Clock) -> None:
        self._interval_s = interval_s
        self._gather_s = min(GATHER_S, interval_s / 10)
        self._clock = clock
        self._earliest_s = -math.inf
        self._due_s = math.inf
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Until a commit is due."""
        await self._due.wait()

    def samples_came(self, *, are_alarms: bool = False) -> None:
        """Something is to be committed that should not wait; alarms wait for a quarter of the interval at most."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._earliest_s:
            self._by(now_s + self._gather_s, now_s)
        elif are_alarms:
            self._by(max(now_s, self._earliest_s - 0.75 * self._interval_s) + self._gather_s, now_s)
        else:
            self._by(self._earliest_s + self._interval_s / 2, now_s)

    def to_be_tidied(self) -> None:
        """Something can leave the disk with the next commit, and would not be worth one for itself for now."""
        now_s = self._clock.monotonic_s()
        self._by(now_s + TIDY_S, now_s)

    def at_once(self) -> None:
        """A commit is due now, however short a time after the last one."""
        self._by(-math.inf, 0.0)

    def begins(self) -> None:
        """A commit begins, of all that is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()
        self._due_s = math.inf
        self._earliest_s = math.inf

    def ends(self) -> None:
        """The commit has ended; tell again what came meanwhile."""
        self._earliest_s = self._clock.monotonic_s() + self._interval_s

    def _by(self, due_s: float, now_s: float) -> None:
        if due_s >= self._due_s:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_s = due_s
        if due_s <= now_s:
            self._due.set()
        else:
            self._timer = asyncio.get_running_loop().call_later(due_s - now_s, self._due.set)
