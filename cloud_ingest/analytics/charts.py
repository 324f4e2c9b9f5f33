"""Control charts: limits, and the Western Electric rules by which a process is seen to go out of control. Pure.

Western Electric, Statistical Quality Control Handbook (1956), part B: a point beyond three sigma; two of three beyond
two sigma, four of five beyond one sigma, eight in a row, on one side of the centre line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

D2_OF_TWO: Final = 1.128
"""Of moving ranges of two points: their mean divided by it estimates sigma (ISO 7870-2, table of d2)."""
POINTS_MIN: Final = 8
"""Fewer points give no limits that mean anything."""


class Rule(StrEnum):
    """Why a point is a signal."""

    BEYOND_THREE = "one beyond 3 sigma"
    TWO_OF_THREE = "two of three beyond 2 sigma"
    FOUR_OF_FIVE = "four of five beyond 1 sigma"
    EIGHT_ON_ONE_SIDE = "eight on one side"


_RUNS: Final = (
    (Rule.BEYOND_THREE, 1, 1, 3.0),
    (Rule.TWO_OF_THREE, 2, 3, 2.0),
    (Rule.FOUR_OF_FIVE, 4, 5, 1.0),
    (Rule.EIGHT_ON_ONE_SIDE, 8, 8, 0.0),
)
"""(rule, at least so many, of the last, beyond so many sigma)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The centre line, and one sigma of what is plotted, in the unit of the values."""

    center: float
    sigma: float


def limits_of(values: Sequence[float]) -> Limits | None:
    """Of single values or means of subgroups, by the mean moving range; ``None`` of fewer than ``POINTS_MIN``."""
    if len(values) < POINTS_MIN:
        return None
    ranges = [abs(after - before) for before, after in pairwise(values)]
    return Limits(math.fsum(values) / len(values), math.fsum(ranges) / len(ranges) / D2_OF_TWO)


def signals(distances: Sequence[float]) -> list[tuple[Rule, ...]]:
    """By point, the rules that it breaks together with those before it.

    ``distances`` are from the centre line, in sigma: those of a p-chart have a sigma of their own each. A point on the
    line is on neither side. The point itself is always one of those that break the rule, so one that is back within
    the limits is no signal.
    """
    found: list[tuple[Rule, ...]] = []
    for place, distance in enumerate(distances):
        side = math.copysign(1.0, distance)
        broken: list[Rule] = []
        for rule, at_least, of, beyond in _RUNS:
            last = distances[max(0, place + 1 - of) : place + 1]
            if distance * side > beyond and sum(one * side > beyond for one in last) >= at_least:
                broken.append(rule)
        found.append(tuple(broken))
    return found


@dataclass(frozen=True, slots=True)
class Proportion:
    """Of ``size`` pieces, ``count`` were rejects."""

    count: float
    size: float


def p_chart(parts: Sequence[Proportion]) -> tuple[float, list[float]] | None:
    """The centre line of rejects, and one sigma for each of ``parts``: sqrt(p (1 - p) / n).

    ``None`` when fewer than ``POINTS_MIN`` have pieces.
    """
    made = math.fsum(part.size for part in parts)
    if sum(part.size > 0 for part in parts) < POINTS_MIN or made <= 0:
        return None
    center = math.fsum(part.count for part in parts) / made
    spread = max(0.0, center * (1 - center))
    return center, [math.sqrt(spread / part.size) if part.size > 0 else 0.0 for part in parts]
