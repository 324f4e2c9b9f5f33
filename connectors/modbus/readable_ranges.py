"""Which addresses of a table can be read, found with few reads. Pure: it asks through a function.

A unit refuses a read that touches one address which it does not have. So the end of a range is found by halving, and
where nothing can be read only some addresses are tried. A read may also be too long for the unit: then the next address
can be read after all, and no read is that long again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from connectors.modbus.exception_codes import ILLEGAL_FUNCTION

SILENT: Final = -1
SILENT_MAX: Final = 4
"""After so many addresses in a row without an answer a table is left: each of them costs the whole time-out."""

Ask = Callable[[int, int], Awaitable[int]]
"""Reads so many addresses from the first on: 0, the exception code, or ``SILENT``."""


class RangeSearch:
    """The search in one table from ``first`` to ``last``, with reads of at most ``count_max`` addresses."""

    def __init__(self, ask: Ask, first: int, last: int, step: int, count_max: int) -> None:
        self._ask = ask
        self._first, self._last, self._step = first, last, step
        self.count_max = count_max
        """The longest read that the unit answers, as far as it has turned out."""
        self._silent_in_a_row = 0
        self._is_silent = False
        self._has_table = True
        self.left_at: int | None = None
        """Where the search was given up, because the unit gave no answers."""

    async def run(self) -> list[tuple[int, int]]:
        """The first and the last address of each range."""
        ranges: list[tuple[int, int]] = []
        at = tried = self._first
        while at <= self._last and self._has_table and self._silent_in_a_row < SILENT_MAX:
            if await self._can_read(at, 1):
                self._silent_in_a_row = 0
                begin = await self._beginning(tried, at)
                end = await self._end(at)
                ranges.append((begin, end))
                at = tried = end + 2  # the next one after the end is known
            else:
                self._silent_in_a_row = self._silent_in_a_row + 1 if self._is_silent else 0
                tried = at + 1
                at = (at // self._step + 1) * self._step
        if self._silent_in_a_row == SILENT_MAX:
            self.left_at = at
        return ranges

    async def _can_read(self, at: int, count: int) -> bool:
        code = await self._ask(at, count)
        self._is_silent = code == SILENT
        if code == ILLEGAL_FUNCTION:
            self._has_table = False
        return code == 0

    async def _beginning(self, lowest: int, at: int) -> int:
        """The first address, at least ``lowest``, from which on all up to ``at`` can be read."""
        high = at
        while lowest < high:
            middle = (lowest + high) // 2
            if await self._can_read(middle, at - middle + 1):
                high = middle
            else:
                lowest = middle + 1
        return high

    async def _end(self, at: int) -> int:
        """The last address up to which all from ``at`` on, which can be read, can."""
        next_one = at
        while next_one <= self._last:
            count = min(self.count_max, self._last - next_one + 1)
            if await self._can_read(next_one, count):
                next_one += count
                continue
            good = await self._readable_count(next_one, count)
            next_one += good
            if not good or next_one > self._last or not await self._can_read(next_one, 1):
                break
            self.count_max = good
        return next_one - 1

    async def _readable_count(self, at: int, refused: int) -> int:
        """How many from ``at`` on can be read in one read, where ``refused`` cannot."""
        good = 0
        while refused - good > 1:
            middle = (good + refused) // 2
            if await self._can_read(at, middle):
                good = middle
            else:
                refused = middle
        return good
