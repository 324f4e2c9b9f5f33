"""Cycles keep their grid, never pile up, and each one that is left out is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.model.fixed_rate import FixedRate


def advanced(rate: FixedRate, *times_s: float) -> list[tuple[float, int]]:
    """(seconds to wait, cycles missed) at each of these times."""
    steps = (rate.advance(now_s) for now_s in times_s)
    return [(round(wait_s, 6), missed) for wait_s, missed in steps]


def test_late_cycles_do_not_shift_the_ones_after_them() -> None:
    rate = FixedRate(1.0, 100.0)
    assert advanced(rate, 100.3, 101.4, 103.2, 103.4) == [(0.7, 0), (0.6, 0), (0.0, 0), (0.6, 0)]


def test_of_several_missed_cycles_the_last_one_is_made_up_for() -> None:
    assert advanced(FixedRate(1.0, 0.0), 5.5, 5.6) == [(0.0, 4), (0.4, 0)]


@given(st.lists(st.floats(0, 5), max_size=60), st.sampled_from([0.01, 0.1, 1.0, 60.0]))
def test_made_and_missed_cycles_are_all_that_were_due(durations_s: list[float], interval_s: float) -> None:
    rate, start_s = FixedRate(interval_s, 7.0), 7.0
    now_s, cycles = start_s, 0
    for duration_s in durations_s:
        wait_s, missed = rate.advance(now_s)
        cycles += 1 + missed
        assert 0 <= wait_s <= interval_s * 1.001
        assert now_s + wait_s >= start_s + cycles * interval_s - 1e-6
        assert now_s + wait_s < start_s + (cycles + 1) * interval_s + 1e-6
        now_s += wait_s + duration_s
