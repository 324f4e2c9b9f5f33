"""How much of each asker was taken within the last minute: the sliding window counter, without I/O and without a clock.

Two counts for an asker, of this minute and of the one before, which counts for as much as of it is left in the window.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60


@dataclass(slots=True)
class _Counts:
    minute: int
    now: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether one more was taken, how many are left, and after how long more are: at least one, if none was left."""

    is_taken: bool
    remaining: int
    reset_s: int


class SlidingWindows:
    """The counts of up to ``askers_max`` askers; of more, those who asked last."""

    def __init__(self, askers_max: int) -> None:
        self._askers_max = askers_max
        self._counts: OrderedDict[Hashable, _Counts] = OrderedDict()

    def take(self, asker: Hashable, most: int, now_s: float) -> Taken:
        """Take one of ``asker``, of whom ``most`` are taken within ``WINDOW_S``; ``now_s`` never goes back.

        One that is refused is not counted: who waits is taken again.
        """
        minute, passed_s = divmod(now_s, WINDOW_S)
        counts = self._of(asker, int(minute))
        left = 1 - passed_s / WINDOW_S
        used = counts.before * left + counts.now
        if used + 1 > most:
            return Taken(is_taken=False, remaining=0, reset_s=_wait_s(counts, most, passed_s))
        counts.now += 1
        return Taken(is_taken=True, remaining=int(most - used - 1), reset_s=max(1, math.ceil(WINDOW_S - passed_s)))

    def _of(self, asker: Hashable, minute: int) -> _Counts:
        counts = self._counts.get(asker)
        if counts is None:
            counts = self._counts[asker] = _Counts(minute)
            if len(self._counts) > self._askers_max:
                self._counts.popitem(last=False)
        elif counts.minute != minute:
            counts.before = counts.now if counts.minute == minute - 1 else 0
            counts.minute, counts.now = minute, 0
        self._counts.move_to_end(asker)
        return counts


def _wait_s(counts: _Counts, most: int, passed_s: float) -> int:
    """How long it is until one more is taken of who asks nothing meanwhile."""
    if counts.now + 1 <= most:  # as soon as enough of the minute before has left the window
        wait_s = WINDOW_S * (1 - (most - 1 - counts.now) / counts.before) - passed_s
    else:  # in the next minute, for which this one is the one before
        wait_s = WINDOW_S - passed_s + WINDOW_S * (1 - (most - 1) / counts.now)
    return max(1, math.ceil(wait_s))
