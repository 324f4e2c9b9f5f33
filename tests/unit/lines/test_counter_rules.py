"""What counters count is what was produced, whatever they do: roll over, are reset, and jump for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.counter_rules import CounterRule, CounterState, count

S: Final = 1_000_000_000
STEP_MAX: Final = 5
BITS_16: Final = CounterRule(modulus=Decimal(65_536), rate_max=Decimal(STEP_MAX))


def total(rule: CounterRule, samples: list[tuple[int, int]]) -> Decimal:
    """What the samples (time in seconds, value) add up to."""
    state: CounterState | None = None
    found = Decimal(0)
    for time_s, value in samples:
        state, increment = count(rule, state, Decimal(value), time_s * S)
        if increment is not None:
            assert increment.begin_ns < time_s * S
            found += increment.amount
    return found


@dataclass
class Machine:
    """A counter of a machine, with what it has truly made, and the samples of it: one a second."""

    modulus: int
    value: int
    made: int = 0
    since_trouble: int = 2
    time_s: int = 0

    def second(self, step: int, trouble: str) -> int:
        """What is read after ``step`` pieces more; trouble comes at most every third second."""
        self.time_s += 1
        self.since_trouble += 1
        if self.since_trouble < 3:
            trouble = "none"
        elif trouble != "none":
            self.since_trouble = 0
        if trouble == "reset":
            self.value = 0
        self.made += step
        self.value = (self.value + step) % self.modulus
        return (self.value + 30_000) % self.modulus if trouble == "glitch" else self.value


SECONDS: Final = st.lists(
    st.tuples(st.integers(0, STEP_MAX), st.sampled_from(["none", "none", "reset", "glitch"])), min_size=1, max_size=60
)


@given(st.integers(0, 65_535), SECONDS)
def test_the_total_is_what_was_produced(begin: int, seconds: list[tuple[int, str]]) -> None:
    machine = Machine(65_536, begin)
    samples = [(0, begin), *((at + 1, machine.second(*second)) for at, second in enumerate(seconds))]
    last = samples[-1][0]
    # two good readings settle what the last one began
    samples += [(last + 1, machine.value), (last + 2, machine.value)]
    found = total(BITS_16, samples)
    resets = sum(1 for _, trouble in seconds if trouble == "reset")
    assert found <= machine.made
    # a reset may come while the counter is so low that the value after it follows from the one before: then nothing
    # shows it; and the pieces between the last reading and the reset are in no reading at all
    assert found >= machine.made - resets * 2 * STEP_MAX


@given(st.integers(0, 65_535), st.lists(st.integers(0, STEP_MAX), max_size=60))
def test_a_counter_that_only_rolls_over_loses_nothing(begin: int, steps: list[int]) -> None:
    machine = Machine(65_536, begin)
    samples = [(0, begin), *((at + 1, machine.second(step, "none")) for at, step in enumerate(steps))]
    assert total(BITS_16, samples) == sum(steps)


@given(
    st.lists(st.integers(0, STEP_MAX), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 59), st.integers(1000, 60_000)), max_size=10),
)
def test_glitches_count_nothing(steps: list[int], glitches: list[tuple[int, int]]) -> None:
    value, samples = 500, [(0, 500)]
    wrong = dict(glitches)
    previous_was_wrong = False
    for at, step in enumerate(steps):
        value += step
        is_wrong = at in wrong and not previous_was_wrong
        samples.append((at + 1, (value + wrong[at]) % 65_536 if is_wrong else value))
        previous_was_wrong = is_wrong
    samples.append((len(steps) + 1, value))
    assert total(BITS_16, samples) == sum(steps)


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (BITS_16, [65_533, 65_535, 1], 4),
        (CounterRule(modulus=Decimal(1 << 32), rate_max=Decimal(5)), [(1 << 32) - 2, 1], 3),
        (BITS_16, [40_000, 2, 3], 3),
        (BITS_16, [40_000, 0, 40_001], 1),
        (BITS_16, [40_000, 40_003, 39_999, 40_004], 4),
        (CounterRule(), [100, 0, 1, 2], 2),
        (CounterRule(), [100, 0, 0, 0, 101], 1),
        (CounterRule(), [100, 0, 0, 0, 1, 2], 2),
        (CounterRule(), [100, 5 * 10**17, 5 * 10**17, 101], 1),
        (CounterRule(modulus=Decimal(1 << 62)), [100, (1 << 62) - 1, 101], 1),
        (CounterRule(scale=Decimal(10) ** 18), [0, 1, 2], 0),
        (CounterRule(), [100, 101, 100, 101], 1),
        (CounterRule(modulus=Decimal(65_536)), [30_000, 100, 101], 101),
        (CounterRule(modulus=Decimal(65_536)), [60_000, 100], 5636),
        (CounterRule(scale=Decimal("0.25")), [0, 10], Decimal("2.5")),
        (CounterRule(reset_to=Decimal(1000)), [1500, 1001, 1002], 2),
        (BITS_16, [7], 0),
    ],
)
def test_what_two_neighbours_count(rule: CounterRule, values: list[int], expected: Decimal) -> None:
    assert total(rule, list(enumerate(values))) == expected


def test_a_long_time_without_a_sample_counts_what_was_made_in_it() -> None:
    assert total(BITS_16, [(0, 10), (3600, 10_010)]) == 10_000
