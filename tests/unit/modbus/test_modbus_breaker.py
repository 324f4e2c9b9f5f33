"""A unit that does not answer is left alone for a while; one request after that decides."""

from __future__ import annotations

import pytest

from connectors.modbus.breaker import PAUSE_S_FIRST, PAUSE_S_MAX, Standing, UnitBreaker


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("retries", "count"), [(0, 3), (1, 3), (2, 4), (10, 12)])
def test_it_opens_only_after_more_requests_than_one_read_may_take(retries: int, count: int) -> None:
    breaker = UnitBreaker(retries, Time())
    assert [breaker.unanswered("silence") for _ in range(count)] == [False] * (count - 1) + [True]
    assert breaker.wait_s == PAUSE_S_FIRST


def test_an_answer_between_two_silences_begins_the_count_anew() -> None:
    breaker = UnitBreaker(0, Time())
    for _ in range(10):
        assert not breaker.unanswered("silence")
        assert not breaker.unanswered("silence")
        breaker.answered()
    assert breaker.wait_s == 0


def test_after_the_pause_the_first_request_without_an_answer_opens_it_for_twice_as_long_up_to_a_minute() -> None:
    time = Time()
    breaker = UnitBreaker(0, time)
    for _ in range(2):
        breaker.unanswered("silence")
    pauses = []
    for _ in range(6):
        assert breaker.unanswered("silence")
        pauses.append(breaker.wait_s)
        time.now_s += breaker.wait_s
        assert breaker.wait_s == 0
    assert pauses == [PAUSE_S_FIRST, 10, 20, 40, PAUSE_S_MAX, PAUSE_S_MAX]


def test_an_answer_after_the_pause_closes_it_and_the_next_pause_is_short_again() -> None:
    time = Time()
    breaker = UnitBreaker(0, time)
    for _ in range(3):
        breaker.unanswered("silence")
    time.now_s += PAUSE_S_FIRST
    breaker.answered()
    assert [breaker.unanswered("silence") for _ in range(3)] == [False, False, True]
    assert breaker.wait_s == PAUSE_S_FIRST


def test_a_unit_is_new_then_it_answers_or_is_silent_and_one_lost_reply_makes_it_neither() -> None:
    breaker = UnitBreaker(0, Time())
    assert breaker.standing is Standing.NEW
    breaker.unanswered("silence")
    assert breaker.standing is Standing.SILENT
    breaker.answered()
    assert breaker.standing is Standing.ANSWERS
    standings = []
    for _ in range(3):
        breaker.unanswered("silence")
        standings.append(breaker.standing)
    assert standings == [Standing.ANSWERS, Standing.ANSWERS, Standing.SILENT]
    breaker.answered()
    assert breaker.standing is Standing.ANSWERS
