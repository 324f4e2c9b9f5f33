"""When a unit that does not answer is left alone for a while, so that it takes no time from the others on its bus.

Pure: it is told what happened, and asks for the time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

UNANSWERED_MAX: Final = 3
PAUSE_S_FIRST: Final = 5.0
PAUSE_S_MAX: Final = 60.0
_GROWTH: Final = 2.0


class Standing(IntEnum):
    """What is known of a unit; the smaller number is asked first."""

    ANSWERS = 0
    NEW = 1
    """It has never been asked."""
    SILENT = 2
    """It has never answered, or not for so long that it is left alone from time to time."""


class UnitBreaker:
    """Opens after requests in a row without an answer; after the pause the first one decides.

    One that is answered closes it, one that is not opens it for twice as long, up to a minute. The number of requests
    is larger than the attempts of one read: that alone is no reason to leave a unit alone.
    """

    __slots__ = ("_count_max", "_has_answered", "_in_a_row", "_now_s", "_open_until_s", "_pause_s", "reason")

    def __init__(self, retries: int, now_s: Callable[[], float]) -> None:
        self._count_max = max(UNANSWERED_MAX, retries + 2)
        self._now_s = now_s
        self._has_answered = False
        self.reason = ""
        """Why the newest request got no answer."""
        self._in_a_row = 0
        self._pause_s = PAUSE_S_FIRST
        self._open_until_s = 0.0

    @property
    def standing(self) -> Standing:
        """What is known of the unit."""
        if self._has_answered and not self._open_until_s:
            return Standing.ANSWERS
        return Standing.SILENT if self._in_a_row else Standing.NEW

    @property
    def wait_s(self) -> float:
        """So long nothing is to be sent to the unit; 0 when it may be asked."""
        return max(0.0, self._open_until_s - self._now_s()) if self._open_until_s else 0.0

    def answered(self) -> None:
        """The unit has answered, be it with an exception of its own."""
        self._has_answered = True
        if self._in_a_row or self._open_until_s:
            self._in_a_row = 0
            self._pause_s = PAUSE_S_FIRST
            self._open_until_s = 0.0

    def unanswered(self, reason: str) -> bool:
        """A request got no answer, for this reason. True when the unit is to be left alone now, for ``wait_s``."""
        self.reason = reason
        self._in_a_row += 1
        if self._in_a_row < self._count_max:
            return False
        if self._open_until_s:
            self._pause_s = min(PAUSE_S_MAX, self._pause_s * _GROWTH)
        self._open_until_s = self._now_s() + self._pause_s
        return True
