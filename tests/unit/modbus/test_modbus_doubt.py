"""Units that do not answer are asked so that the others on the bus hardly notice."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from connectors.modbus.breaker import Standing
from connectors.modbus.doubt import (
    GREETING_ANSWERS,
    GREETING_S,
    GREETING_S_MIN,
    LATE_PART,
    LATE_POLLS_PART,
    Doubt,
    intervals_s,
    pause_after_s,
)


@pytest.mark.parametrize(
    ("held_s", "polled_s", "pause_s"),
    [
        (2.0, [1.0], 100.0),  # each request costs one poll: one of a hundred
        (2.0, [0.1], 10.0),
        (0.5, [1.0], 40.0),  # a poll is late when it falls due in the first 400 ms: two of five, every fortieth
        (0.5, [0.1, 1.0], 40.0),
        (2.0, [20.0], 0.0),  # nobody is late by a tenth
        (2.0, [], 0.0),
        (0.001, [0.1], 0.0),
    ],
)
def test_the_pause_is_as_long_as_others_take_to_hardly_notice(
    held_s: float, polled_s: list[float], pause_s: float
) -> None:
    assert pause_after_s(held_s, polled_s) == pytest.approx(pause_s)


@pytest.mark.parametrize("interval_s", [0.05, 0.3, 1.0, 1.9, 3.0, 10.0, 60.0])
def test_no_more_than_one_poll_in_a_hundred_is_late_by_a_tenth(interval_s: float) -> None:
    held_s = 0.7
    period_s = pause_after_s(held_s, [interval_s]) + held_s
    moments = [n * interval_s for n in range(round(200 * max(period_s, interval_s) / interval_s))]
    in_request_s = [moment % period_s for moment in moments] if period_s > held_s else [held_s]
    late = [since_s for since_s in in_request_s if held_s - since_s > LATE_PART * interval_s]
    # While one request holds the bus for several polls, it is one interval that grows.
    longer = max(1.0, held_s / interval_s)
    assert len(late) / longer <= 1.5 * LATE_POLLS_PART * len(in_request_s)


@dataclass
class Unit:
    """A unit of the bus."""

    due_s: dict[float, float] = field(default_factory=dict)
    standing: Standing = Standing.ANSWERS
    timeout_s: float = 0.5
    is_passed_over: bool = False


def test_one_request_at_a_time_is_under_way() -> None:
    doubt: Doubt[str] = Doubt()
    assert doubt.may_ask([], 0.0, [Unit()]) is Standing.SILENT
    doubt.sent("dead", 0.0)
    assert doubt.may_ask(["dead", "other"], 0.1, [Unit()]) is Standing.ANSWERS
    assert doubt.may_ask(["other"], 0.2, [Unit()]) is Standing.SILENT, "its connection is gone, and nobody waits for it"


def test_after_a_silence_silent_units_wait_until_nothing_is_due_and_new_ones_do_not() -> None:
    doubt: Doubt[str] = Doubt()
    dead = Unit(standing=Standing.SILENT)
    doubt.sent("dead", 0.0)
    assert doubt.shown("dead", Standing.SILENT, intervals_s([Unit({1.0: 1.0}), dead]), 0.5) == [5.5, 40.5]
    assert doubt.may_ask([], 5.4, [Unit({1.0: 9.0}), dead]) is Standing.NEW
    assert doubt.may_ask([], 5.6, [Unit({1.0: 6.0}), dead]) is Standing.NEW
    assert doubt.may_ask([], 5.6, [Unit({1.0: 9.0, 0.1: 5.7}), dead]) is Standing.NEW
    assert doubt.may_ask([], 5.6, [Unit({1.0: 6.2}), dead]) is Standing.SILENT
    assert doubt.may_ask([], 5.6, [Unit({1.0: 5.5}), dead]) is Standing.SILENT, "it was answered just now"
    slow = Unit({1.0: 6.2}, timeout_s=5.0)
    assert doubt.may_ask([], 5.6, [slow, dead]) is Standing.SILENT, "how long one that answers may take is its own"
    assert doubt.may_ask([], 40.6, [Unit({1.0: 40.7}), dead]) is Standing.SILENT


def test_an_answer_of_a_silent_unit_lets_the_next_one_be_asked_at_once() -> None:
    doubt: Doubt[str] = Doubt()
    doubt.sent("back again", 0.0)
    assert doubt.shown("back again", Standing.ANSWERS, {1.0}, 0.5) == []
    assert doubt.may_ask([], 0.5, [Unit({1.0: 0.6})]) is Standing.SILENT


def test_a_lost_reply_of_a_unit_that_answers_stops_nothing() -> None:
    doubt: Doubt[str] = Doubt()
    assert doubt.shown("of a unit that has answered before", Standing.SILENT, {1.0}, 0.5) == []
    assert doubt.may_ask([], 0.5, [Unit({1.0: 0.6})]) is Standing.SILENT


def test_where_no_unit_answers_none_waits() -> None:
    doubt: Doubt[str] = Doubt()
    doubt.sent("dead", 0.0)
    dead = Unit({1.0: 0.6}, Standing.SILENT)
    assert doubt.shown("dead", Standing.SILENT, intervals_s([dead]), 0.5) == []
    assert doubt.may_ask([], 0.5, [dead]) is Standing.SILENT


def test_on_another_connection_all_are_asked_at_once() -> None:
    doubt: Doubt[str] = Doubt()
    doubt.sent("dead", 0.0)
    doubt.shown("dead", Standing.SILENT, {1.0}, 0.5)
    doubt.forget()
    assert doubt.may_ask([], 0.6, [Unit({1.0: 0.7})]) is Standing.SILENT


def test_a_new_unit_has_a_short_time_for_its_first_answer_once_and_then_its_own() -> None:
    doubt: Doubt[str] = Doubt()
    new, silent, quick = Unit(standing=Standing.NEW, timeout_s=2.0), Unit(standing=Standing.SILENT), Unit(timeout_s=0.3)
    doubt.sent("greeting", 0.0)
    assert doubt.greeting_s("greeting", new) == GREETING_S
    assert doubt.greeting_s("greeting", silent) is None
    quick.standing = Standing.NEW
    assert doubt.greeting_s("greeting", quick) is None, "its own is shorter"
    assert doubt.greeting_s("poll of another", new) is None
    new.is_passed_over = True
    assert doubt.greeting_s("greeting", new) is None


@pytest.mark.parametrize(
    ("answer_s", "greeting_s"), [(0.01, GREETING_S_MIN), (0.1, GREETING_ANSWERS * 0.1), (0.5, None)]
)
def test_how_long_first_answers_take_is_learned(answer_s: float, greeting_s: float | None) -> None:
    doubt: Doubt[str] = Doubt()
    for answer in (answer_s, 0.001):
        doubt.sent("there", 0.0)
        assert doubt.shown("there", Standing.ANSWERS, set(), answer) == []
    doubt.forget()
    doubt.sent("next", 1.0)
    assert doubt.greeting_s("next", Unit(standing=Standing.NEW, timeout_s=2.0)) == greeting_s
