"""Stops from states, calendars, and what operators have divided and joined."""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.events import LineState, StopKind
from cloud_ingest.lines.fold_rules import StateSpan
from cloud_ingest.lines.stop_rules import Edits, KnownStop, StopPiece, matched, planned, stops_of

RUNNING, STOPPED, FAULTED, IDLE = LineState.RUNNING, LineState.STOPPED, LineState.FAULTED, LineState.IDLE
NOBODY: Final = Edits()


def spans(*states: tuple[LineState, int], is_open: bool = True) -> list[StateSpan]:
    """States by their begins; the last one is open, or ends at 1000."""
    ends: list[int | None] = [begin for _, begin in states[1:]]
    ends.append(None if is_open else 1000)
    return [StateSpan(begin, end, state, None) for (state, begin), end in zip(states, ends, strict=True)]


def told(pieces: list[StopPiece]) -> list[tuple[int, int | None, str]]:
    return [(piece.begin_ns, piece.end_ns, piece.kind.value) for piece in pieces]


def test_what_is_no_production_is_a_stop_and_a_short_one_a_loss_of_speed() -> None:
    found = stops_of(spans((RUNNING, 0), (STOPPED, 10), (RUNNING, 15), (STOPPED, 30), (RUNNING, 60)), NOBODY, 10, 70)
    assert told(found) == [(10, 15, "micro"), (30, 60, "unplanned")]


def test_states_without_production_between_them_are_as_short_together_as_one() -> None:
    found = stops_of(spans((RUNNING, 0), (FAULTED, 10), (STOPPED, 14), (IDLE, 18), (RUNNING, 22)), NOBODY, 10, 70)
    assert told(found) == [(10, 14, "unplanned"), (14, 18, "unplanned"), (18, 22, "idle")]


def test_an_open_stop_counts_as_micro_until_it_is_longer() -> None:
    states = spans((RUNNING, 0), (STOPPED, 10))
    assert told(stops_of(states, NOBODY, 10, 19)) == [(10, None, "micro")]
    assert told(stops_of(states, NOBODY, 10, 20)) == [(10, None, "unplanned")]


def test_a_changeover_or_a_planned_stop_is_never_a_loss_of_speed() -> None:
    found = stops_of(spans((LineState.CHANGEOVER, 0), (LineState.PLANNED_STOP, 2), (RUNNING, 3)), NOBODY, 10, 20)
    assert told(found) == [(0, 2, "changeover"), (2, 3, "planned")]


def test_an_operator_divides_a_stop_and_joins_two() -> None:
    states = spans((STOPPED, 0), (FAULTED, 50), (RUNNING, 100))
    assert told(stops_of(states, Edits(cuts=frozenset({20})), 5, 200)) == [
        (0, 20, "unplanned"), (20, 50, "unplanned"), (50, 100, "unplanned"),
    ]  # fmt: skip
    assert told(stops_of(states, Edits(joins=frozenset({50})), 5, 200)) == [(0, 100, "unplanned")]


def test_where_nobody_planned_production_a_line_that_stands_has_a_planned_stop() -> None:
    found = planned(spans((RUNNING, 0), (STOPPED, 10), (RUNNING, 50), (FAULTED, 60)), [(20, 30), (55, 70)], 80)
    assert [(one.begin_ns, one.end_ns, one.state.value) for one in found] == [
        (0, 10, "running"), (10, 20, "stopped"), (20, 30, "planned_stop"), (30, 50, "stopped"), (50, 60, "running"),
        (60, None, "faulted"),
    ]  # fmt: skip
    found = planned(spans((STOPPED, 0)), [(20, 30)], 25)
    assert [(one.begin_ns, one.end_ns, one.state.value) for one in found] == [
        (0, 20, "stopped"), (20, None, "planned_stop"),
    ]  # fmt: skip


def piece(begin: int, end: int | None) -> StopPiece:
    return StopPiece(begin, end, STOPPED, None, StopKind.UNPLANNED)


def test_a_stop_that_began_earlier_than_was_known_is_the_same_stop() -> None:
    assert matched([piece(8, 30)], [KnownStop("a", 10, None)]) == (["a"], [])
    assert matched([piece(10, 12), piece(15, 30)], [KnownStop("a", 10, 30)]) == (["a", None], [])
    assert matched([piece(40, 50)], [KnownStop("a", 10, 30)]) == ([None], ["a"])


TIMES = st.lists(st.integers(0, 100), unique=True, max_size=12).map(sorted)


@given(TIMES, st.lists(st.sampled_from(list(LineState)), min_size=12, max_size=12), TIMES, TIMES, st.integers(0, 120))
def test_stops_cover_all_time_without_production_once(
    begins: list[int], kinds: list[LineState], cuts: list[int], off: list[int], now: int
) -> None:
    states = spans(*zip(kinds, begins, strict=False), is_open=False) if begins else []
    periods = [(begin, end) for begin, end in zip(off[::2], off[1::2], strict=False)]
    found = stops_of(planned(states, periods, now), Edits(frozenset(cuts), frozenset(off)), 5, now)
    standing = sum((one.end_ns or 0) - one.begin_ns for one in states if one.state is not RUNNING)
    assert sum((one.end_ns or 0) - one.begin_ns for one in found) == standing
    assert all((one.end_ns or 0) <= following.begin_ns for one, following in itertools.pairwise(found))
