"""Shifts are as long as the clock on the wall says, also in the nights in which it is set."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.shift_rules import (
    Calendar,
    Period,
    Shift,
    Span,
    mistakes,
    mistakes_around,
    mistakes_overnight,
    shifts_between,
    unplanned_time,
)

BERLIN = ZoneInfo("Europe/Berlin")
EARLY = Shift("early", Period(time(6), time(14)), frozenset(range(5)), (Period(time(9), time(9, 15)),))
LATE = Shift("late", Period(time(14), time(22)), frozenset(range(5)))
NIGHT = Shift("night", Period(time(22), time(6)), frozenset(range(7)), (Period(time(2), time(2, 30)),))
THREE = Calendar(BERLIN, (EARLY, LATE, NIGHT))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def hours(calendar: Calendar, begin: str, end: str) -> dict[str, float]:
    found = shifts_between(calendar, utc(begin), utc(end))
    return {f"{one.day} {one.name}": (one.span.end - one.span.begin).total_seconds() / 3600 for one in found}


def test_a_night_in_which_the_clock_is_set_forward_is_an_hour_shorter() -> None:
    found = hours(THREE, "2026-03-28T23:00+01:00", "2026-03-29T05:00+02:00")
    assert found == {"2026-03-28 night": 7.0}


def test_a_night_in_which_the_clock_is_set_back_is_an_hour_longer() -> None:
    found = hours(THREE, "2026-10-24T23:00+02:00", "2026-10-25T05:00+01:00")
    assert found == {"2026-10-24 night": 9.0}


def test_a_break_at_a_time_that_the_clock_skips_comes_as_long_after_it() -> None:
    (night,) = shifts_between(THREE, utc("2026-03-29T00:00+01:00"), utc("2026-03-29T05:00+02:00"))
    assert night.breaks == (Span(utc("2026-03-29T03:00+02:00"), utc("2026-03-29T03:30+02:00")),)


def test_a_break_at_a_time_that_comes_twice_is_at_the_first() -> None:
    (night,) = shifts_between(THREE, utc("2026-10-25T00:00+02:00"), utc("2026-10-25T05:00+01:00"))
    assert night.breaks == (Span(utc("2026-10-25T02:00+02:00"), utc("2026-10-25T02:30+02:00")),)


def test_shifts_that_follow_each_other_leave_no_time_between_them_whatever_the_clock_does() -> None:
    around = Calendar(BERLIN, tuple(Shift(name, Period(time(at), time((at + 8) % 24))) for name, at in
                                    (("a", 2), ("b", 10), ("c", 18))))  # fmt: skip
    for begin in ("2026-03-28T00:00+01:00", "2026-10-24T00:00+02:00"):
        assert not unplanned_time(around, utc(begin), utc(begin) + timedelta(days=3))


def test_a_holiday_has_no_shift_and_an_exception_its_own() -> None:
    calendar = Calendar(
        BERLIN,
        (EARLY, LATE),
        {date(2026, 12, 25): (), date(2026, 12, 24): (Shift("short", Period(time(6), time(12)), frozenset({3})),)},
    )
    assert hours(calendar, "2026-12-24T00:00+01:00", "2026-12-26T00:00+01:00") == {"2026-12-24 short": 6.0}


def test_time_outside_of_shifts_and_in_breaks_is_not_planned() -> None:
    found = unplanned_time(Calendar(BERLIN, (EARLY,)), utc("2026-11-02T05:00+01:00"), utc("2026-11-02T15:00+01:00"))
    assert found == (
        Span(utc("2026-11-02T05:00+01:00"), utc("2026-11-02T06:00+01:00")),
        Span(utc("2026-11-02T09:00+01:00"), utc("2026-11-02T09:15+01:00")),
        Span(utc("2026-11-02T14:00+01:00"), utc("2026-11-02T15:00+01:00")),
    )


def test_a_shift_that_overlaps_another_and_a_break_outside_are_mistakes() -> None:
    longer = Shift("longer", Period(time(13), time(23)), frozenset({0}), (Period(time(12), time(12, 30)),))
    assert [why for _, why in mistakes([EARLY, longer])] == [
        "the shifts 'early' and 'longer' overlap",
        "a break from 12:00 to 12:30 is not within the shift 'longer'",
    ]
    assert not list(mistakes([EARLY, LATE, NIGHT]))


def test_a_shift_that_begins_before_the_night_shift_of_the_day_before_is_over_is_a_mistake() -> None:
    long_night = Shift("night", Period(time(22), time(6, 30)), frozenset({6}))
    assert list(mistakes_overnight([EARLY, LATE, long_night])) == [
        (0, "the shift 'early' begins before 'night' of the day before is over")
    ], "also from Sunday to Monday"
    friday = Shift("night", Period(time(22), time(6, 30)), frozenset({4}))
    assert not list(mistakes_overnight([EARLY, LATE, friday])), "nobody comes early on Saturday"
    assert not list(mistakes_overnight([EARLY, LATE, NIGHT]))
    assert not list(mistakes_overnight([Shift("all day", Period(time(7), time(7)))]))


def test_a_day_with_shifts_of_its_own_fits_the_days_around_it() -> None:
    sooner = Shift("sooner", Period(time(5), time(12)), frozenset({3}))
    longer = Shift("longer", Period(time(22), time(7)), frozenset({3}))
    day, next_day = date(2026, 12, 24), date(2026, 12, 25)
    pattern = (EARLY, LATE, NIGHT)
    assert list(mistakes_around(pattern, {day: (sooner, longer)})) == [
        (day, "'night' of 2026-12-23 is not over when 'sooner' of 2026-12-24 begins"),
        (day, "'longer' of 2026-12-24 is not over when 'early' of 2026-12-25 begins"),
    ]
    assert not list(mistakes_around(pattern, {date(2026, 12, 23): (), day: (sooner, longer), next_day: ()}))


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))


@given(MOMENTS, st.integers(0, 400), st.integers(0, 400))
def test_the_time_of_two_parts_is_that_of_the_whole(begin: datetime, first_h: int, second_h: int) -> None:
    middle, end = begin + timedelta(hours=first_h), begin + timedelta(hours=first_h + second_h)

    def together(start: datetime, stop: datetime) -> timedelta:
        spans = unplanned_time(THREE, start, stop)
        assert all(start <= span.begin < span.end <= stop for span in spans)
        return sum((span.end - span.begin for span in spans), timedelta())

    assert together(begin, end) == together(begin, middle) + together(middle, end)
