"""The filter of whole columns lets pass what a filter of single samples, one after the other, would let pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of, is_numeric
from connectors.model.report_by_exception import INTERVAL_SLACK, ReportFilter, ReportRule
from connectors.model.samples import SampleBatch, batch_of_rows

TAGS = 4
Row = tuple[int, int, Any, int]
Step = tuple[DataType, list[Row], int]


class SlowFilter:
    """The same rules, sample by sample, in plain Python."""

    def __init__(self, rules: dict[int, ReportRule]) -> None:
        self._rules = rules
        self._last: dict[tuple[DataType, int], tuple[Any, tuple[bool, int], float]] = {}
        self._held: dict[tuple[DataType, int], Row] = {}

    def select(self, datatype: DataType, rows: Sequence[Row], now_s: float) -> list[Row]:
        return [row for row in rows if self._passes(datatype, row, now_s)]

    def released(self, now_s: float) -> set[tuple[DataType, Row]]:
        due = {
            key: row
            for key, row in self._held.items()
            if now_s - self._last[key][2] >= self._rule(key[1]).interval_s_min * (1 - INTERVAL_SLACK)
        }
        for key, row in due.items():
            del self._held[key]
            self._last[key] = (row[2], (False, row[3]), now_s)
        return {(key[0], row) for key, row in due.items()}

    def _rule(self, tag: int) -> ReportRule:
        return self._rules.get(tag, ReportRule())

    def _passes(self, datatype: DataType, row: Row, now_s: float) -> bool:
        tag, _, value, quality = row
        key, status, rule = (datatype, tag), (value is None, quality), self._rule(tag)
        last = self._last.get(key)
        passes = last is None or last[1] != status
        held = False
        if last is not None and not passes:
            elapsed_s = now_s - last[2]
            moved = value is not None and self._moved(datatype, value, last[0], rule)
            early = elapsed_s < rule.interval_s_min * (1 - INTERVAL_SLACK)
            late = rule.interval_s_max is not None and elapsed_s >= rule.interval_s_max * (1 - INTERVAL_SLACK)
            passes = rule.always or late or (moved and not early)
            held = moved and not passes
        self._held.pop(key, None)
        if held:
            self._held[key] = row
        if passes:
            self._last[key] = (value, status, now_s)
        return passes

    @staticmethod
    def _moved(datatype: DataType, value: Any, last: Any, rule: ReportRule) -> bool:
        if value == last or (value != value and last != last):
            return False
        if not is_numeric(datatype):
            return True
        threshold = rule.deadband_absolute
        if rule.deadband_percent and abs(last) != float("inf"):
            threshold = max(threshold, rule.deadband_percent / 100 * abs(float(last)))
        return not abs(value - last) <= threshold


RULES = st.dictionaries(
    st.integers(0, TAGS - 1),
    st.builds(
        ReportRule,
        always=st.sampled_from([False, False, False, True]),
        deadband_absolute=st.sampled_from([0.0, 0.0, 0.5, 2.0]),
        deadband_percent=st.sampled_from([0.0, 0.0, 1.0, 50.0]),
        interval_s_min=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
        interval_s_max=st.sampled_from([None, 2.0, 10.0]),
    ),
)
QUALITIES = st.sampled_from([0, 0, 0, 0, 0x8000, 0x4090])


def values(datatype: DataType) -> st.SearchStrategy[Any]:
    family = family_of(datatype)
    if family is ValueFamily.TEXT:
        return st.sampled_from(["", "a", "b", "run"])
    if family is ValueFamily.BYTES:
        return st.sampled_from([b"", b"a", b"b"])
    if family is ValueFamily.BOOL:
        return st.booleans()
    if family is ValueFamily.FLOAT:
        special = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 3e38, -3e38]
        near = st.integers(-12, 12).map(lambda quarter: quarter / 4)
        return st.one_of(near, near, st.sampled_from(special)).map(lambda value: float(np.float32(value)))
    info = np.iinfo(dtype_of(datatype))
    low, high = int(info.min), int(info.max)
    near_ends = st.sampled_from([low, low + 1, high - 1, high])
    return st.one_of(st.integers(max(low, -4), 4), st.integers(96, 104), near_ends, st.integers(low, high))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    datatype = draw(st.sampled_from([DataType.FLOAT, DataType.DOUBLE, DataType.INT16, *DataType]))
    value = values(datatype)
    plain = draw(st.booleans())

    def row(tag: int, time_ns: int, sample: Any, quality: int, missing: bool) -> Row:
        if plain:
            return tag, time_ns, sample, 0
        return (tag, time_ns, None, quality | 0x8000) if missing else (tag, time_ns, sample, quality)

    rows = st.builds(row, st.integers(0, TAGS - 1), st.integers(0, 10**18), value, QUALITIES, st.booleans())
    several = draw(st.booleans())
    unique = None if several else (lambda found: found[0])
    return datatype, draw(st.lists(rows, max_size=12, unique_by=unique)), draw(st.integers(0, 4))


def same(left: Row, right: Row) -> bool:
    equal = left[2] == right[2] or (left[2] != left[2] and right[2] != right[2])
    return bool(equal) and (left[0], left[1], left[3]) == (right[0], right[1], right[3])


@settings(max_examples=max(1, settings.default.max_examples * 2 // 100) * settings.default.max_examples, deadline=None)
@given(RULES, st.lists(steps(), max_size=14))
@example(
    {0: ReportRule(deadband_absolute=0.5)},
    [(DataType.DOUBLE, [(0, at, value, 0) for at, value in enumerate([1.0, 1.4, 1.6, 1.2, 1.0])], 0)],
)
@example(
    {0: ReportRule(deadband_percent=1.0)},
    [(DataType.DOUBLE, [(0, 0, float("inf"), 0), (0, 1, 5.0, 0), (0, 2, float("nan"), 0)], 1)],
)
def test_columns_pass_as_single_samples_would(rules: dict[int, ReportRule], batches: list[Step]) -> None:
    fast, slow = ReportFilter(TAGS, rules), SlowFilter(rules)
    now_s = 100.0
    for datatype, rows, wait_s in batches:
        now_s += wait_s
        found = list(fast.select(batch_of_rows(datatype, rows), now_s).rows())
        expected = slow.select(datatype, list(batch_of_rows(datatype, rows).rows()), now_s)
        assert len(found) == len(expected)
        assert all(same(left, right) for left, right in zip(found, expected, strict=True))
        if wait_s == 3:
            released = [(batch.datatype, row) for batch in fast.released(now_s) for row in batch.rows()]
            due = sorted(slow.released(now_s), key=repr)
            for (left_type, left), (right_type, right) in zip(sorted(released, key=repr), due, strict=True):
                assert left_type is right_type
                assert same(left, right)


POLLS = st.lists(
    st.tuples(
        st.sampled_from([(0, 1, 2, 3), (0, 1, 2, 3), (1, 3), (2, 0, 1)]),
        st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, float("nan")]), min_size=TAGS, max_size=TAGS),
        st.sampled_from([0, 0, 0, 0x4090]),
        st.integers(0, 4),
        st.sampled_from(["", "", "", "forget", "extend"]),
    ),
    max_size=14,
)
"""Tags, their values, the quality of all of them, the time since the last poll, and what is done before."""


@given(RULES, POLLS)
def test_polls_of_the_same_tags_pass_as_single_samples_would(
    rules: dict[int, ReportRule], polls: list[tuple[tuple[int, ...], list[float], int, int, str]]
) -> None:
    rules = {tag: replace(rule, deadband_absolute=0.0, deadband_percent=0.0) for tag, rule in rules.items()}
    fast, slow = ReportFilter(TAGS, rules), SlowFilter(rules)
    now_s = 100.0
    for tags, moved, quality, wait_s, before in polls:
        now_s += wait_s
        if before == "forget":
            fast.forget()
            slow = SlowFilter(rules)
        elif before == "extend":
            fast.extend([ReportRule()])
        batch = batch_of_rows(DataType.DOUBLE, [(tag, 0, value, quality) for tag, value in zip(tags, moved)])  # noqa: B905
        found = list(fast.select(batch, now_s).rows())
        expected = slow.select(DataType.DOUBLE, list(batch.rows()), now_s)
        assert len(found) == len(expected)
        assert all(same(left, right) for left, right in zip(found, expected, strict=True))


def doubles(*values: float, tag: int = 0) -> SampleBatch:
    return batch_of_rows(DataType.DOUBLE, [(tag, at, value, 0) for at, value in enumerate(values)])


def reported(found: SampleBatch) -> list[Any]:
    return [row[2] for row in found.rows()]


def test_a_batch_of_which_everything_passes_is_not_copied() -> None:
    batch = doubles(1.0)
    assert ReportFilter(1, {}).select(batch, 0.0) is batch


def test_an_unchanged_value_is_reported_again_after_the_maximum_interval() -> None:
    rule = ReportFilter(1, {0: ReportRule(interval_s_max=60)})
    assert reported(rule.select(doubles(5.0), 0.0)) == [5.0]
    assert reported(rule.select(doubles(5.0), 50.0)) == []
    assert reported(rule.select(doubles(5.0), 60.0)) == [5.0]
    assert reported(rule.select(doubles(5.0), 110.0)) == []


def test_the_newest_value_within_the_minimum_interval_is_reported_when_it_ends() -> None:
    rule = ReportFilter(1, {0: ReportRule(interval_s_min=10)})
    assert reported(rule.select(doubles(1.0), 0.0)) == [1.0]
    assert reported(rule.select(doubles(2.0, 3.0), 1.0)) == []
    assert rule.released(5.0) == []
    (batch,) = rule.released(10.0)
    assert list(batch.rows()) == [(0, 1, 3.0, 0)]
    assert rule.released(20.0) == []
    assert reported(rule.select(doubles(3.0), 30.0)) == []


def test_a_value_that_moved_and_came_back_within_the_minimum_interval_is_not_reported() -> None:
    rule = ReportFilter(1, {0: ReportRule(interval_s_min=10)})
    rule.select(doubles(1.0), 0.0)
    assert reported(rule.select(doubles(2.0, 1.0), 1.0)) == []
    assert rule.released(20.0) == []


def test_a_poll_that_comes_a_little_early_is_not_lost_to_the_minimum_interval() -> None:
    rule = ReportFilter(1, {0: ReportRule(interval_s_min=1)})
    found = [reported(rule.select(doubles(float(n)), n + (0.003 if n % 2 else -0.003))) for n in range(10)]
    assert found == [[float(n)] for n in range(10)]


def test_a_change_of_quality_passes_whatever_the_rules_are() -> None:
    rule = ReportFilter(1, {0: ReportRule(deadband_absolute=100, interval_s_min=3600)})
    rule.select(doubles(1.0), 0.0)
    uncertain = batch_of_rows(DataType.DOUBLE, [(0, 1, 1.0, 0x4000)])
    missing = batch_of_rows(DataType.DOUBLE, [(0, 2, None, 0x8000)])
    assert len(rule.select(uncertain, 0.1)) == 1
    assert len(rule.select(uncertain, 0.2)) == 0
    assert len(rule.select(missing, 0.3)) == 1
    assert len(rule.select(missing, 0.4)) == 0
    assert len(rule.select(doubles(1.0), 0.5)) == 1


@pytest.mark.parametrize("datatype", [DataType.UINT64, DataType.INT64])
def test_large_integers_that_differ_by_one_are_different(datatype: DataType) -> None:
    rule = ReportFilter(2, {1: ReportRule(deadband_absolute=1)})
    big = 2**62
    for tag, expected in ((0, 3), (1, 2)):
        rows = [(tag, at, big + add, 0) for at, add in enumerate((0, 1, 2))]
        assert sum(len(rule.select(batch_of_rows(datatype, [row]), 0.0)) for row in rows) == expected


def test_a_move_of_exactly_the_deadband_is_not_reported_whatever_the_last_digits_are() -> None:
    for tenths in range(1000):
        rule = ReportFilter(1, {0: ReportRule(deadband_absolute=0.1)})
        steps = [tenths / 10, (tenths + 1) / 10, (tenths - 1) / 10, (tenths + 2) / 10]
        assert reported(rule.select(doubles(*steps), 0.0)) == [tenths / 10, (tenths + 2) / 10]


def test_a_signalling_not_a_number_raises_no_warning() -> None:
    rule = ReportFilter(1, {0: ReportRule(deadband_absolute=1)})
    value = np.array([0x7F800001], np.uint32).view(np.float32)
    batch = SampleBatch(DataType.FLOAT, np.zeros(1, np.int32), np.zeros(1, np.int64), value)
    assert len(rule.select(batch, 0.0)) == 1
    assert len(rule.select(batch, 1.0)) == 0


@settings(deadline=None)
@given(RULES, st.lists(steps(), max_size=8), st.integers(0, TAGS), st.integers(0, 8))
def test_tags_that_follow_later_are_reported_as_if_they_had_been_there(
    rules: dict[int, ReportRule], batches: list[Step], known: int, at: int
) -> None:
    whole, grown = ReportFilter(TAGS, rules), ReportFilter(known, {tag: rules[tag] for tag in rules if tag < known})
    now_s, every = 100.0, [rules.get(tag, ReportRule()) for tag in range(TAGS)]
    for number, (datatype, rows, wait_s) in enumerate(batches):
        now_s += wait_s
        if number == at:
            grown.extend(every[known:])
        usable = rows if number >= at else [row for row in rows if row[0] < known]
        batch = batch_of_rows(datatype, usable)
        found, expected = list(grown.select(batch, now_s).rows()), list(whole.select(batch, now_s).rows())
        assert len(found) == len(expected)
        assert all(same(left, right) for left, right in zip(found, expected, strict=True))
        left_held = [row for held in grown.released(now_s) for row in held.rows()]
        assert repr(left_held) == repr([row for held in whole.released(now_s) for row in held.rows()])
