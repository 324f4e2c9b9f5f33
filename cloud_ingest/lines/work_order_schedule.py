"""When work can be done, by the shifts of a line: forwards from a begin, backwards from an end. Pure: no I/O, no clock.

Times are with their zone, durations in seconds of work.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

Span = tuple[datetime, datetime]
STEP_S_MAX: Final = 10 * 366 * 86_400
"""No plan reaches further; what takes longer ends there."""


@dataclass(frozen=True, slots=True)
class WorkTime:
    """When a line works: in ``shifts`` (in order, apart from each other) until ``known_until``, and always behind it.

    Without any shift it always works.
    """

    shifts: tuple[Span, ...] = ()
    known_until: datetime | None = None

    def end_of(self, begin: datetime, work_s: Decimal) -> datetime:
        """When ``work_s`` of work are done that begin at ``begin`` or at the first time of work behind it."""
        left = timedelta(seconds=min(float(work_s), STEP_S_MAX))
        at = begin
        if self.shifts:
            first = max(0, bisect_right(self.shifts, (at, at)) - 1)
            for start, stop in self.shifts[first:]:
                at = max(at, start)
                if at >= stop:
                    continue
                if at + left <= stop:
                    return at + left
                left -= stop - at
                at = stop
            assert self.known_until is not None  # noqa: S101  who knows shifts knows until when
            at = max(at, self.known_until)
        return at + left

    def begin_of(self, end: datetime, work_s: Decimal, not_before: datetime) -> datetime:
        """When ``work_s`` of work have to begin to be done at ``end``; never before ``not_before``."""
        left = timedelta(seconds=min(float(work_s), STEP_S_MAX))
        at = end
        if self.shifts:
            assert self.known_until is not None  # noqa: S101
            if at > self.known_until:
                if at - left >= self.known_until:
                    return max(at - left, not_before)
                left -= at - self.known_until
                at = self.known_until
            for start, stop in reversed(self.shifts):
                if start >= at:
                    continue
                at = min(at, stop)
                if at - left >= start:
                    return max(at - left, not_before)
                left -= at - start
                at = start
                if at <= not_before:
                    return not_before
            return not_before
        return max(at - left, not_before)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step to be planned: its line's times, from when on the line is free, and how long all, and a first part, take.

    ``head_s`` is the work of the step until the one behind it can begin: all of it, unless they overlap.
    """

    time: WorkTime
    free_from: datetime
    work_s: Decimal
    head_s: Decimal


def earliest(steps: Sequence[PlannedStep], not_before: datetime) -> tuple[Span, ...]:
    """Each step as early as its line and the step before allow; no step ends before the one before it has."""
    planned: list[Span] = []
    may_begin, ended = not_before, not_before
    for step in steps:
        begin = step.time.end_of(max(step.free_from, may_begin), Decimal(0))
        ended = max(ended, step.time.end_of(begin, step.work_s))
        planned.append((begin, ended))
        may_begin = step.time.end_of(begin, step.head_s)
    return tuple(planned)


def latest(steps: Sequence[PlannedStep], due: datetime, not_before: datetime) -> tuple[Span, ...]:
    """Each step as late as ``due`` and the step behind allow: backwards scheduling.

    Where that is earlier than the lines can, the steps are planned as early as possible: then the last one ends after
    ``due``.
    """
    forwards = earliest(steps, not_before)
    if not steps or forwards[-1][1] >= due:
        return forwards
    planned: list[Span] = []
    end = due
    for step, (begin_first, _) in zip(reversed(steps), reversed(forwards), strict=True):
        begin = step.time.begin_of(end, step.work_s, begin_first)
        planned.append((begin, end))
        end = begin
    backwards = tuple(reversed(planned))
    is_possible = all(early[0] <= late[0] for early, late in zip(forwards, backwards, strict=True))
    return backwards if is_possible and backwards[0][0] >= forwards[0][0] else forwards
