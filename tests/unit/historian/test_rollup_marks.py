"""Marks of rollups cover every (minute, tag) that got a sample, and little more."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.historian.rollup_marks import HOLE_TAGS_MAX, MINUTE_US, RUNS_MAX, marks_of
from cloud_ingest.historian.sample_rows import SampleRows
from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch

PLACES = st.lists(
    st.tuples(st.integers(1, 2), st.integers(-3, 3), st.one_of(st.integers(1, 60), st.integers(1, 2**31 - 2))),
    max_size=60,
)


def rows_of(tenant: int, places: list[tuple[int, int]]) -> SampleRows:
    tags = np.array([tag for _, tag in places], np.int32)
    times = np.array([minute * MINUTE_US + 7 for minute, _ in places], np.int64)
    return SampleRows.of(tenant, SampleBatch(DataType.DOUBLE, tags, times * 1000, np.zeros(len(places))))


def runs_of(text: str) -> list[tuple[int, int]]:
    return [(int(begin), int(end)) for begin, end in re.findall(r"\[(-?\d+),(-?\d+)\)", text)]


@given(PLACES)
def test_every_minute_of_a_tag_that_got_a_sample_is_marked_once(places: list[tuple[int, int, int]]) -> None:
    parts = [rows_of(tenant, [(minute, tag)]) for tenant, minute, tag in places[:5]]
    rest = [[(minute, tag) for owner, minute, tag in places[5:] if owner == tenant] for tenant in (1, 2)]
    parts += [rows_of(tenant, mine) for tenant, mine in enumerate(rest, 1) if mine]
    marks = marks_of(parts)
    assert len({(mark.tenant_id, mark.minute) for mark in marks}) == len(marks)
    wanted: dict[tuple[int, int], set[int]] = {}
    for tenant, minute, tag in places:
        wanted.setdefault((tenant, minute), set()).add(tag)
    assert {(mark.tenant_id, mark.minute) for mark in marks} == set(wanted)
    for mark in marks:
        tags, runs = wanted[mark.tenant_id, mark.minute], runs_of(mark.tags)
        assert all(any(begin <= tag < end for begin, end in runs) for tag in tags)
        assert all(begin in tags and end - 1 in tags for begin, end in runs), "a run begins and ends with a tag"
        assert all(runs[n + 1][0] - runs[n][1] > HOLE_TAGS_MAX for n in range(len(runs) - 1)), "small holes are filled"


def test_a_mark_stays_small_however_tags_are_strewn() -> None:
    tags = [1 + 40 * n + n % 7 for n in range(5000)]
    (mark,) = marks_of([rows_of(1, [(0, tag) for tag in tags])])
    runs = runs_of(mark.tags)
    assert len(runs) == RUNS_MAX
    assert all(any(begin <= tag < end for begin, end in runs) for tag in tags)
