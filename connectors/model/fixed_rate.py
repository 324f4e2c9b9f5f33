"""When the next of the cycles that are repeated all the time is due."""

from __future__ import annotations


class FixedRate:
    """Cycles on a grid of ``interval_s`` from ``start_s`` on, so that delays of single cycles never add up.

    A cycle that is late begins at once; of several that were missed only the last one is made up for.
    """

    __slots__ = ("_cycle", "_interval_s", "_start_s")

    def __init__(self, interval_s: float, start_s: float) -> None:
        self._interval_s = interval_s
        self._start_s = start_s
        self._cycle = 0

    def advance(self, now_s: float) -> tuple[float, int]:
        """The seconds to wait for the next cycle (0 when it is late), and how many cycles were missed before it."""
        passed = int((now_s - self._start_s) / self._interval_s)
        missed = max(0, passed - self._cycle - 1)
        self._cycle += missed + 1
        return max(0.0, self._start_s + self._cycle * self._interval_s - now_s), missed
