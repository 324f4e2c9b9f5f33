"""How long until the outbox is full, and until what waits in it has been delivered, without I/O.

Both are the present rate carried on, measured over the last minutes at most, and no further back than the uplink last
came or went: what was before says nothing of what comes. Times are monotonic.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

SPAN_S_MIN: Final = 10.0
"""A rate that was measured over less says nothing yet."""
SPAN_S_MAX: Final = 300.0
STEP_S: Final = 2.0
FOREVER_S: Final = 10 * 365 * 86_400.0
"""What takes longer than ten years is not said in years: it does not happen at this rate."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """``full_s`` and ``drained_s`` are seconds from now; ``None`` where it does not come to that at this rate.

    ``measured_s`` is how long the rates were measured; 0 while that is too short to say anything.
    """

    measured_s: float
    full_s: float | None = None
    drained_s: float | None = None
    bytes_per_s: float = 0.0
    """By how much the outbox grows; negative while it shrinks."""
    waiting_per_s: float = 0.0
    """How many samples wait more with each second; negative while they become fewer."""


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    used_bytes: int
    waiting: int


class OutboxForecast:
    """Looks at the outbox every few seconds; at most so many looks are kept as make ``SPAN_S_MAX``."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=round(SPAN_S_MAX / STEP_S) + 1)
        self._is_delivering: bool | None = None

    def observe(self, now_s: float, *, used_bytes: int, waiting: int, is_delivering: bool) -> None:
        """What is in use and how many samples wait now; ``is_delivering``: the uplink takes them, and is answered."""
        if is_delivering is not self._is_delivering:
            self._is_delivering = is_delivering
            self._looks.clear()
        self._looks.append(_Look(now_s, used_bytes, waiting))

    def at(self, *, room_bytes: int) -> Forecast:
        """What the looks so far say, when samples give way once the outbox has grown by ``room_bytes``."""
        if len(self._looks) < 2:
            return Forecast(0.0)
        first, last = self._looks[0], self._looks[-1]
        span_s = last.at_s - first.at_s
        if span_s < SPAN_S_MIN:
            return Forecast(0.0)
        grows = (last.used_bytes - first.used_bytes) / span_s
        more = (last.waiting - first.waiting) / span_s
        full_s = max(0, room_bytes) / grows if grows > 0 else None
        drained_s = 0.0 if last.waiting == 0 else last.waiting / -more if more < 0 else None
        return Forecast(round(span_s, 1), _said(full_s), _said(drained_s), round(grows, 1), round(more, 1))


def _said(seconds: float | None) -> float | None:
    return None if seconds is None or seconds > FOREVER_S else round(seconds, 1)
