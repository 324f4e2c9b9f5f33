"""When a report is due, and of which time: over changes of the clock, after a pause, and never twice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.analytics.report_rules import CATCH_UP_MAX, Period, Schedule, due, period_of

BERLIN = Schedule(Period.DAY, "Europe/Berlin", 360)
WEEK = Schedule(Period.WEEK, "Europe/Berlin", 360)
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_day_has_as_many_hours_as_it_has_there() -> None:
    hours = [
        (one.end - one.begin) // timedelta(hours=1)
        for one in (period_of(BERLIN, date(2026, 3, 29)), period_of(BERLIN, date(2026, 10, 25)))
    ]
    assert hours == [23, 25]


def test_a_week_begins_on_monday() -> None:
    assert period_of(WEEK, date(2026, 11, 29)).day == date(2026, 11, 23)
    assert period_of(WEEK, date(2026, 11, 30)).day == date(2026, 11, 30)


def test_it_is_due_at_its_time_and_not_before() -> None:
    before, then = at("2026-11-28 04:59:59"), at("2026-11-28 05:00")
    made = [date(2026, 11, day) for day in range(1, 27)]
    assert due(BERLIN, NEVER, made, before) == []
    assert [one.day for one in due(BERLIN, NEVER, made, then)] == [date(2026, 11, 27)]


def test_what_was_missed_is_made_up_for_the_oldest_first_and_not_for_ever() -> None:
    found = [one.day for one in due(BERLIN, NEVER, [date(2026, 11, 25)], at("2026-11-28 12:00"))]
    assert found[-2:] == [date(2026, 11, 26), date(2026, 11, 27)]
    assert len(found) == CATCH_UP_MAX - 1
    since = at("2026-11-26 08:00")
    assert [one.day for one in due(BERLIN, since, [], at("2026-11-28 12:00"))] == [
        date(2026, 11, 26),
        date(2026, 11, 27),
    ]


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "America/Santiago", "Pacific/Apia", "UTC"]),
    st.sampled_from(list(Period)),
    st.integers(0, 1439),
)
def test_periods_follow_each_other_without_a_hole(now: datetime, zone: str, period: Period, minute: int) -> None:
    found = due(Schedule(period, zone, minute), NEVER, [], now)
    assert all(before.end == after.begin for before, after in pairwise(found))
    assert all(one.end + timedelta(minutes=minute) <= now for one in found)
    assert due(Schedule(period, zone, minute), NEVER, [one.day for one in found], now) == []
