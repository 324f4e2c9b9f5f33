"""How much is taken of an asker within a minute, whenever they ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.gateway.sliding_windows import WINDOW_S, SlidingWindows

MOMENTS = st.lists(st.floats(0.0, 20.0), max_size=60)


@given(st.integers(1, 10), MOMENTS)
def test_within_a_minute_of_the_clock_no_more_is_taken_than_allowed(most: int, pauses_s: list[float]) -> None:
    windows, now_s, taken = SlidingWindows(5), 1e6, []
    for pause_s in pauses_s:
        now_s += pause_s
        if windows.take("anna", most, now_s).is_taken:
            taken.append(now_s)
    for minute in {moment // WINDOW_S for moment in taken}:
        assert sum(moment // WINDOW_S == minute for moment in taken) <= most


@given(st.integers(1, 10), MOMENTS)
def test_who_waits_as_long_as_is_said_is_taken(most: int, pauses_s: list[float]) -> None:
    windows, now_s = SlidingWindows(5), 1e6
    for pause_s in pauses_s:
        now_s += pause_s
        taken = windows.take("anna", most, now_s)
        assert 1 <= taken.reset_s <= 2 * WINDOW_S
        if not taken.is_taken:
            now_s += taken.reset_s
            assert windows.take("anna", most, now_s).is_taken


def test_what_is_left_is_said_and_comes_back_little_by_little() -> None:
    windows = SlidingWindows(5)
    assert [windows.take("anna", 4, 0.0).remaining for _ in range(4)] == [3, 2, 1, 0]
    assert not windows.take("anna", 4, 59.0).is_taken
    assert not windows.take("anna", 4, 60.0).is_taken, "the minute before is in the window still, as a whole"
    assert windows.take("anna", 4, 75.0).is_taken, "a quarter of it is not"
    assert not windows.take("anna", 4, 76.0).is_taken
    assert windows.take("anna", 4, 180.0).remaining == 3


def test_askers_are_counted_apart_and_those_who_asked_longest_ago_are_forgotten() -> None:
    windows = SlidingWindows(2)
    for asker in ("anna", "bert"):
        assert windows.take(asker, 1, 0.0).is_taken
        assert not windows.take(asker, 1, 0.0).is_taken
    assert windows.take("carl", 1, 0.0).is_taken
    assert not windows.take("bert", 1, 0.0).is_taken
    assert windows.take("anna", 1, 0.0).is_taken
