"""When work orders will be done, by how fast lines really were and when they work. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

ZERO: Final = Decimal(0)
Place = tuple[str, str]
EndOf = Callable[[datetime, Decimal], datetime]
"""(begin, seconds of work): when they are done on a line, by its shifts."""
PIECES_MIN: Final = Decimal(20)
WORK_MS_MIN: Final = Decimal(600_000)
"""With less than that, the rate of some minutes would be taken for that of the line."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a line has done: ``work_ms`` is planned time in which it ran or stood still and should have run.

    ``ideal_ms`` is what its pieces would have taken at their ideal cycle time.
    """

    good: Decimal
    work_ms: Decimal
    ideal_ms: Decimal


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of work that a good piece takes, stops and rejects in it; ``is_measured`` unless it is the routing's."""

    piece_s: Decimal
    is_measured: bool


def pace_of(cycle_s: Decimal, of_product: Done | None, of_line: Done | None) -> Pace:
    """As the line makes this product; else as much slower than the routing as it makes others; else as that says."""
    if of_product is not None and of_product.good >= PIECES_MIN and of_product.work_ms >= WORK_MS_MIN:
        return Pace(of_product.work_ms / 1000 / of_product.good, True)
    if of_line is not None and of_line.work_ms >= WORK_MS_MIN and of_line.ideal_ms > 0 and of_line.good >= PIECES_MIN:
        return Pace(cycle_s * of_line.work_ms / of_line.ideal_ms, True)
    return Pace(cycle_s, False)


@dataclass(frozen=True, slots=True)
class Queued:
    """A work order on its line. ``after`` are work orders that are to be done before it begins (components of it).

    ``transfer`` of the step before makes it ready, 0 where it is; ``setup_s`` is 0 of one that runs.
    """

    work_order: str
    job: str
    step: int
    place: Place
    remaining: Decimal
    transfer: Decimal
    setup_s: Decimal
    pace: Pace
    after: frozenset[str] = frozenset()


class Span(NamedTuple):
    """From when to when, as it is expected."""

    begin: datetime
    end: datetime


def forecast(queues: Mapping[Place, Sequence[Queued]], ends: Mapping[Place, EndOf], now: datetime) -> dict[str, Span]:
    """When each work order is done: a line takes them in its sequence, unless all lines would wait for each other.

    A step begins as soon as the one before it has given its first part, and ends no earlier than that one.
    """
    waiting = {place: deque(queue) for place, queue in sorted(queues.items())}
    steps = {(one.job, one.step): one for queue in queues.values() for one in queue}
    known = {one.work_order for queue in queues.values() for one in queue}
    free = dict.fromkeys(waiting, now)
    found: dict[str, Span] = {}

    def is_ready(one: Queued) -> bool:
        before = steps.get((one.job, one.step - 1))
        return (before is None or before.work_order in found) and one.after & known <= found.keys()

    while any(waiting.values()):
        one = _next(waiting, is_ready)
        waiting[one.place].remove(one)
        end_of, begin = ends[one.place], free[one.place]
        ended = begin
        before = steps.get((one.job, one.step - 1))
        if before is not None and before.work_order in found:
            head_s = min(before.remaining, one.transfer) * before.pace.piece_s + before.setup_s
            begin = max(begin, ends[before.place](found[before.work_order].begin, head_s))
            ended = found[before.work_order].end
        for other in one.after & found.keys():
            begin = max(begin, found[other].end)
        begin = end_of(begin, ZERO)
        span = Span(begin, max(ended, end_of(begin, one.setup_s + one.remaining * one.pace.piece_s)))
        found[one.work_order] = span
        free[one.place] = span.end
    return found


def _next(waiting: Mapping[Place, Sequence[Queued]], is_ready: Callable[[Queued], bool]) -> Queued:
    """The first one of a line, which waits for nothing; else one that is let pass; else the first at all."""
    queues = [queue for queue in waiting.values() if queue]
    firsts = (queue[0] for queue in queues)
    every = (one for queue in queues for one in queue)
    return next(filter(is_ready, firsts), None) or next(filter(is_ready, every), queues[0][0])
