"""Calendars as plant files and requests write them, and the rules that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, model_validator

from cloud_ingest.lines.model_types import Code, Day, LocalTime, Name, Part
from cloud_ingest.lines.shift_rules import Calendar, Period, Shift, mistakes, mistakes_around, mistakes_overnight
from connectors.ports.settings import SettingInvalid

DAY_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PeriodModel(Part):
    """From one local time to another; to the next day where the end is not later."""

    begin: LocalTime
    end: LocalTime


class ShiftModel(PeriodModel):
    """A shift of the weekly pattern."""

    shift: Code
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...],
        Field(min_length=1, max_length=7, description="On which it begins"),
    ] = DAY_NAMES
    breaks: Annotated[tuple[PeriodModel, ...], Field(max_length=20)] = ()


class ExceptionModel(Part):
    """A day on which the pattern does not hold; without shifts nothing is planned."""

    date: Day
    name: Name = ""
    shifts: Annotated[tuple[ShiftModel, ...], Field(max_length=20)] = ()


class CalendarModel(Part):
    """Shifts by a weekly pattern, in the site's local time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Two shifts",
                    "shifts": [
                        {"shift": "early", "begin": "06:00", "end": "14:00", "days": ["mon", "tue", "wed"]},
                        {"shift": "late", "begin": "14:00", "end": "22:00"},
                    ],
                    "holidays": ["2026-12-25"],
                }
            ]
        }
    )

    name: Name = ""
    shifts: Annotated[tuple[ShiftModel, ...], Field(min_length=1, max_length=50)]
    holidays: Annotated[tuple[Day, ...], Field(max_length=1000, description="Nothing is planned on these days")] = ()
    exceptions: Annotated[tuple[ExceptionModel, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _fit(self) -> CalendarModel:
        for at, why in mistakes(shifts_of(self.shifts)):
            raise SettingInvalid(f"{why}.", "Change one of the times, or the days.", ("shifts", at))
        for day, exception in enumerate(self.exceptions):
            for at, why in mistakes(shifts_of(exception.shifts, day=exception.date)):
                raise SettingInvalid(f"{why}.", "Change one of the times.", ("exceptions", day, "shifts", at))
        return self


def overlaps(model: CalendarModel) -> Iterator[tuple[tuple[str, int], str]]:
    """Which shifts begin before one of the day before is over: their place in ``model``, and a sentence.

    Who writes a calendar is told; one that was stored before this was looked at is read as it is.
    """
    shifts = shifts_of(model.shifts)
    for at, why in mistakes_overnight(shifts):
        yield ("shifts", at), why
    days = [entry.date for entry in model.exceptions]
    for day, why in mistakes_around(shifts, exceptions_of(model)):
        if day in days:
            yield ("exceptions", days.index(day)), why


def calendar_of(model: CalendarModel, time_zone: str) -> Calendar:
    """A calendar in the time zone of its site."""
    return Calendar(ZoneInfo(time_zone), shifts_of(model.shifts), exceptions_of(model))


def exceptions_of(model: CalendarModel) -> dict[date, tuple[Shift, ...]]:
    """The days on which the pattern does not hold, with their shifts."""
    exceptions: dict[date, tuple[Shift, ...]] = dict.fromkeys(model.holidays, ())
    return exceptions | {entry.date: shifts_of(entry.shifts, day=entry.date) for entry in model.exceptions}


def shifts_of(models: Iterable[ShiftModel], day: date | None = None) -> tuple[Shift, ...]:
    """The shifts of a pattern, or of the one ``day``."""
    return tuple(
        Shift(
            model.shift,
            _period(model),
            frozenset({day.weekday()}) if day is not None else frozenset(DAY_NAMES.index(name) for name in model.days),
            tuple(_period(pause) for pause in model.breaks),
        )
        for model in models
    )


def _period(model: PeriodModel) -> Period:
    return Period(model.begin, model.end)
