"""How far the historian is behind is said in seconds, from the time at which records were taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_ingest.historian.lags import Lag, Lags
from cloud_ingest.observability.obstacles import HISTORIAN_LAG, OBSTACLES


@dataclass
class At:
    """Where a projector is."""

    partition: int
    next_offset: int
    last_ms: int | None


class Clock:
    def __init__(self) -> None:
        self.now_s = 10_000

    def now_ns(self) -> int:
        return self.now_s * 10**9

    def monotonic_s(self) -> float:
        return self.now_s


def test_a_partition_with_a_growing_lag_is_named_until_it_has_caught_up() -> None:
    clock = Clock()
    lags, one = Lags(clock), At(1, 5, 9_990_000)
    ones: list[Any] = [one]
    lags.measured({1: 5}, ones)
    assert (lags.by_partition[1], OBSTACLES.reason(HISTORIAN_LAG)) == (Lag(0, 0.0), "")
    clock.now_s += 3600
    lags.measured({1: 5}, ones)
    clock.now_s += 5
    lags.measured({1: 9}, ones)
    assert lags.by_partition[1] == Lag(4, 5.0), "an hour in which nothing came is not a delay"
    clock.now_s += 65
    lags.measured({1: 200}, ones)
    assert OBSTACLES.reason(HISTORIAN_LAG).startswith("partition 1 is more than 70 s behind, with 195 records")
    one.next_offset, one.last_ms = 190, 1000 * (clock.now_s - 3)
    lags.measured({1: 200}, ones)
    assert (lags.by_partition[1], OBSTACLES.reason(HISTORIAN_LAG)) == (Lag(10, 3.0), "")


def test_a_partition_that_was_left_says_nothing_any_more() -> None:
    clock = Clock()
    lags = Lags(clock)
    left: list[Any] = [At(1, 5, 9_000_000)]
    lags.measured({1: 6}, left)
    assert OBSTACLES.reason(HISTORIAN_LAG)
    lags.left(1)
    assert (lags.by_partition, OBSTACLES.reason(HISTORIAN_LAG)) == ({}, "")
