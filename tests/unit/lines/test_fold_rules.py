"""What the samples of a line mean, sample by sample: states, counts, and the same whatever is taken at once."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.events import LineState
from cloud_ingest.lines.fold_rules import (
    MINUTE_NS,
    Fold,
    Folded,
    LineRule,
    Mark,
    Meaning,
    Observation,
    Run,
    SignalKind,
    StateSpan,
    fold,
    present,
)
from cloud_ingest.lines.fold_text import fold_text, read_fold

S: Final = 1_000_000_000
T0: Final = 1_790_000_040 * S
STATE, GOOD, REJECT, TOTAL, SPEED, FAULT = 1, 2, 3, 4, 5, 6
MEANINGS: Final = {
    "1": Meaning(LineState.RUNNING),
    "2": Meaning(LineState.STOPPED),
    "3": Meaning(LineState.FAULTED, "jam"),
    "ready": Meaning(LineState.IDLE),
}
BY_TAG: Final = LineRule({STATE: SignalKind.STATE, GOOD: SignalKind.GOOD, FAULT: SignalKind.FAULT}, meanings=MEANINGS)
BY_COUNTS: Final = LineRule({TOTAL: SignalKind.TOTAL, REJECT: SignalKind.REJECT}, stop_after_ns=30 * S)
BY_SPEED: Final = LineRule({SPEED: SignalKind.SPEED}, running_above=Decimal(5))


def seen(at_s: float, signal: int, value: float | str | None, *, bad: bool = False) -> Observation:
    number = None if value is None or isinstance(value, str) else Decimal(str(value))
    text = value if isinstance(value, str) else None
    return Observation(T0 + round(at_s * S), signal, number, text, bad)


def states(rule: LineRule, observations: list[Observation], now_s: float) -> list[tuple[str, float, float | None]]:
    at = Fold()
    spans = [*fold(rule, (), at, observations).spans, *present(rule, at, T0 + round(now_s * S))[0]]
    return [
        (span.state.value, (span.begin_ns - T0) / S, None if span.end_ns is None else (span.end_ns - T0) / S)
        for span in spans
    ]


def sums(folded: Folded) -> tuple[Decimal, Decimal]:
    good = sum((tally.good for tally in folded.tallies.values()), Decimal(0))
    return good, sum((tally.reject for tally in folded.tallies.values()), Decimal(0))


def test_a_state_tag_says_what_the_line_does() -> None:
    found = states(BY_TAG, [seen(0, STATE, 1), seen(10, STATE, 3), seen(20, STATE, "ready"), seen(30, STATE, 9)], 40)
    assert found == [("running", 0, 10), ("faulted", 10, 20), ("idle", 20, 30), ("stopped", 30, None)]


def test_a_bad_value_makes_the_line_offline_until_a_good_one_comes() -> None:
    found = states(BY_TAG, [seen(0, STATE, 1), seen(10, STATE, None, bad=True), seen(25, STATE, 1)], 40)
    assert found == [("running", 0, 10), ("offline", 10, 25), ("running", 25, None)]


def test_a_device_that_was_lost_and_is_back_says_what_it_said_before() -> None:
    marks = [Observation(T0 + 10 * S, STATE, mark=Mark.LOST), Observation(T0 + 25 * S, STATE, mark=Mark.BACK)]
    found = states(BY_TAG, [seen(0, STATE, 1), *marks], 40)
    assert found == [("running", 0, 10), ("offline", 10, 25), ("running", 25, None)]
    kept = [seen(0, STATE, 1), marks[0], seen(10.1, STATE, 2), marks[1]]
    assert states(BY_TAG, kept, 40)[1:] == [("offline", 10, 10.1), ("stopped", 10.1, None)], "it had kept samples"


def test_a_fault_is_above_what_the_state_tag_says() -> None:
    found = states(BY_TAG, [seen(0, STATE, 1), seen(5, FAULT, 1), seen(9, FAULT, 0)], 20)
    assert found == [("running", 0, 5), ("faulted", 5, 9), ("running", 9, None)]


def test_without_a_state_tag_a_line_stands_since_its_last_count_when_nothing_more_is_counted() -> None:
    counts = [seen(0, TOTAL, 0), seen(5, TOTAL, 1), seen(10, TOTAL, 2), seen(100, TOTAL, 3)]
    assert states(BY_COUNTS, counts, 110) == [
        ("stopped", 0, 5), ("running", 5, 10), ("stopped", 10, 100), ("running", 100, None),
    ]  # fmt: skip
    assert states(BY_COUNTS, counts, 131)[-1] == ("stopped", 10, None), "one piece alone lasts no time"
    assert states(BY_COUNTS, counts[:3], 39)[-1] == ("running", 5, None)


def test_the_time_at_which_nothing_more_was_counted_is_looked_at() -> None:
    at = Fold()
    fold(BY_COUNTS, (), at, [seen(0, TOTAL, 0), seen(5, TOTAL, 1)])
    assert present(BY_COUNTS, at, T0 + 6 * S)[1] == T0 + 35 * S


def test_a_line_runs_above_its_speed() -> None:
    assert states(BY_SPEED, [seen(0, SPEED, 6), seen(10, SPEED, 5), seen(20, SPEED, 5.5)], 30) == [
        ("running", 0, 10), ("stopped", 10, 20), ("running", 20, None),
    ]  # fmt: skip


def test_a_line_that_says_nothing_for_too_long_is_offline_since_it_said_something() -> None:
    rule = LineRule({STATE: SignalKind.STATE}, meanings=MEANINGS, offline_after_ns=60 * S)
    assert states(rule, [seen(0, STATE, 1), seen(100, STATE, 1)], 150) == [("offline", 0, 100), ("running", 100, None)]
    assert states(rule, [seen(0, STATE, 1), seen(100, STATE, 1)], 170) == [("offline", 0, None)]
    beating = [seen(at, STATE, 1) for at in range(0, 100, 20)]
    assert states(rule, beating, 120) == [("running", 0, None)]


def test_good_pieces_of_a_counter_of_all_are_those_that_were_not_rejected() -> None:
    at = Fold()
    early = [seen(0, TOTAL, 0), seen(0, REJECT, 0), seen(1, REJECT, 1)]
    assert sums(fold(BY_COUNTS, (), at, early)) == (0, 1), "the counter of all comes later: nothing is less than none"
    assert sums(fold(BY_COUNTS, (), at, [seen(2, TOTAL, 10), seen(3, REJECT, 2), seen(4, TOTAL, 11)])) == (9, 2)


def test_counts_belong_to_the_work_order_that_ran_when_they_were_made() -> None:
    runs = [Run(T0 + 10 * S, T0 + 20 * S, "A", "bolt"), Run(T0 + 20 * S, None, "B", "nut")]
    counts = [seen(at, GOOD, at) for at in (0, 5, 10, 15, 20, 25)]
    folded = fold(BY_TAG, runs, Fold(), counts)
    by_order = {place.work_order: tally.good for place, tally in folded.tallies.items()}
    assert by_order == {"": 10, "A": 10, "B": 5}


def test_counts_are_kept_by_the_minutes_in_which_they_began_and_ended() -> None:
    counts = [seen(0, GOOD, 0), seen(30, GOOD, 1), seen(600, GOOD, 50), seen(601, GOOD, 51)]
    folded = fold(BY_TAG, (), Fold(), counts)
    minute = T0 // MINUTE_NS
    assert sorted((place.begin_minute - minute, place.end_minute - minute, tally.good) for place, tally in
                  folded.tallies.items()) == [(0, 0, 1), (0, 10, 49), (10, 10, 1)]  # fmt: skip


def in_order(found: list[Observation]) -> list[Observation]:
    by_key = {(one.time_ns, one.signal): one for one in found}
    return [by_key[key] for key in sorted(by_key)]


VALUES = {
    STATE: st.sampled_from([1, 2, 3, "ready"]),
    TOTAL: st.integers(0, 30),
    REJECT: st.integers(0, 5),
    SPEED: st.integers(0, 9),
    FAULT: st.integers(0, 1),
}
OBSERVATIONS = st.lists(
    st.one_of(
        [
            st.builds(seen, st.integers(0, 400), st.just(signal), values, bad=st.sampled_from([False, False, True]))
            for signal, values in VALUES.items()
        ]
    ),
    max_size=50,
).map(
    lambda found: sorted(
        {(one.time_ns, one.signal): one for one in found}.values(), key=lambda one: (one.time_ns, one.signal)
    )
)
RULES = st.sampled_from(
    [
        LineRule({STATE: SignalKind.STATE, TOTAL: SignalKind.TOTAL, FAULT: SignalKind.FAULT}, meanings=MEANINGS),
        LineRule({TOTAL: SignalKind.TOTAL, REJECT: SignalKind.REJECT}, stop_after_ns=20 * S, offline_after_ns=70 * S),
        LineRule({SPEED: SignalKind.SPEED, REJECT: SignalKind.REJECT}, running_above=Decimal(4)),
    ]
)


@given(RULES, OBSERVATIONS, st.integers(0, 50))
def test_a_fold_goes_on_from_anywhere_as_if_it_had_never_ended(
    rule: LineRule, observations: list[Observation], cut: int
) -> None:
    runs = [Run(T0 + 100 * S, T0 + 200 * S, "A", "bolt")]
    whole, parts = Fold(), Fold()
    expected = fold(rule, runs, whole, observations)
    found = fold(rule, runs, parts, observations[:cut])
    resumed = read_fold(fold_text(parts))
    assert resumed == parts
    following = fold(rule, runs, resumed, observations[cut:])
    assert {**found.tallies, **following.tallies} == expected.tallies
    assert [*found.spans, *following.spans] == expected.spans
    assert resumed == whole
    for again in expected.kept:  # and so it does from each fold that is kept
        behind = [one for one in observations if (one.time_ns, one.signal) > (again.time_ns, again.signal)]
        restarted = again.copy()
        late = fold(rule, runs, restarted, behind)
        assert restarted == whole
        minute = again.time_ns // MINUTE_NS
        assert {place: tally for place, tally in expected.tallies.items() if place.end_minute >= minute} == late.tallies


@given(RULES, OBSERVATIONS, st.integers(0, 100))
def test_states_follow_each_other_without_a_hole(rule: LineRule, observations: list[Observation], more_s: int) -> None:
    at = Fold()
    spans = list(fold(rule, (), at, observations).spans)
    assert at == at.copy()
    before = at.copy()
    spans += present(rule, at, (observations[-1].time_ns if observations else T0) + more_s * S)[0]
    assert at == before, "to look ahead changes nothing"
    for one, following in itertools.pairwise(spans):
        assert one.end_ns == following.begin_ns > one.begin_ns
        assert (one.state, one.reason) != (following.state, following.reason)
    assert all(isinstance(span, StateSpan) and (span.end_ns is None) is (span is spans[-1]) for span in spans)
