"""Which tags were not read for longer than their polls ask for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from connectors.model.late_polls import BlockTimes, LatePoll, PollTimes, late_after_s

START_NS = 1_795_400_000_000_000_000


def tags(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(numbers, np.int32)


def ns(at_s: float) -> int:
    return START_NS + round(at_s * 1e9)


def read(times: PollTimes, at: dict[int, float], clock_ahead_s: float = 0.0) -> LatePoll | None:
    """Tags that are read, each at its time in seconds."""
    at_ns = np.array([ns(at_s + clock_ahead_s) for at_s in at.values()])
    return times.read(tags(*at), np.array(list(at.values())), at_ns)


def told(late: LatePoll | None) -> tuple[Any, ...] | None:
    """The tags, from when to when in seconds since the start, and how long."""
    if late is None:
        return None
    spans = ((late.first_ns - START_NS) / 1e9, (late.last_ns - START_NS) / 1e9)
    return late.tags.tolist(), *(round(at_s, 6) for at_s in (*spans, late.longest_s))


def times_of(intervals_s: Sequence[float]) -> PollTimes:
    times = PollTimes(intervals_s)
    assert read(times, dict.fromkeys(range(len(intervals_s)), 0.0)) is None, "nothing was read before"
    return times


@pytest.mark.parametrize(("interval_s", "limit_s"), [(0.1, 1.1), (0.5, 1.5), (1.0, 3.0), (60.0, 180.0)])
def test_a_poll_is_late_after_three_intervals_and_after_a_second_at_least(interval_s: float, limit_s: float) -> None:
    assert late_after_s(interval_s) == pytest.approx(limit_s)
    times = times_of([interval_s])
    assert read(times, {0: limit_s - 0.001}) is None
    at_s = 2 * limit_s + 0.001
    expected = ([0], round(limit_s - 0.001, 6), round(at_s, 6), round(limit_s + 0.002, 6))
    assert told(read(times, {0: at_s})) == expected
    assert read(times, {0: at_s + interval_s}) is None, "told once"


def test_of_tags_that_are_read_at_different_times_only_those_that_came_late_are_told_of() -> None:
    times = times_of([0.1, 0.1, 0.1, 60.0])
    assert told(read(times, {0: 0.1, 1: 2.8})) == ([1], 0.0, 2.8, 2.8)
    assert told(read(times, {0: 2.81, 1: 2.82, 2: 2.83, 3: 2.84})) == ([0, 2], 0.0, 2.83, 2.83)


def test_a_clock_that_is_set_makes_no_poll_late_and_hides_none() -> None:
    times = times_of([0.1])
    assert read(times, {0: 0.1}, clock_ahead_s=3600.0) is None
    late = read(times, {0: 2.1}, clock_ahead_s=-3600.0)
    assert told(late) == ([0], 3600.1, 3600.1, 2.0), "it does not end before it begins"


def test_tags_that_are_not_polled_any_more_are_told_of_once_and_are_not_late_when_they_are_polled_again() -> None:
    times = times_of([0.1, 0.1])
    assert told(times.overdue(tags(1), 5.0, ns(5.0))) == ([1], 0.0, 5.0, 5.0)
    times.forget(tags(1))
    assert times.overdue(tags(1), 6.0, ns(6.0)) is None
    assert told(read(times, {0: 60.0, 1: 60.0})) == ([0], 0.0, 60.0, 60.0)


def test_tags_that_fell_behind_the_newest_read_are_told_of_up_to_it() -> None:
    times = PollTimes([0.1, 0.1, 60.0, 0.1])
    assert times.behind() is None
    read(times, {0: 0.0, 1: 0.0, 2: 0.0})
    read(times, {0: 1.0})
    assert times.behind() is None
    read(times, {0: 2.0})
    assert told(times.behind()) == ([1], 0.0, 2.0, 2.0), "the third is slow, the fourth was never read"


def test_tags_that_fell_behind_what_came_otherwise_are_told_of_up_to_that() -> None:
    times = PollTimes([0.1, 0.1])
    assert told(times.behind(9.0, ns(9.0))) is None
    read(times, {0: 5.0, 1: 5.0})
    assert told(times.behind(5.9, ns(5.9))) is None
    assert told(times.behind(4.0, ns(4.0))) is None
    assert told(times.behind(9.0, ns(9.0))) == ([0, 1], 5.0, 9.0, 4.0)


def test_scans_that_are_made_again_and_again_are_told_of_as_single_reads_are() -> None:
    """In any order with reads of parts, of plans that have changed, and with the tags that are asked for in between."""
    numbers = Random(7)
    intervals_s = [0.1, 0.1, 0.5, 0.5, 2.0]
    by_block, by_tag = PollTimes(intervals_s), PollTimes(intervals_s)
    scans = [(tags(0, 1, 2), np.array([2, 1])), (tags(3, 4), np.array([2])), (tags(2, 0), np.array([1, 1]))]
    now_s, late = 0.0, 0
    for _ in range(2000):
        now_s += numbers.choice([0.05, 0.1, 0.3, 1.5])
        what = numbers.randrange(8)
        some, sizes = scans[numbers.randrange(3)]
        if what < 6:
            at_s = [now_s + 0.001 * place for place in range(len(sizes))]
            blocks = BlockTimes(some, sizes, at_s, [ns(one) for one in at_s])
            found, expected = by_block.read_again(blocks), by_tag.read(*blocks.of_tags())
            late += expected is not None
        elif what == 6:
            found, expected = by_block.behind(), by_tag.behind()
        else:
            found, expected = by_block.overdue(some, now_s, ns(now_s)), by_tag.overdue(some, now_s, ns(now_s))
            by_block.forget(some[:1])
            by_tag.forget(some[:1])
        assert told(found) == told(expected)
    assert late > 100
