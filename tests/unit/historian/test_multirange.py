"""Sets of batch numbers as PostgreSQL writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from connectors.model.delivery import BatchRanges

NUMBERS = st.one_of(st.integers(0, 40), st.integers(-(1 << 63), (1 << 63) - 2))


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("{}", []), ("{[1,2)}", [(1, 1)]), ("{[1,5),[7,8)}", [(1, 4), (7, 7)]), ("{[-5,-1),[0,9)}", [(-5, -2), (0, 8)])],
)
def test_the_text_is_postgresql_s_own(text: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_multirange(text) == BatchRanges(ranges)
    assert format_multirange(BatchRanges(ranges)) == text


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 5))))
def test_any_set_comes_back(spans: list[tuple[int, int]]) -> None:
    ranges = BatchRanges((first, min(first + more, (1 << 63) - 2)) for first, more in spans)
    assert parse_multirange(format_multirange(ranges)) == ranges
