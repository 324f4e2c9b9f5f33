"""Shifts of a calendar between two times. Pure: no I/O, no clock.

A shift is written in the plant's local time: one from 22:00 to 06:00 lasts seven hours in the night in which the clock
is set forward, and nine in that in which it is set back. A time that the clock skips is the one as long after the skip;
of a time that comes twice the first is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS_MAX = 800
"""Nobody asks for more at once."""


@dataclass(frozen=True, slots=True)
class Period:
    """From one local time to another; to the next day where the end is not later than the begin."""

    begin: time
    end: time


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift; ``days`` are those on which it begins, 0 for Monday."""

    name: str
    period: Period
    days: frozenset[int] = frozenset(range(7))
    breaks: tuple[Period, ...] = ()


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weekly pattern, and the days on which it does not hold: ``exceptions`` have shifts of their own, or none."""

    zone: ZoneInfo
    shifts: tuple[Shift, ...]
    exceptions: Mapping[date, tuple[Shift, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """From ``begin`` to before ``end``, in UTC."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class WorkedShift:
    """One shift of one day."""

    name: str
    day: date
    span: Span
    breaks: tuple[Span, ...]


def shifts_between(calendar: Calendar, begin: datetime, end: datetime) -> tuple[WorkedShift, ...]:
    """Shifts that touch the time from ``begin`` to ``end``, whole, in their order. At most ``DAYS_MAX`` days."""
    first = begin.astimezone(calendar.zone).date() - timedelta(days=1)  # it may have begun the evening before
    days = min((end.astimezone(calendar.zone).date() - first).days + 1, DAYS_MAX)
    found = [shift for number in range(days) for shift in _of_day(calendar, first + timedelta(days=number))]
    touching = [shift for shift in found if shift.span.begin < end and shift.span.end > begin]
    return tuple(sorted(touching, key=lambda shift: (shift.span.begin, shift.name)))


def unplanned_time(calendar: Calendar, begin: datetime, end: datetime) -> tuple[Span, ...]:
    """When nobody planned to produce: outside of all shifts, and in their breaks; cut to ``begin`` and ``end``."""
    shifts = shifts_between(calendar, begin, end)
    worked = _joined(shift.span for shift in shifts)
    breaks = [pause for shift in shifts for pause in shift.breaks]
    found: list[Span] = []
    at = begin
    for span in worked:
        found.append(Span(at, span.begin))
        at = max(at, span.end)
    found.append(Span(at, end))
    cut = [Span(max(span.begin, begin), min(span.end, end)) for span in [*found, *breaks]]
    return tuple(_joined(span for span in cut if span.begin < span.end))


def mistakes(shifts: Sequence[Shift]) -> Iterator[tuple[int, str]]:
    """What is wrong with the shifts of a pattern: which of them, and why."""
    for at, shift in enumerate(shifts):
        for other in shifts[:at]:
            if shift.days & other.days and _minutes_overlap(shift.period, other.period):
                yield at, f"the shifts {other.name!r} and {shift.name!r} overlap"
        for pause in shift.breaks:
            if not _is_within(pause, shift.period):
                yield (
                    at,
                    f"a break from {pause.begin:%H:%M} to {pause.end:%H:%M} is not within the shift {shift.name!r}",
                )


def mistakes_overnight(shifts: Sequence[Shift]) -> Iterator[tuple[int, str]]:
    """Which shifts of a pattern begin while one of the day before is not over, and why that is one."""
    for at, shift in enumerate(shifts):
        for other in shifts:
            begins_behind = any((day + 1) % 7 in shift.days for day in other.days)
            if begins_behind and _reaches_into(other, shift):
                yield at, f"the shift {shift.name!r} begins before {other.name!r} of the day before is over"


def mistakes_around(shifts: Sequence[Shift], exceptions: Mapping[date, Sequence[Shift]]) -> Iterator[tuple[date, str]]:
    """Which days with shifts of their own have one that overlaps with a shift of the day before or behind."""

    def on(day: date) -> Sequence[Shift]:
        return exceptions[day] if day in exceptions else [one for one in shifts if day.weekday() in one.days]

    for day in sorted(exceptions):
        behind = day + timedelta(days=1)
        pairs = [(day - timedelta(days=1), day)] + ([] if behind in exceptions else [(day, behind)])
        for earlier, later in pairs:
            for one in on(earlier):
                for other in on(later):
                    if _reaches_into(one, other):
                        yield day, f"{one.name!r} of {earlier} is not over when {other.name!r} of {later} begins"


def _of_day(calendar: Calendar, day: date) -> Iterator[WorkedShift]:
    pattern = calendar.exceptions.get(day)
    shifts = [shift for shift in calendar.shifts if day.weekday() in shift.days] if pattern is None else pattern
    for shift in shifts:
        span = _span(calendar.zone, day, shift.period)
        if span.begin < span.end:  # else the clock skips it whole
            breaks = (_span(calendar.zone, _day_of_break(day, shift, pause), pause) for pause in shift.breaks)
            yield WorkedShift(shift.name, day, span, tuple(pause for pause in breaks if pause.begin < pause.end))


def _day_of_break(day: date, shift: Shift, pause: Period) -> date:
    return day if pause.begin >= shift.period.begin else day + timedelta(days=1)


def _span(zone: ZoneInfo, day: date, period: Period) -> Span:
    last = day if period.begin < period.end else day + timedelta(days=1)
    return Span(_utc(zone, day, period.begin), _utc(zone, last, period.end))


def _utc(zone: ZoneInfo, day: date, at: time) -> datetime:
    return datetime.combine(day, at, zone).astimezone(UTC)


def _joined(spans: Iterator[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.begin):
        if joined and span.begin <= joined[-1].end:
            joined[-1] = Span(joined[-1].begin, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def _minutes(period: Period) -> tuple[int, int]:
    begin = period.begin.hour * 60 + period.begin.minute
    end = period.end.hour * 60 + period.end.minute
    return begin, end if begin < end else end + 1440


def _minutes_overlap(one: Period, other: Period) -> bool:
    begin, end = _minutes(one)
    other_begin, other_end = _minutes(other)
    return begin < other_end and other_begin < end


def _reaches_into(earlier: Shift, later: Shift) -> bool:
    """Whether ``earlier`` is not over when ``later`` begins on the day behind."""
    return _minutes(earlier.period)[1] > _minutes(later.period)[0] + 1440


def _is_within(pause: Period, period: Period) -> bool:
    begin, end = _minutes(period)
    pause_begin, pause_end = _minutes(pause)
    return any(begin <= pause_begin + day and pause_end + day <= end for day in (0, 1440))
