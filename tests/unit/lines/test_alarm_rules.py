"""Alarms are raised when their condition has held, come back beyond the deadband, and end by what operators do."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloud_ingest.lines.alarm_rules import AlarmRule, AlarmState, Condition, Deed, Turn, after, raised_next_ns, watch


def turns(rule: AlarmRule, samples: list[tuple[int, float]], now: int) -> list[Turn]:
    return watch(rule, Condition(), [(at, Decimal(str(value))) for at, value in samples], now)[1]


def test_a_number_beyond_its_limit_raises_and_comes_back_beyond_the_deadband() -> None:
    rule = AlarmRule(high=Decimal(90), deadband=Decimal(2))
    samples = [(1, 89.0), (2, 90.5), (3, 89.0), (4, 91.0), (5, 88.0)]
    assert turns(rule, samples, 9) == [Turn(True, 2), Turn(False, 5)]
    low = AlarmRule(low=Decimal(10), deadband=Decimal(1))
    assert turns(low, [(1, 9.0), (2, 10.5), (3, 11.0)], 9) == [Turn(True, 1), Turn(False, 3)]


def test_a_condition_has_to_hold_for_its_delay() -> None:
    rule = AlarmRule(when=True, delay_ns=10)
    assert turns(rule, [(1, 1), (8, 0), (20, 1)], 29) == []
    assert turns(rule, [(1, 1), (8, 0), (20, 1)], 30) == [Turn(True, 30)]
    assert turns(rule, [(1, 1), (50, 0)], 60) == [Turn(True, 11), Turn(False, 50)]


def test_who_waits_for_the_delay_knows_until_when() -> None:
    rule = AlarmRule(when=False, delay_ns=10)
    at, _ = watch(rule, Condition(), [(5, Decimal(0))], 6)
    assert raised_next_ns(rule, at) == 15
    at, found = watch(rule, at, [], 15)
    assert (found, raised_next_ns(rule, at)) == ([Turn(True, 15)], None)


def test_a_sample_that_came_late_raises_nothing() -> None:
    rule = AlarmRule(when=True)
    at, _ = watch(rule, Condition(), [(5, Decimal(0))], 6)
    assert watch(rule, at, [(3, Decimal(1)), (4, Decimal(0))], 7)[1] == []


@pytest.mark.parametrize(
    ("state", "deed", "latches", "expected"),
    [
        (AlarmState.UNACKNOWLEDGED, "acknowledge", False, AlarmState.ACKNOWLEDGED),
        (AlarmState.UNACKNOWLEDGED, "return", False, AlarmState.RETURNED),
        (AlarmState.RETURNED, "acknowledge", False, AlarmState.CLEARED),
        (AlarmState.RETURNED, "acknowledge", True, AlarmState.LATCHED),
        (AlarmState.ACKNOWLEDGED, "return", False, AlarmState.CLEARED),
        (AlarmState.ACKNOWLEDGED, "return", True, AlarmState.LATCHED),
        (AlarmState.LATCHED, "reset", True, AlarmState.CLEARED),
        (AlarmState.ACKNOWLEDGED, "acknowledge", False, None),
        (AlarmState.UNACKNOWLEDGED, "reset", True, None),
        (AlarmState.CLEARED, "acknowledge", False, None),
    ],
)
def test_what_may_become_of_an_alarm(state: AlarmState, deed: Deed, latches: bool, expected: AlarmState | None) -> None:
    assert after(state, deed, latches=latches) is expected
