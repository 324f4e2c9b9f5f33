"""How far a driver is behind because nobody took what it had."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

WAITS_MAX: Final = 100
"""More than these become one: it counts what lies between them as waiting too, which is never too little."""

APART_S_MIN: Final = 0.0005
"""Waits that are nearer than this, as those for the data types of one response are, become one."""


class Waiting:
    """The waits of one driver, as far back as they matter.

    ``lag_s`` is how long a sample is on its way while the driver need not wait. After a wait it hands over what came
    meanwhile, one data type after the other: until it has had ``lag_s`` of its own time, its newest sample says nothing
    of how far the others are.
    """

    def __init__(self, lag_s: Callable[[], float]) -> None:
        self._lag_s = lag_s
        self._waits: deque[tuple[float, float]] = deque()

    def waited(self, begun_s: float, ended_s: float) -> None:
        """The driver has waited from ``begun_s`` to ``ended_s``, by a monotonic clock."""
        if ended_s <= begun_s:
            return
        if self._waits and begun_s - self._waits[-1][1] < APART_S_MIN:
            begun_s = self._waits.pop()[0]
        self._waits.append((begun_s, ended_s))
        if len(self._waits) > WAITS_MAX:
            (first_s, _), (_, last_s) = self._waits.popleft(), self._waits.popleft()
            self._waits.appendleft((first_s, last_s))

    def behind_s(self, now_s: float) -> float:
        """What was said longer ago than the lag and this has been handed over."""
        own_s, waited_s, at_s, count = 0.0, 0.0, now_s, 0
        lag_s = self._lag_s()
        for begun_s, ended_s in reversed(self._waits):
            own_s += max(0.0, at_s - ended_s)
            if own_s >= lag_s:
                break
            waited_s += ended_s - begun_s
            at_s = begun_s
            count += 1
        while len(self._waits) > count:
            self._waits.popleft()
        return waited_s
