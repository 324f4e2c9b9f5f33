"""What the fuzz tests lean on: a block that hangs, is quadratic, or takes the machine's memory fails, nothing else."""

from __future__ import annotations

import mmap
from collections.abc import Callable

import pytest

from tests.bounded_effort import bounded_effort


def hang() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


def quadratic() -> None:
    found: list[int] = []
    for number in range(30_000):
        found = [*found, number]


def in_python() -> None:
    bytes(8_000_000)


def outside_python() -> None:
    with mmap.mmap(-1, 100_000_000) as mapped:
        for _ in range(100):
            mapped.write(bytes(1_000_000))


@pytest.mark.parametrize(
    ("block", "cpu_s", "words"),
    [
        (hang, 0.1, "more than 0.1 s of CPU time"),
        (quadratic, 0.1, "of CPU time"),
        (in_python, 10.0, "become 8,000,0"),
        (outside_python, 10.0, "of the machine"),
    ],
)
def test_what_costs_too_much_fails(block: Callable[[], None], cpu_s: float, words: str) -> None:
    with pytest.raises(AssertionError, match=words), bounded_effort(1000, cpu_s=cpu_s, cpu_us_per_byte=1.0):
        block()


def test_what_is_within_its_bounds_and_what_raises_of_itself_pass() -> None:
    with bounded_effort(1000):
        bytes(1_000_000)
    with pytest.raises(KeyError), bounded_effort(1000):
        raise KeyError
