"""The oven behaves as an oven: it reaches its goals, cools when a heater trips, and its counters never go back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lineside.demo.factory import OVEN_CYCLE_S
from lineside.demo.office import SAYS_NOTHING_MS
from lineside.machines.oven import BELT_M_PER_MIN, SETPOINT_RANGE_C, SETPOINTS_C, ZONES, Oven, restored_oven
from lineside.machines.retentive_memory import RetentiveMemory

STEP_S = 0.2


def course(oven: Oven, duration_s: float) -> list[dict[str, Any]]:
    shown = []
    for _ in range(round(duration_s / STEP_S)):
        oven.step(STEP_S)
        shown.append(oven.values())
    return shown


@pytest.fixture(scope="module")
def hour() -> list[dict[str, Any]]:
    return course(Oven(11), 3600)


def test_the_same_seed_gives_the_same_course() -> None:
    assert course(Oven(3), 120) == course(Oven(3), 120)
    assert course(Oven(3), 120) != course(Oven(4), 120)


@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.floats(0.0, 30.0), max_size=30))
def test_counters_never_go_back_whatever_the_steps(seed: int, steps: list[float]) -> None:
    oven = Oven(seed)
    before = oven.values()
    for step_s in steps:
        oven.step(step_s)
        now = oven.values()
        assert now["parts"] >= before["parts"]
        assert now["energy"] >= before["energy"]
        assert all(0.0 <= now[f"zone{zone}/duty"] <= 100.0 for zone in range(1, ZONES + 1))
        before = now


def test_a_cold_oven_reaches_its_goals_and_keeps_them() -> None:
    oven = Oven(2, start_c=23.0)
    oven.step(1200)
    reached = [oven.temperature_c(zone) for zone in range(ZONES)]
    assert all(abs(now_c - goal_c) < 12.0 for now_c, goal_c in zip(reached, SETPOINTS_C, strict=True))


def test_alarms_occur_and_clear(hour: list[dict[str, Any]]) -> None:
    for alarm in ("belt/jam", "zone1/heater_trip", "zone2/heater_trip", "zone3/heater_trip", "fault"):
        came = sum(now[alarm] and not before[alarm] for before, now in pairwise(hour))
        went = sum(before[alarm] and not now[alarm] for before, now in pairwise(hour))
        assert came >= 1, alarm
        assert went >= came - 1, alarm
    alarms = ("belt/jam", "over_temperature", *(f"zone{zone}/heater_trip" for zone in range(1, ZONES + 1)))
    assert all(shown["fault"] == any(shown[alarm] for alarm in alarms) for shown in hour)


def test_a_tripped_heater_gives_no_heat_and_its_zone_cools(hour: list[dict[str, Any]]) -> None:
    tripped = [shown for shown in hour if shown["zone2/heater_trip"]]
    assert all(shown["zone2/duty"] == 0.0 for shown in tripped)
    assert min(shown["zone2/temperature"] for shown in tripped) < SETPOINTS_C[1] - 5


def test_a_jammed_belt_stops_and_counts_nothing(hour: list[dict[str, Any]]) -> None:
    stopped = [(before, now) for before, now in pairwise(hour) if before["belt/speed"] == now["belt/speed"] == 0.0]
    assert stopped
    assert all(now["parts"] == before["parts"] for before, now in stopped)
    assert max(shown["belt/speed"] for shown in hour) == BELT_M_PER_MIN


def test_nothing_leaves_the_oven_while_a_heater_is_off(hour: list[dict[str, Any]]) -> None:
    heaters = [f"zone{zone}/heater_trip" for zone in range(1, ZONES + 1)]
    off = [before["parts"] == now["parts"] for before, now in pairwise(hour) if any(before[one] for one in heaters)]
    assert off.count(False) <= 0.01 * len(off), "but for one that the belt takes along until it stands"


def test_the_oven_is_never_quicker_than_its_ideal_cycle_time(hour: list[dict[str, Any]]) -> None:
    """Of any time that the demo tells of: a piece that was in the oven before is counted whole."""
    steps = round(SAYS_NOTHING_MS / 1000 / STEP_S)
    for begin in range(len(hour) - 2 * steps):
        for end in range(begin + steps, begin + 2 * steps):
            made = hour[end]["parts"] - hour[begin]["parts"]
            assert made * float(OVEN_CYCLE_S) <= (end - begin) * STEP_S


@given(st.floats(allow_nan=False))
def test_setpoints_are_held_within_their_range(wish_c: float) -> None:
    oven = Oven(1)
    oven.set_setpoint(0, wish_c)
    assert SETPOINT_RANGE_C[0] <= oven.setpoint_c(0) <= SETPOINT_RANGE_C[1]


def test_counters_go_on_from_retentive_memory(tmp_path: Path) -> None:
    oven = Oven(9)
    oven.step(300)
    RetentiveMemory(tmp_path / "oven.json").write(oven.retained())
    again = restored_oven(1, RetentiveMemory(tmp_path / "oven.json").read())
    assert again.counters == oven.counters
    assert again.counters.parts > 0


@pytest.mark.parametrize(
    "kept", [{}, {"parts": 3}, {"parts": -1, "energy_wh": 1.0}, {"parts": 1, "energy_wh": float("nan")}]
)
def test_counters_that_make_no_sense_begin_at_zero(kept: dict[str, Any]) -> None:
    assert restored_oven(1, kept).counters.parts == 0


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "\x00"])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text)
    assert RetentiveMemory(tmp_path / "memory.json").read() == {}
