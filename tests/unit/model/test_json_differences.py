"""Where two values in JSON differ, as people and read-back are told it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.json_differences import NOTHING, differences, read_json

TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"A": 1, "B": {"C": [1, 2]}}, {"A": 1, "B": {"C": [1, 3]}}, ["B.C[1]: 2 → 3"]),
        ([{"X": 1}], [{"X": 2}, {"X": 3}], ["[0].X: 1 → 2", '[1]: nothing → {"X": 3}']),
        ({"A": 1, "B": 2}, {"B": 2}, ["A: 1 → nothing"]),
        ({"A": 1}, {"A": True}, ["A: 1 → true"]),
        ({"A": 1000001}, {"A": 1000002}, ["A: 1000001 → 1000002"]),
        ({"A": 0.1}, {"A": 0.10000000149011612}, []),
        ({"A": 180}, {"A": 180.0}, []),
        ({"T": "2026-03-01T06:30:00Z"}, {"T": "2026-03-01T06:30:00"}, []),
        ({"T": "2026-03-01T06:30:00+01:00"}, {"T": "2026-03-01T06:30:00"}, [
            'T: "2026-03-01T06:30:00+01:00" → "2026-03-01T06:30:00"'
        ]),
        ({"T": "THE: a"}, {"T": "THE: b"}, ['T: "THE: a" → "THE: b"']),
        ({"A": {}}, {"A": []}, ["A: {} → []"]),
    ],
)  # fmt: skip
def test_each_place_that_differs_is_told_and_no_other(before: Any, after: Any, told: list[str]) -> None:
    found = [f"{one.path}: {one.texts[0]} → {one.texts[1]}" for one in differences(before, after)]
    assert found == told


@given(TREES, TREES)
def test_what_is_the_same_does_not_differ_and_the_other_way_round_it_differs_as_often(first: Any, second: Any) -> None:
    assert not list(differences(first, first))
    if first != second:
        forth, back = list(differences(first, second)), list(differences(second, first))
        assert sorted(one.path for one in forth) == sorted(one.path for one in back)


@pytest.mark.parametrize("text", [5, "idle", "5", "[1", "[" * 100_000, None])
def test_what_is_neither_an_array_nor_a_structure_is_not_compared(text: Any) -> None:
    assert read_json(text) is NOTHING
