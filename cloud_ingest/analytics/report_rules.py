"""When a report is due, and of which time. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

CATCH_UP_MAX: Final = 14
"""So many periods are made up for when nothing ran for a while; older ones are made when somebody asks."""


class Period(StrEnum):
    """What a report is of; weeks begin on Monday (ISO 8601)."""

    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class Schedule:
    """``at_minute``: minutes after local midnight at which the report of the period before is made."""

    period: Period
    zone: str
    at_minute: int


@dataclass(frozen=True, slots=True)
class Due:
    """A period: its first local day, and from when to when that is. A day has 23 or 25 hours when clocks change."""

    day: date
    begin: datetime
    end: datetime


def period_of(schedule: Schedule, day: date) -> Due:
    """The period that ``day`` is in."""
    first = day - timedelta(days=day.weekday()) if schedule.period is Period.WEEK else day
    after = first + timedelta(days=7 if schedule.period is Period.WEEK else 1)
    return Due(first, _midnight(first, schedule.zone), _midnight(after, schedule.zone))


def due(schedule: Schedule, since: datetime, made: Sequence[date], now: datetime) -> list[Due]:
    """The periods that ended after ``since``, are not among ``made``, and whose time has come; the oldest first."""
    length = timedelta(days=7 if schedule.period is Period.WEEK else 1)
    found: list[Due] = []
    one = period_of(schedule, now.astimezone(ZoneInfo(schedule.zone)).date() - length)
    for _ in range(CATCH_UP_MAX):
        if one.end <= since:
            break
        if one.day not in made and one.end + timedelta(minutes=schedule.at_minute) <= now:
            found.append(one)
        one = period_of(schedule, one.day - length)
    return found[::-1]


def _midnight(day: date, zone: str) -> datetime:
    """The moment at which ``day`` begins there; where clocks skip midnight, the first that there is."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
