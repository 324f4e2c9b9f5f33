"""Identities of the delivery promise: agents, epochs, batches, and sets of batch numbers."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NewType

Epoch = NewType("Epoch", int)
BatchNumber = NewType("BatchNumber", int)

EPOCH_MAX = (1 << 63) - 1
"""Epochs and batch numbers fit a signed 64-bit integer, as Sparkplug's Int64 and PostgreSQL's bigint have it."""

SPANS_MAX = 10_000
"""So many ranges of batch numbers may one acknowledgement or gap record name: nobody sends more, nobody reads more."""


def new_epoch() -> Epoch:
    """A random, positive 63-bit identity: two starts of any agents share one with negligible probability."""
    return Epoch(secrets.randbelow(EPOCH_MAX) + 1)


@dataclass(frozen=True, slots=True)
class AgentName:
    """A Sparkplug Edge Node: group and name, written ``group/name``."""

    group: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


class BatchRanges:
    """A set of batch numbers, kept as sorted, disjoint, inclusive ranges.

    The memory it takes grows with the number of holes, not with the number of batches. ``add`` says which of
    the numbers were new: that answer is how duplicates are recognised.
    """

    __slots__ = ("_first", "_last")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """In any order, also overlapping; the time it takes is that of sorting. Raises ``ValueError`` as ``add``."""
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in sorted(ranges):
            if last < first:
                raise ValueError(f"a range of batches cannot end before it begins: {first}-{last}")
            if self._last and first <= self._last[-1] + 1:
                self._last[-1] = max(self._last[-1], last)
            else:
                self._first.append(first)
                self._last.append(last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number <= self._last[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._first, self._last, strict=True))

    def __len__(self) -> int:
        """How many batch numbers are in the set."""
        return sum(last - first + 1 for first, last in self)

    def __bool__(self) -> bool:
        return bool(self._first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchRanges) and self._first == other._first and self._last == other._last

    def __hash__(self) -> int:
        return hash((tuple(self._first), tuple(self._last)))

    def __repr__(self) -> str:
        return f"BatchRanges({list(self)!r})"

    @property
    def range_count(self) -> int:
        """How many separate ranges there are."""
        return len(self._first)

    @property
    def highest(self) -> int | None:
        """The largest number in the set, or ``None`` when it is empty."""
        return self._last[-1] if self._last else None

    def copy(self) -> BatchRanges:
        """An independent copy."""
        twin = BatchRanges()
        twin._first, twin._last = self._first.copy(), self._last.copy()
        return twin

    def add(self, first: int, last: int | None = None) -> bool:
        """Put ``first``…``last`` (inclusive) into the set; true when not one of them was there before.

        Raises ``ValueError`` when the range is empty.
        """
        last = first if last is None else last
        if last < first:
            raise ValueError(f"a range of batches cannot end before it begins: {first}-{last}")
        left = bisect_right(self._last, first - 2)
        right = bisect_right(self._first, last + 1)
        touched = range(left, right)
        fresh = all(self._last[i] < first or self._first[i] > last for i in touched)
        if touched:
            first = min(first, self._first[left])
            last = max(last, self._last[right - 1])
        self._first[left:right] = [first]
        self._last[left:right] = [last]
        return fresh

    def discard(self, number: int) -> None:
        """Take ``number`` out of the set, if it is in it."""
        at = bisect_right(self._first, number) - 1
        if at < 0 or number > self._last[at]:
            return
        first, last = self._first[at], self._last[at]
        parts = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
        self._first[at : at + 1] = [a for a, _ in parts]
        self._last[at : at + 1] = [b for _, b in parts]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges of ``first``…``last`` that are not in the set, in order."""
        holes: list[tuple[int, int]] = []
        at = first
        for begin, end in self:
            if end < at:
                continue
            if begin > last:
                break
            if begin > at:
                holes.append((at, begin - 1))
            at = end + 1
        if at <= last:
            holes.append((at, last))
        return holes
