"""Work by the shifts of a line, forwards and backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.work_order_schedule import PlannedStep, WorkTime, earliest, latest

MONDAY = datetime(2026, 11, 30, tzinfo=UTC)
HOUR = Decimal(3600)


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


TWO_SHIFTS = WorkTime(tuple((at(24 * day + 6), at(24 * day + 14)) for day in range(5)), at(24 * 7))
"""06:00 to 14:00 from Monday to Friday."""
ALWAYS = WorkTime()


def step(time: WorkTime, free_from: datetime, hours: int, head: int | None = None) -> PlannedStep:
    return PlannedStep(time, free_from, hours * HOUR, (hours if head is None else head) * HOUR)


def test_work_goes_on_in_the_next_shift() -> None:
    assert TWO_SHIFTS.end_of(at(12), 4 * HOUR) == at(24 + 8)
    assert TWO_SHIFTS.end_of(at(3), HOUR) == at(7), "before the shift nobody works"
    assert TWO_SHIFTS.end_of(at(12), 2 * HOUR) == at(14)
    assert TWO_SHIFTS.end_of(at(12), Decimal(0)) == at(12)
    assert TWO_SHIFTS.end_of(at(15), Decimal(0)) == at(24 + 6)


def test_work_backwards_goes_over_the_night_too() -> None:
    early = at(-1000)
    assert TWO_SHIFTS.begin_of(at(24 + 8), 4 * HOUR, early) == at(12)
    assert TWO_SHIFTS.begin_of(at(24 + 3), 4 * HOUR, early) == at(10)
    assert TWO_SHIFTS.begin_of(at(24 + 8), 4 * HOUR, at(13)) == at(13)
    assert TWO_SHIFTS.begin_of(at(9), 40 * HOUR, early) == early


def test_behind_what_is_known_of_shifts_a_line_always_works() -> None:
    assert TWO_SHIFTS.end_of(at(24 * 4 + 13), 3 * HOUR) == at(24 * 7 + 2)
    assert TWO_SHIFTS.begin_of(at(24 * 7 + 2), 3 * HOUR, at(0)) == at(24 * 4 + 13)
    assert ALWAYS.end_of(at(5), 30 * HOUR) == at(35)


@given(st.integers(0, 24 * 8), st.integers(1, 60))
def test_backwards_undoes_forwards(begin_h: int, work_h: int) -> None:
    begin = TWO_SHIFTS.end_of(at(begin_h), Decimal(0))
    end = TWO_SHIFTS.end_of(begin, work_h * HOUR)
    again = TWO_SHIFTS.begin_of(end, work_h * HOUR, at(0))
    assert again >= begin, "as late as possible"
    assert TWO_SHIFTS.end_of(again, work_h * HOUR) == end


def test_a_step_begins_when_its_line_is_free_and_enough_of_the_one_before_is_done() -> None:
    one, other = step(ALWAYS, at(2), 4), step(ALWAYS, at(1), 3)
    assert earliest([one, other], at(0)) == ((at(2), at(6)), (at(6), at(9)))
    overlapping = step(ALWAYS, at(2), 4, head=1)
    assert earliest([overlapping, other], at(0)) == ((at(2), at(6)), (at(3), at(6)))
    assert earliest([], at(0)) == ()


def test_what_is_due_later_is_planned_backwards_and_what_is_due_too_early_as_early_as_it_can() -> None:
    steps = [step(TWO_SHIFTS, at(6), 4), step(TWO_SHIFTS, at(6), 6)]
    late = latest(steps, at(48 + 10), at(0))
    assert late == ((at(24 + 8), at(24 + 12)), (at(24 + 12), at(48 + 10)))
    assert latest(steps, at(7), at(0)) == earliest(steps, at(0))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 30)), min_size=1, max_size=4), st.integers(0, 400))
def test_backwards_no_step_begins_before_its_line_is_free_nor_before_the_one_before_it_is_done(
    given_steps: list[tuple[int, int]], due_h: int
) -> None:
    steps = [step(TWO_SHIFTS, at(free), hours) for free, hours in given_steps]
    planned = latest(steps, at(due_h), at(0))
    for (begin, end), one in zip(planned, steps, strict=True):
        assert begin >= one.free_from
        assert end >= one.time.end_of(begin, one.work_s)
    for before, after in pairwise(planned):
        assert after[0] >= before[1]
    if earliest(steps, at(0))[-1][1] <= at(due_h):
        assert planned[-1][1] <= at(due_h)
