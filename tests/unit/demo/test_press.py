"""The press behaves as a press: its counters add up, its states follow PackML, faults come and go."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lineside.machines.press import SPEED_RANGE, STROKE_MM, TRANSITIONS, Press, PressState, restored_press

HOUR_S = 3600
STEP_S = 0.1


def course(press: Press, duration_s: float, step_s: float = STEP_S) -> list[dict[str, Any]]:
    shown = []
    for _ in range(round(duration_s / step_s)):
        press.step(step_s)
        shown.append(press.values())
    return shown


@pytest.fixture(scope="module")
def hour() -> list[dict[str, Any]]:
    return course(Press(7), HOUR_S)


def test_the_same_seed_gives_the_same_course() -> None:
    assert course(Press(3), 120) == course(Press(3), 120)
    assert course(Press(3), 120) != course(Press(4), 120)


@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.floats(0.0, 30.0), max_size=40))
def test_counters_never_go_back_and_add_up_whatever_the_steps(seed: int, steps: list[float]) -> None:
    press = Press(seed)
    before = press.values()
    for step_s in steps:
        press.step(step_s)
        now = press.values()
        assert now["Parts.Good"] + now["Parts.Reject"] == now["Cycles"]
        assert all(now[name] >= before[name] for name in ("Cycles", "Parts.Good", "Parts.Reject"))
        assert 0.0 <= now["Ram.Position"] <= STROKE_MM
        before = now


@pytest.mark.parametrize("seed", range(2))
def test_states_follow_the_state_model_of_packml(seed: int) -> None:
    press = Press(seed)
    states = [press.state]
    for _ in range(HOUR_S * 10):
        press.step(STEP_S)
        if press.state is not states[-1]:
            states.append(press.state)
    assert all(after in TRANSITIONS[before] for before, after in pairwise(states))
    assert set(states) == set(PressState), "an hour shows every state"


def test_every_state_can_be_left_and_reached() -> None:
    assert set(TRANSITIONS) == set(PressState)
    assert set().union(*TRANSITIONS.values()) == set(PressState)


def test_an_hour_of_work_is_believable(hour: list[dict[str, Any]]) -> None:
    last = hour[-1]
    share = sum(shown["State"] == PressState.EXECUTE for shown in hour) / len(hour)
    assert 0.6 < share < 0.95
    assert 25 * 60 * 0.6 < last["Cycles"] < 25 * 60
    assert 0.01 < last["Parts.Reject"] / last["Cycles"] < 0.12
    assert 170 < max(shown["Ram.Force"] for shown in hour) < 250
    assert min(shown["Oil.Temperature"] for shown in hour) > 24
    assert max(shown["Oil.Temperature"] for shown in hour) < 60


def test_faults_occur_with_a_text_and_clear(hour: list[dict[str, Any]]) -> None:
    faults = [shown["Fault.Text"] for shown in hour]
    assert len({text for text in faults if text}) >= 3
    assert sum(bool(after and not before) for before, after in pairwise(faults)) >= 5
    assert sum(bool(before and not after) for before, after in pairwise(faults)) >= 5
    assert all(bool(shown["Fault.Text"]) == (shown["State"] == PressState.ABORTED) for shown in hour)


def test_the_ram_stands_still_with_the_door_open(hour: list[dict[str, Any]]) -> None:
    for before, now in pairwise(hour):
        if not before["Door.Closed"] and not now["Door.Closed"]:
            assert now["Ram.Position"] == before["Ram.Position"]
        assert now["Door.Closed"] or now["State"] in (PressState.STOPPED, PressState.HELD)


def test_no_fault_in_the_first_strokes() -> None:
    for seed in range(30):
        press = Press(seed)
        while press.counters.cycles < 6:
            press.step(STEP_S)
            assert press.state is not PressState.ABORTED


@given(st.floats(allow_nan=False))
def test_the_speed_setpoint_is_held_within_its_range(wish: float) -> None:
    press = Press(1)
    press.speed_setpoint = wish
    assert SPEED_RANGE[0] <= press.speed_setpoint <= SPEED_RANGE[1]


def test_a_faster_press_makes_more_parts() -> None:
    slow, fast = Press(5), Press(5)
    slow.speed_setpoint, fast.speed_setpoint = 10.0, 50.0
    slow.step(600)
    fast.step(600)
    assert fast.counters.cycles > 2 * slow.counters.cycles


def test_counters_go_on_from_retentive_memory() -> None:
    press = Press(9)
    press.step(600)
    again = restored_press(1, press.retained())
    assert again.counters == press.counters
    assert again.counters.cycles > 0
    again.step(60)
    assert again.counters.cycles > press.counters.cycles
    assert again.counters.good + again.counters.reject == again.counters.cycles


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"cycles": 3},
        {"cycles": "many", "good": 1, "reject": 1},
        {"cycles": 5, "good": 1, "reject": 1},
        {"cycles": 0, "good": -1, "reject": 1},
        {"cycles": None, "good": None, "reject": None},
    ],
)
def test_counters_that_make_no_sense_begin_at_zero(kept: dict[str, Any]) -> None:
    assert restored_press(1, kept).counters.cycles == 0
