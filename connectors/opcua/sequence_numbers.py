"""Which notification messages of a subscription have not come: their numbers, one after the other (Part 4, 5.14.1.2).

A message counts as one that was there before only when it has been taken under the same number out of turn. So a server
that counts in a way of its own loses nothing here; at worst a gap is declared that is none.

What is looked at (``missing``) and what is done with (``take``) are told apart: a connection can be lost between, and
then the count goes on with the first message that was not done with.
"""

from __future__ import annotations

from collections import deque
from typing import Final

NUMBER_MAX: Final = (1 << 32) - 1
"""After it comes 1; 0 is no number (Part 4, 7.8)."""

ASKED_MAX: Final = 64
"""So many missing messages are asked for again, the newest ones; a server keeps few of them (Part 4, 5.14.1.2)."""

TAKEN_KEPT_MAX: Final = 2 * ASKED_MAX
"""Numbers of messages that were taken out of turn, kept so that they are not taken once more."""


class SequenceNumbers:
    """The numbers of the messages of one subscription, which begin at 1."""

    def __init__(self) -> None:
        self._next = 1
        self._out_of_turn: deque[int] = deque(maxlen=TAKEN_KEPT_MAX)
        self.untaken = 1
        """The first message that was not handed over, nor declared lost."""
        self.is_doubtful = False
        """The connection was lost, and no message has come since that shows whether the count goes on."""

    def missing(self, number: int, *, is_keep_alive: bool) -> tuple[int, tuple[int, ...]]:
        """What is missing before the message ``number``: how many, and the numbers worth asking for, oldest first.

        A keep-alive carries the number that the next message will have, and takes none itself. A number that lies
        behind begins the count anew, without anything missing; so does 0, which is none. While the count is doubtful,
        one message at least is missing then, and none is worth asking for.
        """
        ahead = _steps(self._next, number)
        if ahead > NUMBER_MAX // 2 or number == 0:
            if is_keep_alive or number in self._out_of_turn:
                return 0, ()
            if number != 0:
                self._next = _after(number)
                self._out_of_turn.clear()  # they were numbers of the count before
            was_doubtful, self.is_doubtful = self.is_doubtful, False
            return int(was_doubtful), ()
        self.is_doubtful = False
        self._next = number if is_keep_alive else _after(number)
        asked = min(ahead, ASKED_MAX)
        return ahead, tuple(_before(number, steps) for steps in range(asked, 0, -1))

    def take_out_of_turn(self, number: int) -> None:
        """The missing message ``number`` has been sent again, and is taken."""
        self._out_of_turn.append(number)

    def take(self, number: int) -> None:
        """The message ``number`` has been handed over, and what was missing before it was handed over or declared."""
        if number != 0:
            self.untaken = _after(number)

    def settle(self) -> None:
        """All that was looked at has been handed over or declared."""
        self.untaken = self._next

    def go_on(self) -> int:
        """The connection was lost, and the subscription goes on: the number of the first message to ask for."""
        self._next, self.is_doubtful = self.untaken, True
        return self.untaken

    def is_taken(self, number: int) -> bool:
        """Whether the message ``number`` has been taken out of turn: one that comes late is the same once more."""
        return number in self._out_of_turn


def _steps(one: int, other: int) -> int:
    return (other - one) % NUMBER_MAX


def _after(number: int) -> int:
    return 1 if number == NUMBER_MAX else number + 1


def _before(number: int, steps: int) -> int:
    return (number - 1 - steps) % NUMBER_MAX + 1
