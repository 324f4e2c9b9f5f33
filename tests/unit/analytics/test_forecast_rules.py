"""When work is done: by the pace that was measured, in the sequence of lines, one step behind the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.analytics.forecast_rules import Done, Pace, Queued, forecast, pace_of

BEGIN: Final = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
PRESS: Final = ("plant", "press")
OVEN: Final = ("plant", "oven")


def always(begin: datetime, work_s: Decimal) -> datetime:
    return begin + timedelta(seconds=float(work_s))


def shift(begin: datetime, work_s: Decimal) -> datetime:
    """A line that works from 8 to 16, each day."""
    left = float(work_s)
    while True:
        day = begin.replace(hour=8, minute=0, second=0)
        begin = max(begin, day)
        room = (day + timedelta(hours=8) - begin).total_seconds()
        if left <= room and room > 0:
            return begin + timedelta(seconds=left)
        left -= max(room, 0)
        begin = day + timedelta(days=1)


def queued(name: str, place: tuple[str, str] = PRESS, pieces: int = 10, **more: Any) -> Queued:
    given_ = {"job": name, "step": 1, "setup_s": Decimal(0), "transfer": Decimal(pieces), **more}
    return Queued(name, place=place, remaining=Decimal(pieces), pace=Pace(Decimal(60), True), **given_)


def minutes(at: datetime) -> float:
    return (at - BEGIN).total_seconds() / 60


def test_the_pace_is_that_of_the_product_then_of_the_line_then_of_the_routing() -> None:
    hour = Decimal(3_600_000)
    slow = Done(Decimal(100), hour, Decimal(1_800_000))
    assert pace_of(Decimal(10), slow, None) == Pace(Decimal(36), True), "an hour for 100 pieces, stops in it"
    few = Done(Decimal(3), hour, Decimal(30_000))
    assert pace_of(Decimal(10), few, slow) == Pace(Decimal(20), True), "the line takes twice as long as it should"
    assert pace_of(Decimal(10), few, few) == Pace(Decimal(10), False)
    assert pace_of(Decimal(10), None, None) == Pace(Decimal(10), False)


def test_a_line_makes_one_after_the_other_in_its_shifts() -> None:
    queue = [queued("a", pieces=240), queued("b", pieces=300, setup_s=Decimal(600))]
    found = forecast({PRESS: queue}, {PRESS: shift}, BEGIN)
    assert found["a"].end == BEGIN + timedelta(hours=4)
    assert found["b"].begin == BEGIN + timedelta(hours=4)
    assert found["b"].end == BEGIN + timedelta(days=1, hours=1, minutes=10), "what is left is made on the next day"


def test_a_step_begins_behind_the_first_part_of_the_one_before_and_does_not_end_before_it() -> None:
    first = queued("p", PRESS, 100, job="j")
    second = queued("o", OVEN, 100, job="j", step=2, transfer=Decimal(10))
    quick = Queued("o", "j", 2, OVEN, Decimal(100), Decimal(10), Decimal(0), Pace(Decimal(1), True))
    ends = {PRESS: always, OVEN: always}
    found = forecast({PRESS: [first], OVEN: [second]}, ends, BEGIN)
    assert (minutes(found["o"].begin), minutes(found["o"].end)) == (10, 110)
    assert minutes(forecast({PRESS: [first], OVEN: [quick]}, ends, BEGIN)["o"].end) == 100


def test_what_is_made_of_components_waits_for_them_and_lines_that_wait_for_each_other_go_on() -> None:
    pump = queued("pump", PRESS, after=frozenset({"rotor"}))
    found = forecast({PRESS: [pump, queued("rotor")]}, {PRESS: always}, BEGIN)
    assert (minutes(found["rotor"].end), minutes(found["pump"].end)) == (10, 20), "it is let pass"
    circle = {PRESS: [queued("a", after=frozenset({"b"}))], OVEN: [queued("b", OVEN, after=frozenset({"a"}))]}
    assert forecast(circle, {PRESS: always, OVEN: always}, BEGIN).keys() == {"a", "b"}


@given(st.lists(st.tuples(st.sampled_from([PRESS, OVEN]), st.integers(0, 50), st.integers(0, 4)), max_size=12))
def test_every_work_order_gets_its_time_and_no_line_makes_two_at_once(drawn: list[Any]) -> None:
    made = [
        queued(str(n), place, pieces, after=frozenset({str(m) for m in range(other)}))
        for n, (place, pieces, other) in enumerate(drawn)
    ]
    queues = {place: [one for one in made if one.place == place] for place in (PRESS, OVEN)}
    found = forecast(queues, {PRESS: always, OVEN: shift}, BEGIN)
    assert found.keys() == {one.work_order for one in made}
    for queue in queues.values():
        spans = sorted(found[one.work_order] for one in queue)
        assert all(one.end <= other.begin for one, other in pairwise(spans))
        assert all(BEGIN <= one.begin <= one.end for one in spans)
