"""Which rows were committed a while ago; without I/O.

By the monotonic clock, as the wall clock may be set while they wait.
"""

from __future__ import annotations

from collections import deque
from typing import Final

STEP_S: Final = 0.05


class CommitAges:
    """Remembers when numbers were committed, for as long as ``old_after_s`` and to about ``STEP_S``."""

    def __init__(self, old_after_s: float) -> None:
        self._old_after_s = old_after_s
        self._steps: deque[tuple[float, int]] = deque()  # at most old_after_s / STEP_S and two more
        self._old_until = 0

    def committed(self, first: int, last: int, now_s: float) -> None:
        """Numbers of this start have been committed; what is below the first one ever is of an earlier start."""
        if not self._steps and not self._old_until:
            self._old_until = first - 1
        self.old_until(now_s)
        if self._steps and now_s - self._steps[-1][0] < STEP_S:
            self._steps[-1] = (self._steps[-1][0], last)
        else:
            self._steps.append((now_s, last))

    def old_until(self, now_s: float) -> int:
        """Numbers up to this one were committed longer than ``old_after_s`` ago."""
        while self._steps and now_s - self._steps[0][0] > self._old_after_s:
            self._old_until = max(self._old_until, self._steps.popleft()[1])
        return self._old_until
