"""Samples of the past that a device's history gives after an outage: which of them are news, and what stays missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from connectors.model.report_by_exception import ReportFilter
from connectors.model.samples import Int64Array, SampleBatch
from connectors.observability.events import emit
from connectors.ports.device import Missing, Unfilled
from edge_agent.acquisition.absences import Absences
from edge_agent.observability.device_events import HistoryRead

NOT_TAKEN_MAX: Final = 64
"""Batches that were cut off while they waited for room, kept for the next reading: one a connection and poll class."""

_LATEST_NS: Final = np.iinfo(np.int64).max
_MS_NS: Final = 1_000_000


class Restoring:
    """What history gives of the times in which a device was away; at most one reading at a time.

    A sample is news when it lies between what was known of its tag before and what has come of it since: both are
    complete in themselves. A history may keep times in milliseconds only, of which a sample can be finer.
    """

    def __init__(self, absences: Absences, derived: Sequence[int]) -> None:
        """``derived``: the indices of tags that are calculated, and have no history."""
        self._derived = tuple(derived)
        self._first_ns = 0
        self._absences = absences
        self._not_taken: deque[SampleBatch] = deque(maxlen=NOT_TAKEN_MAX)
        self.is_reading = False
        self._known_ns = self._live_ns = np.zeros(0, np.int64)
        self._filter: ReportFilter | None = None
        self._samples = 0

    def begin(self, taken_ns: Int64Array, reported: ReportFilter | None) -> Missing | None:
        """See ``Acquisition.missing``.

        ``taken_ns``, a new array: the times of the newest samples by tag. ``reported`` says which samples of the past
        are reported, ``None`` that all are.
        """
        span = self._absences.begin_fill()
        not_taken = list(self._not_taken)
        self._not_taken.clear()
        if span is None:
            return None
        self._first_ns, all_known_ns = span
        for batch in not_taken:
            np.minimum.at(taken_ns, batch.tag, batch.time_ns - 1)
        self._known_ns = np.maximum(taken_ns, all_known_ns)
        self._live_ns = np.full(len(taken_ns), _LATEST_NS, np.int64)
        self._filter = reported
        self._samples = 0
        self.is_reading = True
        return Missing(self._first_ns, self._known_ns.copy())

    def extend(self, tags: int) -> None:
        """So many tags follow on those that there are; nothing of them is known, and nothing missing."""
        if self.is_reading:
            more = np.full(tags, _LATEST_NS, np.int64)
            self._known_ns, self._live_ns = (
                np.concatenate([self._known_ns, more]),
                np.concatenate([self._live_ns, more]),
            )

    def saw(self, batch: SampleBatch) -> None:
        """These samples have come of the present."""
        np.minimum.at(self._live_ns, batch.tag, batch.time_ns)

    def not_taken(self, batch: SampleBatch) -> None:
        """These samples have come of the present, and were not stored, as the connection ended."""
        self._not_taken.append(batch)

    def news(self, batch: SampleBatch) -> SampleBatch:
        """Which of ``batch``, samples of the past, are neither here already nor to be passed over by the rules."""
        live_ns = self._live_ns[batch.tag]
        is_news = (batch.time_ns > self._known_ns[batch.tag]) & (batch.time_ns < live_ns)
        is_news &= batch.time_ns != live_ns // _MS_NS * _MS_NS
        found = batch.select(is_news)
        found = found if self._filter is None else self._filter.select(found, 0.0)
        self._samples += len(found)
        return found

    def end(self, unfilled: Sequence[Unfilled] | None, names: Sequence[str]) -> None:
        """See ``Acquisition.restored``; ``names`` of all tags."""
        self.is_reading = False
        if unfilled is None:
            self._absences.end_fill(None)
            return
        calculated = Unfilled(self._derived, self._first_ns, self._absences.back_ns, "calculated tags have no history")
        left = [part for part in (*unfilled, calculated) if part.tags and part.first_ns < part.last_ns]
        emit(HistoryRead(self._absences.device, self._samples, len({tag for part in left for tag in part.tags})))
        self._absences.end_fill([(_named(part.tags, names), part) for part in left])


def _named(tags: Sequence[int], names: Sequence[str]) -> tuple[str, ...] | None:
    return None if len(tags) == len(names) else tuple(names[index] for index in tags)
