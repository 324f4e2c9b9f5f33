"""BatchRanges is a set of integers, whatever is added in whatever order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.delivery import BatchRanges
from tests.bounded_effort import bounded_effort

SPANS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), max_size=30)


@given(SPANS, st.integers(1, 80), st.integers(0, 40))
def test_ranges_behave_as_a_set(spans: list[tuple[int, int]], low: int, size: int) -> None:
    ranges, model = BatchRanges(), set[int]()
    for first, more in spans:
        added = set(range(first, first + more + 1))
        assert ranges.add(first, first + more) is not bool(model & added)
        model |= added
    assert BatchRanges((first, first + more) for first, more in spans) == ranges
    ranges.discard(low)
    model.discard(low)
    assert {n for first, last in ranges for n in range(first, last + 1)} == model
    assert len(ranges) == len(model)
    assert ranges.highest == max(model, default=None)
    assert all(n in ranges for n in model)
    assert not any(n in ranges for n in set(range(90)) - model)
    bounds = list(ranges)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(bounds))
    missing = {n for first, last in ranges.missing(low, low + size) for n in range(first, last + 1)}
    assert missing == set(range(low, low + size + 1)) - model
    assert ranges.copy() == ranges


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="before it begins"):
        BatchRanges().add(5, 4)
    with pytest.raises(ValueError, match="before it begins"):
        BatchRanges([(1, 9), (5, 4)])


@pytest.mark.parametrize("step", [-1, 1])
def test_many_ranges_in_any_order_take_no_more_than_a_sort(step: int) -> None:
    """Put in one by one, each at the front of the ones before, 200,000 take a quarter of a minute."""
    numbers = range(0, 400_000, 2)[::step]
    with bounded_effort(16 * len(numbers), cpu_us_per_byte=1.0):
        ranges = BatchRanges((number, number) for number in numbers)
    assert ranges.range_count == len(numbers)
