"""When units that do not answer are asked on a bus, so that those that answer hardly notice.

Pure: it is told what was sent and what came of it. Times are those of one monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Generic, Protocol, TypeVar

from connectors.modbus.breaker import Standing

LATE_POLLS_PART: Final = 0.01
LATE_PART: Final = 0.1
GREETING_S: Final = 0.5
"""So long a unit of a serial line has for its first answer, at first: twice what one takes at 1,200 baud."""
GREETING_S_MIN: Final = 0.2
GREETING_ANSWERS: Final = 5.0
"""So many times the slowest first answer of the line so far, once there was one."""
QUIET_PAUSES: Final = 10.0
"""A command comes at any moment: for so many times what a silent unit has taken the bus is free of it."""

Request = TypeVar("Request")


def pause_after_s(held_s: float, polled_s: Iterable[float]) -> float:
    """So long no silent unit is to be asked, after one has held the bus for ``held_s``.

    Of the polls that others make at ``polled_s``, at any moment, no more than one in a hundred then comes later
    than by a tenth of its interval.
    """
    delays_s = (min(interval_s, held_s - LATE_PART * interval_s) for interval_s in polled_s)
    return max((0.0, *delays_s)) / LATE_POLLS_PART


class Polled(Protocol):
    """A unit, as ``BusUnit`` has it."""

    timeout_s: float
    due_s: dict[float, float]
    is_passed_over: bool

    @property
    def standing(self) -> Standing:
        """Whether it answers."""
        ...


def intervals_s(units: Iterable[Polled]) -> set[float]:
    """How often those of ``units`` that answer are polled."""
    return {interval_s for unit in units if unit.standing is Standing.ANSWERS for interval_s in unit.due_s}


def is_quiet(units: Collection[Polled], now_s: float) -> bool:
    """Whether no poll of ``units`` falls due while one that is silent takes its whole time."""
    silent = (unit.timeout_s for unit in units if unit.standing is not Standing.ANSWERS)
    end_s = now_s + max(silent, default=0.0)
    dues_s = (
        due_s if due_s > now_s else due_s + interval_s  # the answer to that poll may have come just now
        for unit in units
        if unit.standing is Standing.ANSWERS
        for interval_s, due_s in unit.due_s.items()
    )
    return all(due_s >= end_s for due_s in dues_s)


class Doubt(Generic[Request]):
    """The requests of one bus to units that are new or silent: one at a time, as it may hold the bus for long.

    After a request that got no answer all silent units wait: until the bus is quiet for long enough, as nothing is due
    meanwhile, or until it has been so long that others hardly notice.
    """

    __slots__ = ("_answer_s_max", "_anyway_s", "_asked", "_quiet_s", "_sent_s")

    def __init__(self) -> None:
        self._asked: Request | None = None
        self._sent_s = 0.0
        self._quiet_s = 0.0
        self._anyway_s = 0.0
        self._answer_s_max = 0.0
        """How long the slowest answer of a unit that was in doubt has taken."""

    def forget(self) -> None:
        """The connection is another one: what got no answer on the one before says little."""
        self._asked = None
        self._quiet_s = self._anyway_s = 0.0

    def may_ask(self, in_flight: Collection[Request], now_s: float, units: Collection[Polled]) -> Standing:
        """Up to which standing ``units``, all those of the bus, may be asked now."""
        if self._asked is not None and self._asked in in_flight:
            return Standing.ANSWERS
        if now_s >= self._anyway_s or (now_s >= self._quiet_s and is_quiet(units, now_s)):
            return Standing.SILENT
        return Standing.NEW

    def sent(self, request: Request, now_s: float) -> None:
        """``request`` goes to a unit that is new or silent."""
        self._asked, self._sent_s = request, now_s

    def greeting_s(self, request: Request, unit: Polled) -> float | None:
        """How long ``request`` is waited for, where it is the first one to a new unit of a serial line.

        There each unit that is not there would hold up the first values of all others for its whole time. One that has
        not answered by then is asked again after the other new ones, and for as long as it may take: then ``None``.
        """
        if request is not self._asked or unit.standing is not Standing.NEW or unit.is_passed_over:
            return None
        learned_s = max(GREETING_S_MIN, GREETING_ANSWERS * self._answer_s_max) if self._answer_s_max else GREETING_S
        return learned_s if learned_s < unit.timeout_s else None

    def shown(self, request: Request, standing: Standing, polled_s: Collection[float], now_s: float) -> list[float]:
        """What came of ``request`` shows how its unit stands; others that answer are polled at ``polled_s``.

        When to look again whether a silent unit is to be asked, where they have to wait now.
        """
        if request is not self._asked:
            return []
        self._asked = None
        held_s = now_s - self._sent_s
        if standing is Standing.ANSWERS:
            self._answer_s_max = max(self._answer_s_max, held_s)
        if standing is not Standing.SILENT or not polled_s:
            return []
        self._quiet_s = now_s + QUIET_PAUSES * held_s
        self._anyway_s = max(self._quiet_s, now_s + pause_after_s(held_s, polled_s))
        return [self._quiet_s, self._anyway_s]
