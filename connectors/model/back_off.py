"""Waiting times between attempts: longer each time, with jitter, so that a thousand agents do not come back at once."""

from __future__ import annotations

import random
from typing import Final

GROWTH: Final = 2.0


class BackOff:
    """The next wait is drawn evenly from half to all of a bound that doubles from ``first_s`` up to ``longest_s``."""

    def __init__(self, first_s: float, longest_s: float, source: random.Random | None = None) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._bound_s = first_s
        self._random = source or random.Random()

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        wait_s = self._bound_s * self._random.uniform(0.5, 1.0)
        self._bound_s = min(self._longest_s, self._bound_s * GROWTH)
        return wait_s

    def reset(self) -> None:
        """An attempt succeeded: begin with the shortest wait again."""
        self._bound_s = self._first_s
