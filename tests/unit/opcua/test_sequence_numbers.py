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


def test_after_a_lost_connection_the_count_goes_on_with_what_was_not_done_with() -> None:
    counted = after(1, 2, 3)
    counted.take(1)
    counted.take(2)
    assert counted.go_on() == 3
    assert counted.missing(5, is_keep_alive=False) == (2, (3, 4))
    assert not counted.is_doubtful


def test_what_was_declared_lost_is_not_missed_again() -> None:
    counted = after(1)
    assert counted.missing(4, is_keep_alive=True) == (2, (2, 3))
    counted.settle()
    assert counted.go_on() == 4


def test_a_count_that_begins_anew_after_a_lost_connection_misses_one_message_at_least() -> None:
    counted = after(1, 2, 3)
    counted.settle()
    counted.go_on()
    assert counted.missing(1, is_keep_alive=True) == (0, ())
    assert counted.is_doubtful, "a keep-alive that lies behind says nothing"
    assert counted.missing(1, is_keep_alive=False) == (1, ())
    assert counted.missing(2, is_keep_alive=False) == (0, ()), "once"


def test_numbers_of_the_count_before_are_no_late_messages_of_a_new_one() -> None:
    counted = after(1)
    counted.missing(3, is_keep_alive=False)
    counted.take_out_of_turn(2)
    counted.take(3)
    counted.go_on()
    counted.missing(1, is_keep_alive=False)
    assert not counted.is_taken(2)


def test_a_server_that_gives_no_numbers_is_doubted_after_a_lost_connection_once() -> None:
    counted = SequenceNumbers()
    assert counted.missing(0, is_keep_alive=False) == (0, ())
    counted.go_on()
    assert counted.missing(0, is_keep_alive=False) == (1, ())
    assert counted.missing(0, is_keep_alive=False) == (0, ())


class Kept:
    """A server that keeps messages which were not acknowledged, some of the newest ones."""

    def __init__(self, keeps: int) -> None:
        self.sent = 0
        self._keeps = keeps

    def has(self, number: int) -> bool:
        return self.sent - self._keeps < number <= self.sent


@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=12))
def test_over_many_lost_connections_each_message_is_taken_once_or_missed(
    keeps: int, connections: list[tuple[int, int, bool]]
) -> None:
    """In each connection some messages come, and then some are sent in vain; what comes last may be in hand."""
    server, counted = Kept(keeps), SequenceNumbers()
    taken: list[int] = []
    missed = 0

    def handle(number: int, *, is_keep_alive: bool = False) -> None:
        nonlocal missed
        count, asked = counted.missing(number, is_keep_alive=is_keep_alive)
        found = [each for each in asked if server.has(each)]
        for each in found:
            counted.take_out_of_turn(each)
            taken.append(each)
        missed += count - len(found)
        if not is_keep_alive:
            taken.append(number)
            counted.take(number)
        counted.settle()

    for come, in_vain, in_hand in connections:
        while server.has(counted.untaken):
            number = counted.untaken
            counted.missing(number, is_keep_alive=False)
            taken.append(number)
            counted.take(number)
        counted.go_on()
        for _ in range(come):
            server.sent += 1
            handle(server.sent)
        if in_hand:
            server.sent += 1
            counted.missing(server.sent, is_keep_alive=False)  # looked at, and the connection is lost
        server.sent += in_vain
        counted.go_on()
    handle(server.sent + 1, is_keep_alive=True)
    assert taken == sorted(set(taken))
    assert len(taken) + missed == server.sent
