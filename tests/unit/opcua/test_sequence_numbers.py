"""The numbers of a subscription's messages: what is missing is seen, and what is not missing is not said to be."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from connectors.opcua.sequence_numbers import ASKED_MAX, NUMBER_MAX, SequenceNumbers


def after(*numbers: int) -> SequenceNumbers:
    """The count after these messages."""
    counted = SequenceNumbers()
    for number in numbers:
        counted.missing(number, is_keep_alive=False)
    return counted


def test_messages_in_turn_miss_nothing() -> None:
    counted = SequenceNumbers()
    assert [counted.missing(number, is_keep_alive=False) for number in (1, 2, 3)] == [(0, ())] * 3
    assert counted.missing(4, is_keep_alive=True) == (0, ())
    assert counted.missing(4, is_keep_alive=True) == (0, ()), "a keep-alive takes no number"
    assert counted.missing(4, is_keep_alive=False) == (0, ())


def test_the_numbers_left_out_are_missing_oldest_first() -> None:
    counted = after(1, 2)
    assert counted.missing(6, is_keep_alive=False) == (3, (3, 4, 5))
    assert counted.missing(7, is_keep_alive=False) == (0, ()), "once"


def test_the_first_message_of_all_can_be_missing() -> None:
    assert SequenceNumbers().missing(2, is_keep_alive=False) == (1, (1,))


def test_a_keep_alive_shows_that_the_last_message_is_missing() -> None:
    counted = after(1, 2)
    assert counted.missing(4, is_keep_alive=True) == (1, (3,))
    assert counted.missing(4, is_keep_alive=False) == (0, ())


def test_after_the_largest_number_comes_one_and_never_zero() -> None:
    counted = after(1)
    counted.missing(NUMBER_MAX // 2, is_keep_alive=False)
    counted.missing(NUMBER_MAX - 1, is_keep_alive=False)
    assert counted.missing(2, is_keep_alive=False) == (2, (NUMBER_MAX, 1))


def test_a_long_leap_is_counted_in_full_and_asked_for_in_part() -> None:
    count, asked = after(1).missing(10_002, is_keep_alive=False)
    assert count == 10_000
    assert (len(asked), asked[-1]) == (ASKED_MAX, 10_001)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_keep_alive_with_a_number_that_lies_behind_says_nothing(number: int) -> None:
    counted = after(1, 2, 3)
    assert counted.missing(number, is_keep_alive=True) == (0, ())
    assert counted.missing(4, is_keep_alive=False) == (0, ())


def test_a_server_that_begins_to_count_anew_misses_nothing() -> None:
    counted = after(1, 2, 3)
    assert counted.missing(1, is_keep_alive=False) == (0, ())
    assert counted.missing(2, is_keep_alive=False) == (0, ())


def test_a_message_that_was_sent_again_is_known_when_it_comes_late() -> None:
    counted = after(1)
    assert counted.missing(3, is_keep_alive=False) == (1, (2,))
    counted.take_out_of_turn(2)
    assert (counted.is_taken(2), counted.is_taken(1)) == (True, False)
    assert counted.missing(2, is_keep_alive=False) == (0, ())
    assert counted.missing(4, is_keep_alive=False) == (0, ()), "the late one has not set the count back"


@given(st.integers(1, 1 << 20), st.lists(st.integers(0, 5), max_size=20))
def test_what_was_left_out_is_what_is_missing(first: int, leaps: list[int]) -> None:
    counted = after(first)
    number = first
    for leap in leaps:
        number += leap + 1
        assert counted.missing(number, is_keep_alive=False) == (leap, tuple(range(number - leap, number)))
