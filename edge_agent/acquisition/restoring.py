"""Samples of the past that a device's history gives after an outage: which of them are news, and what stays missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.report_by_exception import ReportFilter
from connectors.model.samples import Int64Array, SampleBatch
from connectors.observability.events import emit
from connectors.ports.device import Missing, Unfilled
from connectors.sparkplug.birth import CurrentValue
from edge_agent.acquisition.absences import Absences, Outage
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.observability.device_events import HistoryCutOff, HistoryRead

NOT_TAKEN_MAX: Final = 64
"""Batches that were cut off while they waited for room, kept for the next reading: one a connection and poll class."""
READINGS_MAX: Final = 3
"""So often the history of an outage is read where the connection is lost on the way; then the rest is declared."""

_CALCULATED: Final = "calculated tags have no history"
_LATEST_NS: Final = np.iinfo(np.int64).max
_MS_NS: Final = 1_000_000


@dataclass(slots=True)
class _Window:
    """One outage. By tag: what is missing lies after ``known_ns`` and before ``live_ns``, which no tag has at first."""

    outage: Outage
    known_ns: Int64Array
    live_ns: Int64Array
    back_ns: int = 0
    readings: int = 0

    @property
    def is_away(self) -> NDArray[np.bool_]:
        """Which tags have not come since."""
        is_away: NDArray[np.bool_] = (self.live_ns == _LATEST_NS) & (self.known_ns != _LATEST_NS)
        return is_away

    def lacks(self, settled_ns: Int64Array) -> NDArray[np.bool_]:
        """Of which tags something may still be missing, when all up to ``settled_ns`` is settled."""
        lacks: NDArray[np.bool_] = (self.known_ns != _LATEST_NS) & (settled_ns < self.live_ns)
        return lacks

    def alike(self, tags: Int64Array, settled_ns: Int64Array, now_ns: int) -> Iterator[tuple[Int64Array, int, int]]:
        """``tags`` that are declared together, each group with the times from when to when.

        Those of which history has come are for themselves, and so are those that have not spoken since.
        """
        for is_back in (True, False):
            for has_come in (False, True):
                which = tags[((self.live_ns[tags] != _LATEST_NS) == is_back) & ((settled_ns[tags] > 0) == has_come)]
                if len(which):
                    last_ns = max(self.back_ns, int(self.live_ns[which].max())) if is_back else now_ns
                    yield which, max(self.outage.first_ns, int(settled_ns[which].min())), last_ns


class Restoring:
    """What history gives of the times in which a device was away; at most one reading at a time.

    A sample is news when it lies between what was known of its tag before and what has come of it since: both are
    complete in themselves. A history may keep times in milliseconds only, of which a sample can be finer.

    History is given in the order of its times for each tag. Up to ``_settled_ns`` it has come, or is known not to;
    where a reading is cut off the next one begins there, and looks at the outages of both.
    """

    def __init__(self, absences: Absences, derived: Sequence[int]) -> None:
        """``derived``: the indices of tags that are calculated, and have no history."""
        self._derived = np.array(derived, np.int64)
        self._absences = absences
        self._not_taken: deque[SampleBatch] = deque(maxlen=NOT_TAKEN_MAX)
        self.is_reading = False
        self._before = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._windows: list[_Window] = []
        self._settled_ns = np.zeros(0, np.int64)
        self._at_settled = np.zeros(0, np.int64)  # how many samples of exactly that time have come in this reading
        self._begun_ns = np.zeros(0, np.int64)  # where it has begun: what is older, and so many of that time, were here
        self._at_begun = np.zeros(0, np.int64)
        self._passed_over = np.zeros(0, np.int64)
        self._left: dict[tuple[int, int, str], list[int]] = {}
        self._tags_left: set[int] = set()
        self._given_again: tuple[SampleBatch, ...] = ()
        self._filter: ReportFilter | None = None
        self._samples = 0

    def begin(self, taken_ns: Int64Array, reported: ReportFilter | None) -> Missing | None:
        """See ``Acquisition.missing``.

        ``taken_ns``, a new array: the times of the newest samples by tag. ``reported`` says which samples of the past
        are reported, ``None`` that all are.
        """
        outage = self._absences.begin_fill()
        not_taken = list(self._not_taken)
        self._not_taken.clear()
        if outage is None:
            self._windows.clear()
            return None
        for batch in not_taken:
            np.minimum.at(taken_ns, batch.tag, batch.time_ns - 1)
        if not self._windows:
            self._settled_ns = np.zeros(len(taken_ns), np.int64)
            self._at_settled, self._begun_ns, self._at_begun, self._passed_over = (
                self._settled_ns.copy() for _ in range(4)
            )
            self._tags_left.clear()
        known_ns = np.maximum(taken_ns, outage.known_ns)
        self._settle_no_more_than(known_ns)
        for before in self._windows:
            known_ns[before.is_away] = _LATEST_NS  # of these the outage before goes on
        self._windows.append(_Window(outage, known_ns, np.full(len(taken_ns), _LATEST_NS, np.int64)))
        self._left.clear()
        self._samples = 0
        self.again(range(len(taken_ns)))
        self._before = (self._begun_ns.copy(), self._at_begun.copy())
        self._filter = reported
        self.is_reading = True
        return Missing(self._windows[0].outage.first_ns, self._newest_ns())

    def _settle_no_more_than(self, known_ns: Int64Array) -> None:
        """Where the present was there again, what history had beyond it was left to it: and it came to ``known_ns``."""
        beyond = self._settled_ns > known_ns
        for window in self._windows:
            beyond &= ~window.is_away
        self._settled_ns[beyond], self._at_settled[beyond] = known_ns[beyond], 0

    def _newest_ns(self) -> Int64Array:
        newest_ns = np.full(len(self._settled_ns), _LATEST_NS, np.int64)
        for window in self._windows:
            lacks = window.lacks(self._settled_ns) & (window.known_ns < window.live_ns)
            since_ns = np.maximum(window.known_ns, self._settled_ns - 1)
            newest_ns[lacks] = np.minimum(newest_ns, since_ns)[lacks]
        return newest_ns

    def extend(self, tags: int) -> None:
        """So many tags follow on those that there are; nothing of them is known, and nothing missing."""
        latest, zero = np.full(tags, _LATEST_NS, np.int64), np.zeros(tags, np.int64)
        for window in self._windows:
            window.known_ns = np.concatenate([window.known_ns, latest])
            window.live_ns = np.concatenate([window.live_ns, latest])
        self._settled_ns, self._at_settled, self._begun_ns, self._at_begun, self._passed_over = (
            np.concatenate([each, zero])
            for each in (self._settled_ns, self._at_settled, self._begun_ns, self._at_begun, self._passed_over)
        )
        self._before = (np.concatenate([self._before[0], zero]), np.concatenate([self._before[1], zero]))

    def saw(self, batch: SampleBatch) -> None:
        """These samples have come of the present."""
        for window in self._windows[:-1]:
            is_first = window.is_away[batch.tag]
            np.minimum.at(window.live_ns, batch.tag[is_first], batch.time_ns[is_first])
        np.minimum.at(self._windows[-1].live_ns, batch.tag, batch.time_ns)

    def not_taken(self, batch: SampleBatch) -> None:
        """These samples have come of the present, and were not stored, as the connection ended."""
        self._not_taken.append(batch)

    def again(self, tags: Sequence[int]) -> None:
        """See ``Acquisition.again``."""
        which = np.array(tags, np.int64)
        is_still_there = self._settled_ns[which] == self._begun_ns[which]
        came = self._at_settled[which]
        self._at_begun[which] = np.where(is_still_there, np.maximum(came, self._at_begun[which]), came)
        self._begun_ns[which] = self._settled_ns[which]
        self._at_settled[which] = self._passed_over[which] = 0

    def begin_continuing(self) -> None:
        """The device goes on as it was: what was not stored as its connection ended is given again."""
        self._given_again = tuple(self._not_taken)
        self._not_taken.clear()

    def end_continuing(self) -> None:
        """It has been."""
        self._given_again = ()

    def without_repeats(self, batch: SampleBatch, current: CurrentValues) -> SampleBatch:
        """``batch`` without what is the ``current`` sample of its tag already: a device may say again what it has.

        What was ``not_taken`` before is no repetition, though it is known as the current one.
        """
        is_same = batch.time_ns == current.times_ns(batch.tag)
        for before in self._given_again:
            first_ns = np.full(int(max(before.tag.max(), batch.tag.max(initial=0))) + 1, _LATEST_NS, np.int64)
            np.minimum.at(first_ns, before.tag, before.time_ns)
            is_same &= batch.time_ns < first_ns[batch.tag]
        if not is_same.any():
            return batch
        is_news = np.ones(len(batch), np.bool_)
        rows = batch.select(is_same).rows()
        is_news[is_same] = [not _is_repeated(current.of(tag), value, quality) for tag, _time, value, quality in rows]
        return batch.select(is_news)

    def news(self, batch: SampleBatch) -> SampleBatch:
        """Which of ``batch``, samples of the past, are neither here already nor to be passed over by the rules."""
        tag, time_ns = batch.tag, batch.time_ns
        is_news = np.zeros(len(batch), bool)
        for window in self._windows:
            live_ns = window.live_ns[tag]
            is_between = (time_ns > window.known_ns[tag]) & (time_ns < live_ns)
            is_news |= is_between & (time_ns != live_ns // _MS_NS * _MS_NS)
        is_news &= time_ns >= self._begun_ns[tag]
        for at in np.flatnonzero((time_ns == self._begun_ns[tag]) & (self._at_begun[tag] > 0)).tolist():
            if self._passed_over[tag[at]] < self._at_begun[tag[at]]:
                self._passed_over[tag[at]] += 1
                is_news[at] = False
        found = batch.select(is_news)
        found = found if self._filter is None else self._filter.select(found, 0.0)
        self._samples += len(found)
        return found

    def came(self, batch: SampleBatch) -> None:
        """These samples of the past have come, and are stored as far as they were news."""
        for tag in np.unique(batch.tag).tolist():
            times_ns = batch.time_ns[batch.tag == tag]
            last_ns = int(times_ns.max())
            if last_ns >= self._settled_ns[tag]:
                before = self._at_settled[tag] if last_ns == self._settled_ns[tag] else 0
                self._at_settled[tag] = before + int(np.count_nonzero(times_ns == last_ns))
                self._settled_ns[tag] = last_ns

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        """See ``Acquisition.filled``."""
        which = np.array(tags, np.int64)
        which = which[self._settled_ns[which] < until_ns]
        self._settled_ns[which], self._at_settled[which] = until_ns, 0

    def unfilled(self, part: Unfilled) -> None:
        """See ``Acquisition.unfilled``."""
        for rest in self._rests(part):
            self._left.setdefault((rest.first_ns, rest.last_ns, rest.reason), []).extend(rest.tags)
        self.filled(part.tags, part.last_ns)

    def _rests(self, part: Unfilled) -> Iterator[Unfilled]:
        """What of ``part`` is in one of the outages, and not settled since a reading before."""
        for number, window in enumerate(self._windows):
            is_last = number == len(self._windows) - 1
            tags = np.array(part.tags, np.int64)
            tags = tags[window.lacks(self._begun_ns)[tags]]
            for which, first_ns, last_ns in window.alike(tags, self._begun_ns, part.last_ns):
                first_ns, last_ns = (
                    max(part.first_ns, first_ns),
                    part.last_ns if is_last else min(part.last_ns, last_ns),
                )
                if first_ns < last_ns:
                    yield Unfilled(tuple(which.tolist()), first_ns, last_ns, part.reason)

    def cut_off(self, names: Sequence[str], now_ns: int) -> None:
        """The connection is lost: what was not read waits for the next one.

        What is known to be missing is declared, and what was to be read too often already.
        """
        if not self.is_reading:
            return
        self.is_reading = False
        last = self._windows[-1]
        last.back_ns = self._absences.back_ns
        if not last.back_ns:  # nothing has come, of the present or the past
            self._windows.pop()
            self._settled_ns, self._begun_ns = self._before[0], self._before[0].copy()
            self._at_begun, self._at_settled = self._before[1], np.zeros_like(self._before[1])
            return
        for window in self._windows:
            window.readings += 1
        given_up = [window for window in self._windows if window.readings >= READINGS_MAX]
        parts = [*self._told(), *(part for window in given_up for part in self._rest_of(window, now_ns))]
        self._windows = [window for window in self._windows if window.readings < READINGS_MAX]
        emit(HistoryCutOff(self._absences.device, self._samples, len(self._windows)))
        self._absences.declare(_named(parts, names))

    def _rest_of(self, window: _Window, now_ns: int) -> Iterator[tuple[str, Unfilled]]:
        """What is declared of an outage that is read no more: from where the history of its tags had come to."""
        said = f"the connection was lost {READINGS_MAX} times while the history was read"
        lacks = np.setdiff1d(np.flatnonzero(window.lacks(self._settled_ns)), self._derived)
        for which, first_ns, last_ns in window.alike(lacks, self._settled_ns, now_ns):
            yield window.outage.reason, Unfilled(tuple(which.tolist()), first_ns, last_ns, said)
        yield from self._calculated([window])

    def end(self, names: Sequence[str], *, has_history: bool) -> None:
        """See ``Acquisition.restored``; ``names`` of all tags."""
        self.is_reading = False
        if not has_history:
            self._windows.clear()
            self._absences.end_fill(None)
            return
        self._windows[-1].back_ns = self._absences.back_ns
        parts = [*self._told(), *self._calculated(self._windows)]
        self._windows.clear()
        self._tags_left |= {tag for _, part in parts for tag in part.tags}
        emit(HistoryRead(self._absences.device, self._samples, len(self._tags_left)))
        self._absences.end_fill(_named(parts, names))

    def _told(self) -> list[tuple[str, Unfilled]]:
        """What the device could not give in this reading, each with the reason of its outage."""
        parts = [Unfilled(tuple(tags), *span_and_reason) for span_and_reason, tags in self._left.items()]
        self._tags_left |= {tag for part in parts for tag in part.tags}
        self._left.clear()
        return [(self._reason_at(part.first_ns), part) for part in parts]

    def _reason_at(self, first_ns: int) -> str:
        begun = [window for window in self._windows if window.outage.first_ns <= first_ns]
        return (begun[-1] if begun else self._windows[0]).outage.reason

    def _calculated(self, windows: Iterable[_Window]) -> Iterator[tuple[str, Unfilled]]:
        for window in windows:
            span = (window.outage.first_ns, window.back_ns)
            if len(self._derived) and span[0] < span[1]:
                yield window.outage.reason, Unfilled(tuple(self._derived.tolist()), *span, _CALCULATED)


def _is_repeated(known: CurrentValue | None, value: object, quality: int) -> bool:
    if known is None or known.quality != quality:
        return False
    return known.value == value or (known.value != known.value and value != value)


def _named(
    parts: Iterable[tuple[str, Unfilled]], names: Sequence[str]
) -> list[tuple[str, tuple[str, ...] | None, Unfilled]]:
    """Each part with the names of its tags, ``None``: all of them."""
    found = []
    for reason, part in parts:
        every = None if len(part.tags) == len(names) else tuple(names[index] for index in part.tags)
        found.append((reason, every, part))
    return found
