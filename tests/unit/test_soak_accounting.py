"""The count at the end of a soak fails for what it is there to find, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.accounting import AFTER_S, DeclaredGap, Findings, Span, count, joined

A, B = ("press", "a"), ("press", "b")
FAULT: Span = (100.0, 101.0)


def rows(*spans: range, period_s: float = 0.1) -> list[tuple[int, float]]:
    """Numbers as they are stored, the first one of all at 90 s."""
    return [(number, 90.0 + number * period_s) for span in spans for number in span]


def gap(first_s: float, last_s: float, *tags: str, reason: str = "agent_not_running") -> DeclaredGap:
    return DeclaredGap("press", reason, first_s, last_s, frozenset(tags) or None)


def counted(
    numbers: dict[tuple[str, str], list[tuple[int, float]]],
    gaps: Sequence[DeclaredGap] = (),
    made: Sequence[range] = (range(300),),
    faults: Sequence[Span] = (FAULT,),
) -> Findings:
    found = Findings(1)
    count(found, numbers, {"press": made}, gaps, faults)
    return found


LOST = {A: rows(range(100), range(110, 300))}
"""Numbers 100 to 109: nothing between 99.9 and 101.0 s."""


def test_all_stored_once_is_good() -> None:
    found = counted({A: rows(range(300)), B: rows(range(20, 300))})
    assert (found.is_good, found.exit_code, found.made, found.stored) == (True, 0, 580, 580)


def test_a_loss_that_nobody_declared_is_unexplained() -> None:
    found = counted(LOST)
    assert found.unexplained == ["press/a 100-109 between 99.90 and 101.00 is in no gap"]
    assert (found.exit_code, found.made, found.stored, found.in_gaps) == (1, 300, 290, 0)


def test_a_loss_in_a_gap_of_the_device_or_of_its_tag_is_explained() -> None:
    for tags in ((), ("a",), ("a", "b")):
        found = counted(LOST, [gap(100.0, 100.9, *tags)])
        assert (found.is_good, found.in_gaps) == (True, 10)


def test_a_gap_of_another_tag_excuses_none() -> None:
    assert len(counted(LOST, [gap(99.0, 102.0, "b")]).unexplained) == 1
    both = LOST | {B: rows(range(100), range(110, 300))}
    assert [line[:7] for line in counted(both, [gap(99.0, 102.0, "b")]).unexplained] == ["press/a"]


@pytest.mark.parametrize(
    ("gaps", "is_good"),
    [
        ([(99.9, 100.4), (100.5, 101.0)], True),  # nothing was made between the two
        ([(99.9, 100.2), (100.6, 101.0)], False),  # three numbers are in neither
        ([(99.9, 100.3)], False),
        ([(100.7, 101.5)], False),
    ],
)
def test_gaps_explain_a_loss_together_when_no_sample_is_between_them(gaps: list[Span], is_good: bool) -> None:
    assert counted(LOST, [gap(*span) for span in gaps]).is_good is is_good


def test_a_read_whose_answer_was_lost_is_no_loss_while_that_can_be_and_no_more_than_two_are() -> None:
    for end, when, is_good in ((102, FAULT, True), (103, FAULT, False), (101, (200.0, 201.0), False)):
        found = Findings(1)
        count(found, {A: rows(range(100), range(end, 300))}, {"press": [range(300)]}, [], [], {"press": [when]})
        assert (found.is_good, found.unanswered) == (is_good, end - 100 if is_good else 0)


def test_a_read_whose_answer_was_lost_is_a_loss_when_the_next_answer_came_late_and_nobody_declared_it() -> None:
    for before_s, gaps, is_good in ((100.9, [], True), (102.6, [], False), (102.6, [gap(99.9, 102.6, "a")], True)):
        numbers = rows(range(100)) + [(number, before_s + (number - 101) * 0.1) for number in range(101, 300)]
        found = Findings(1)
        count(found, {A: numbers}, {"press": [range(300)]}, gaps, [FAULT], {"press": [FAULT]})
        assert found.is_good is is_good, found.unexplained


def test_a_number_that_is_stored_twice_is_no_good() -> None:
    twice = rows(range(300))
    found = counted({A: [*twice[:7], twice[6], *twice[7:]]})
    assert (found.doubled, found.unexplained, found.exit_code) == (1, [], 1)


def test_numbers_that_no_machine_has_made_are_not_missing_and_must_not_be_stored() -> None:
    runs = (range(100), range(200, 300))
    found = counted({A: rows(range(100), range(200, 300))}, made=runs)
    assert (found.is_good, found.made, found.in_gaps) == (True, 200, 0)
    found = counted({A: rows(range(90), range(210, 300))}, [gap(98.0, 112.0)], made=runs)
    assert (found.is_good, found.made, found.in_gaps) == (True, 200, 20)
    found = counted({A: rows(range(101), range(200, 300))}, made=runs)
    assert found.unexplained == ["press/a has 1 numbers that were never made: [100]"]


def test_an_end_that_is_missing_is_unexplained() -> None:
    assert counted({A: rows(range(290))}).unexplained == ["press/a ends with 289, its last number was 299"]


@pytest.mark.parametrize(
    ("declared", "is_good"),
    [
        (gap(96.0, 101.0 + AFTER_S - 1), True),
        (gap(94.0, 101.0), False),  # it begins too long before the fault
        (gap(99.0, 101.0 + AFTER_S + 1), False),  # and ends too long after it
        (gap(300.0, 301.0), False),
        (gap(300.0, 301.0, "a", reason="device_overflow"), True),  # a busy server needs no fault
        (gap(300.0, 304.9, "a", reason="polled_late"), True),
        (gap(300.0, 305.1, "a", reason="polled_late"), False),
        (gap(300.0, 301.0, "a", reason="outbox_full"), False),
    ],
)
def test_what_is_declared_without_a_fault_is_unexplained(declared: DeclaredGap, is_good: bool) -> None:
    assert counted({A: rows(range(300))}, [declared]).is_good is is_good


def test_missing_batches_and_dead_letters_are_no_good() -> None:
    assert Findings(1, missing_batches=1).exit_code == 1
    assert Findings(1, dead_letters=1).exit_code == 1
    assert Findings(1).exit_code == 0


def test_spans_that_touch_are_joined_and_others_are_not() -> None:
    assert joined([(5.0, 6.0), (1.0, 2.0), (2.1, 3.0), (1.5, 1.6)], 0.15) == [(1.0, 3.0), (5.0, 6.0)]
