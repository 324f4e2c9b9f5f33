"""Report by exception: which samples say something new, decided for whole columns at once.

For each tag, one after the other in the order of the batch, a sample passes when

* its quality, or whether it has a value at all, differs from the last sample that passed;
* or its value moved by more than the deadband from the value that passed last (without a deadband: when it differs;
  not a number equals not a number), and the tag's minimum interval has passed since;
* or the maximum interval has passed since; or the tag is always reported.

A value that moved too early is held, the newest one only: it passes with a later sample that is still different, or
is handed out by ``released``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.samples import BoolArray, Int64Array, Rows, SampleBatch, have_same_tags, rows_of

INTERVAL_SLACK: Final = 0.05
"""An interval counts as passed this part of it earlier, so that a poll that is a little early is not a poll lost."""

DEADBAND_SLACK: Final = 1e-9
"""A deadband of fractions is this part wider: 2.9 - 2.8 is a little more than 0.1, and has not moved by more."""

_NEVER: Final = -1
_NULL_STATUS: Final = 1 << 16
_FLOAT_MAX: Final = float(np.finfo(np.float64).max)
_UINT64_FLOAT_MAX: Final = 2.0**64 - 2048

IndexArray = NDArray[np.intp]
StatusArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ReportRule:
    """When samples of one tag are reported; the larger one of two deadbands counts, percent is of the last value."""

    always: bool = False
    deadband_absolute: float = 0.0
    deadband_percent: float = 0.0
    interval_s_min: float = 0.0
    interval_s_max: float | None = None

    @property
    def reports_all(self) -> bool:
        """Whether every sample is reported, and nothing has to be remembered for it."""
        return self.always and self.interval_s_max is None

    @property
    def untimed(self) -> ReportRule:
        """The rule without its intervals."""
        return replace(self, interval_s_min=0.0, interval_s_max=None)


def with_tags(found: ReportFilter | None, tag_count: int, rules: Sequence[ReportRule]) -> ReportFilter | None:
    """``found``, the filter of ``tag_count`` tags (``None``: all report all), when those with ``rules`` follow."""
    if found is not None:
        found.extend(rules)
    elif not all(rule.reports_all for rule in rules):
        before = dict.fromkeys(range(tag_count), ReportRule(always=True))
        return ReportFilter(tag_count + len(rules), before | dict(enumerate(rules, tag_count)))
    return found


class ReportFilter:
    """The memory of what was reported of each tag of one device.

    ``now_s`` is a monotonic time in seconds. What passes counts as reported, so the caller keeps it until it is safe,
    or lets the filter ``forget``. A tag whose data type changes starts afresh by itself.
    """

    def __init__(self, tag_count: int, rules: Mapping[int, ReportRule]) -> None:
        """``rules`` by tag index; a tag without one is reported when it changes."""
        self._set_columns([rules.get(index, _ON_CHANGE) for index in range(tag_count)])
        self._row: IndexArray = np.zeros(tag_count, np.intp)
        self._reported: dict[DataType, _Reported] = {}

    def extend(self, rules: Sequence[ReportRule]) -> None:
        """Tags with these rules follow on those that there are."""
        more = ReportFilter(len(rules), dict(enumerate(rules)))
        for column in (*_RULE_COLUMNS, "_row"):
            setattr(self, column, np.concatenate([getattr(self, column), getattr(more, column)]))
        self._note_uses()
        for reported in self._reported.values():
            reported.extend(len(rules))

    def _set_columns(self, every: Sequence[ReportRule]) -> None:
        self._always = np.array([rule.always for rule in every], np.bool_)
        self._absolute = np.array([rule.deadband_absolute for rule in every], np.float64)
        wider = 1 + DEADBAND_SLACK
        self._absolute_real = np.array([rule.deadband_absolute * wider for rule in every], np.float64)
        self._fraction = np.array([rule.deadband_percent / 100 for rule in every], np.float64)
        kept = 1 - INTERVAL_SLACK
        self._min_s = np.array([rule.interval_s_min * kept for rule in every], np.float64)
        longest = float("inf")
        self._max_s = np.array(
            [longest if rule.interval_s_max is None else rule.interval_s_max * kept for rule in every], np.float64
        )
        self._changes_only: BoolArray = (self._absolute == 0) & (self._fraction == 0) & (self._min_s == 0)
        self._note_uses()

    def _note_uses(self) -> None:
        self._has_always = bool(self._always.any())
        self._has_percent = bool(self._fraction.any())
        self._has_deadband = self._has_percent or bool(self._absolute.any())
        self._has_min = bool(self._min_s.any())
        self._has_max = bool(np.isfinite(self._max_s).any())
        self._any_move_counts = not self._has_min and not self._has_deadband

    def select(self, batch: SampleBatch, now_s: float) -> SampleBatch:
        """The samples of ``batch`` that are to be reported, in its order; ``batch`` itself when all of them are."""
        if not len(batch):
            return batch
        reported = self._reported.get(batch.datatype)
        if reported is None:
            reported = self._reported[batch.datatype] = _Reported(batch.datatype, len(self._row))
        if self._any_move_counts and reported.all_move_on(batch, now_s):
            return batch
        reported.settle()
        samples = _Samples(batch)
        if is_unique := isinstance(samples.rows, slice) or self._are_unique(samples.tag):
            passes = self._passes(samples, reported, now_s)
        elif _all(self._changes_only[samples.tag]):
            passes = self._passes_by_change(samples, reported, now_s)
        else:
            passes = self._passes_in_rounds(samples, reported, now_s)
        if not _all(passes):
            return batch.select(passes)
        reported.last = batch if is_unique and self._any_move_counts else None
        return batch

    def released(self, now_s: float) -> list[SampleBatch]:
        """The held values whose minimum interval has passed; they count as reported now."""
        batches: list[SampleBatch] = []
        if not self._has_min:
            return batches
        for datatype, reported in self._reported.items():
            tag = np.flatnonzero(reported.held & (now_s - reported.at_s >= self._min_s))
            if len(tag):
                reported.at_s[tag] = now_s
                batches.append(reported.release(datatype, tag))
        return batches

    def forget(self, tags: Iterable[int] | None = None) -> list[SampleBatch]:
        """Forget what was reported of ``tags`` (``None``: of all), so that the next sample of each passes.

        What comes back are the values that were held of them, which ``released`` will not hand out any more.
        """
        chosen = np.ones(len(self._row), np.bool_)
        if tags is not None:
            chosen[:] = False
            chosen[list(tags)] = True
        batches: list[SampleBatch] = []
        for datatype, reported in self._reported.items():
            reported.settle()
            held = np.flatnonzero(reported.held & chosen)
            if len(held):
                batches.append(reported.release(datatype, held))
            reported.status[chosen] = _NEVER
        return batches

    def _are_unique(self, tag: IndexArray) -> bool:
        rows = np.arange(len(tag))
        self._row[tag] = rows
        return _all(self._row[tag] == rows)

    def _passes(self, samples: _Samples, reported: _Reported, now_s: float) -> BoolArray:
        """Which samples pass, where no tag occurs twice; remembers them as reported."""
        rows = samples.rows
        passes = ~self._unchanged(rows, samples.value, reported.value[rows])
        if samples.null is not None:
            passes &= ~samples.null
        other_status = reported.status[rows] != samples.status
        if self._has_min or self._has_max:
            elapsed_s = now_s - reported.at_s[rows]
        if self._has_min:
            early = passes & (elapsed_s < self._min_s[rows])
            passes &= ~early
        passes |= other_status
        if self._has_max:
            passes |= elapsed_s >= self._max_s[rows]
        if self._has_always:
            passes |= self._always[rows]
        if self._has_min:
            reported.hold(samples, early & ~passes)
        reported.remember(samples, passes, now_s)
        return passes

    def _passes_by_change(self, samples: _Samples, reported: _Reported, now_s: float) -> BoolArray:
        """Which samples pass, where tags occur several times and none has a deadband or a minimum interval.

        Then a sample passes when it differs from the sample before it, whether that one passed or not.
        """
        order, first = _by_tag(samples.tag)
        ordered = samples.take(order)
        before = ordered.shifted(reported, first)
        unchanged = _equal(ordered.value, before.value)
        if ordered.null is not None:
            unchanged |= ordered.null
        passes = ~unchanged | (ordered.statuses() != before.statuses())
        if self._has_max:
            elapsed_s = now_s - reported.at_s[ordered.tag]
            passes |= first & (elapsed_s >= self._max_s[ordered.tag])
        if self._has_always:
            passes |= self._always[ordered.tag]
        reported.remember(ordered, passes, now_s)
        result: BoolArray = np.empty_like(passes)
        result[order] = passes
        return result

    def _passes_in_rounds(self, samples: _Samples, reported: _Reported, now_s: float) -> BoolArray:
        """Which samples pass, where tags occur several times: the first sample of each tag, the second, and so on."""
        order, first = _by_tag(samples.tag)
        starts = np.flatnonzero(first)
        lengths = np.diff(np.append(starts, len(order)))
        position = np.arange(len(order)) - np.repeat(starts, lengths)
        by_round = order[np.argsort(position, kind="stable")]
        ends = np.cumsum(np.bincount(position))
        passes = np.zeros(len(order), np.bool_)
        for rows in np.split(by_round, ends[:-1]):
            passes[rows] = self._passes(samples.take(rows), reported, now_s)
        return passes

    def _unchanged(self, rows: Rows, value: NDArray[Any], last: NDArray[Any]) -> BoolArray:
        if not self._has_deadband or value.dtype.kind not in "fiu":
            return _equal(value, last)
        # Registers and nodes may hold anything: an infinity or a signalling not-a-number is no mistake of ours.
        with np.errstate(invalid="ignore", over="ignore"):
            is_real = value.dtype.kind == "f"
            threshold = (self._absolute_real if is_real else self._absolute)[rows]
            if self._has_percent:
                # fmax and fmin pass over the not-a-number that 0 % of infinity is.
                of_last = self._fraction[rows] * np.abs(last.astype(np.float64))
                threshold = np.fmin(np.fmax(threshold, of_last), _FLOAT_MAX)
            if is_real:
                within: BoolArray = np.abs(value.astype(np.float64) - last) <= threshold
            else:
                within = _distance(value, last) <= np.minimum(threshold, _UINT64_FLOAT_MAX).astype(np.uint64)
            within |= _equal(value, last)
        return within


_ON_CHANGE: Final = ReportRule()
_RULE_COLUMNS: Final = ("_always", "_absolute", "_absolute_real", "_fraction", "_min_s", "_max_s", "_changes_only")


class _Samples:
    """The columns of a batch as the filter compares them: quality and null in one number."""

    __slots__ = ("null", "rows", "status", "tag", "time_ns", "value")

    def __init__(self, batch: SampleBatch) -> None:
        self.tag: IndexArray = batch.tag.astype(np.intp)
        self.rows = rows_of(self.tag)
        self.time_ns = batch.time_ns
        self.value = batch.value
        self.null = batch.null
        self.status: StatusArray | int = 0
        if batch.quality is not None or batch.null is not None:
            self.status = batch.qualities().astype(np.int32) + batch.nulls() * np.int32(_NULL_STATUS)

    def take(self, rows: IndexArray) -> _Samples:
        """These samples in this order."""
        taken = _Samples.__new__(_Samples)
        taken.tag = taken.rows = self.tag[rows]
        taken.time_ns = self.time_ns[rows]
        taken.value = self.value[rows]
        taken.null = None if self.null is None else self.null[rows]
        taken.status = self.status if isinstance(self.status, int) else self.status[rows]
        return taken

    def shifted(self, reported: _Reported, first: BoolArray) -> _Samples:
        """The samples before these, which are sorted by tag; before the ``first`` ones what was reported last."""
        before = self.take(np.maximum(np.arange(len(self.tag)) - 1, 0))
        tags = self.tag[first]
        before.value[first] = reported.value[tags]
        before.status = before.statuses().copy()
        before.status[first] = reported.status[tags]
        return before

    def statuses(self) -> StatusArray:
        """The status column, filled where it was left out."""
        return np.full(len(self.tag), self.status, np.int32) if isinstance(self.status, int) else self.status


class _Reported:
    """What was reported last of each tag, for one data type.

    ``last``: a batch all of which was reported last, no tag twice; since ``last_s`` the columns do not know of it.
    """

    __slots__ = ("at_s", "held", "held_time_ns", "held_value", "last", "last_s", "status", "value")

    def __init__(self, datatype: DataType, tag_count: int) -> None:
        self.value = np.zeros(tag_count, dtype_of(datatype))
        self.status: StatusArray = np.full(tag_count, _NEVER, np.int32)
        self.at_s: NDArray[np.float64] = np.zeros(tag_count, np.float64)
        self.held: BoolArray = np.zeros(tag_count, np.bool_)
        self.held_value = self.value.copy()
        self.held_time_ns: Int64Array = np.zeros(tag_count, np.int64)
        self.last: SampleBatch | None = None
        self.last_s: float | None = None

    def all_move_on(self, batch: SampleBatch, now_s: float) -> bool:
        """Whether ``batch`` has the tags of ``last``, and another value of each: then it is reported, and comes next.

        So it is with most polls of what moves, and then no column needs to be gone through tag by tag.
        """
        last = self.last
        if last is None or batch.null is not None or not have_same_tags(last, batch):
            return False
        if np.count_nonzero(_equal(batch.value, last.value)):
            return False
        self.last, self.last_s = batch, now_s
        return True

    def settle(self) -> None:
        """Let the columns know of ``last``, which is forgotten."""
        last, self.last = self.last, None
        last_s, self.last_s = self.last_s, None
        if last is not None and last_s is not None:
            samples = _Samples(last)
            self.remember(samples, np.ones(len(last), np.bool_), last_s)

    def extend(self, tag_count: int) -> None:
        """So many tags follow on those that there are; nothing was reported of them."""
        zeros = np.zeros(tag_count, self.value.dtype)
        self.value = np.concatenate([self.value, zeros])
        self.held_value = np.concatenate([self.held_value, zeros])
        self.status = np.concatenate([self.status, np.full(tag_count, _NEVER, np.int32)])
        self.at_s = np.concatenate([self.at_s, np.zeros(tag_count)])
        self.held = np.concatenate([self.held, np.zeros(tag_count, np.bool_)])
        self.held_time_ns = np.concatenate([self.held_time_ns, np.zeros(tag_count, np.int64)])

    def remember(self, samples: _Samples, passes: BoolArray, now_s: float) -> None:
        """The samples that pass are reported now; of several of one tag the last one stays."""
        rows, value, status = samples.rows, samples.value, samples.status
        if not _all(passes):
            rows, value = samples.tag[passes], value[passes]
            status = status if isinstance(status, int) else status[passes]
        self.value[rows] = value
        self.status[rows] = status
        self.at_s[rows] = now_s

    def release(self, datatype: DataType, tag: IndexArray) -> SampleBatch:
        """The held values of ``tag``, which count as reported now."""
        self.held[tag] = False
        self.value[tag] = value = self.held_value[tag]
        quality = self.status[tag].astype(np.uint16)
        index = tag.astype(np.int32)
        return SampleBatch(datatype, index, self.held_time_ns[tag], value, quality if quality.any() else None)

    def hold(self, samples: _Samples, held: BoolArray) -> None:
        """Of the tags of ``samples``, each of which occurs once, those where ``held`` is true hold their value now."""
        self.held[samples.tag] = held
        if held.any():
            tag = samples.tag[held]
            self.held_value[tag] = samples.value[held]
            self.held_time_ns[tag] = samples.time_ns[held]


def _by_tag(tag: IndexArray) -> tuple[IndexArray, BoolArray]:
    """The order that sorts by tag and keeps the order within each, and which of the sorted rows begin a tag."""
    order = np.argsort(tag, kind="stable")
    ordered = tag.take(order)
    first = np.ones(len(tag), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return order, first


def _all(condition: BoolArray) -> bool:
    return int(np.count_nonzero(condition)) == len(condition)


def _equal(value: NDArray[Any], last: NDArray[Any]) -> BoolArray:
    equal: BoolArray = value == last
    if value.dtype.kind == "f" and np.count_nonzero(is_nan := value != value):
        equal |= is_nan & (last != last)
    return equal


def _distance(value: NDArray[Any], last: NDArray[Any]) -> NDArray[np.uint64]:
    """How far two integers are apart, exactly."""
    # Wrapped differences of the 64-bit patterns are the true distances, as these fit 64 bits without a sign.
    wide, wide_last = (column.astype(np.int64 if value.dtype.kind == "i" else np.uint64) for column in (value, last))
    bits, bits_last = wide.view(np.uint64), wide_last.view(np.uint64)
    distance: NDArray[np.uint64] = np.where(wide >= wide_last, bits - bits_last, bits_last - bits)
    return distance
