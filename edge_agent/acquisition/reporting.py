"""Which samples of a device are reported, and on which lane: as its settings say, which may change while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from connectors.model.report_by_exception import ReportFilter, ReportRule, with_tags
from connectors.model.samples import SampleBatch
from connectors.ports.device import FoundTag
from edge_agent.buffer.rows import Lane


class Reporting:
    """The rules of one device, and what they remember of its tags. ``alarms`` are indices of tags."""

    def __init__(self, tag_count: int, rules: Mapping[int, ReportRule], alarms: Sequence[int]) -> None:
        reports_all = all(rule.reports_all for rule in rules.values())
        self._filter = None if reports_all else ReportFilter(tag_count, rules)
        self._rules = {} if reports_all else rules  # what reports all needs no entry for each of thousands of tags
        self.found: tuple[FoundTag, ...] = ()
        """The tags that were found on the device; their indices follow on the others."""
        self.held_s_max = max((rule.interval_s_min for rule in rules.values()), default=0.0)
        """For so long a value may wait here until it is reported."""
        self._is_alarm = np.zeros(tag_count, np.bool_)
        self._is_alarm[list(alarms)] = True
        self._has_alarms = bool(alarms)

    def extend(self, tags: Sequence[FoundTag]) -> None:
        """These were found, and follow on those that there are."""
        rules = [tag.rule for tag in tags]
        self._filter = with_tags(self._filter, len(self._is_alarm), rules)
        self.held_s_max = max([self.held_s_max, *(rule.interval_s_min for rule in rules)])
        self._is_alarm = np.concatenate([self._is_alarm, np.array([tag.is_alarm for tag in tags], np.bool_)])
        self._has_alarms = bool(self._is_alarm.any())
        self.found += tuple(tags)

    def with_rules(self, rules: Mapping[int, ReportRule], alarms: Sequence[int]) -> Reporting:
        """For the same tags, by other rules for those that were not found; it remembers nothing."""
        other = Reporting(len(self._is_alarm) - len(self.found), rules, alarms)
        other.extend(self.found)
        return other

    def of_the_past(self) -> ReportFilter | None:
        """A filter for samples of the past: by the same deadbands, and without intervals, which are of the present.

        ``None``: all of them are reported.
        """
        if self._filter is None:
            return None
        count = len(self._is_alarm) - len(self.found)
        others = self._rules or dict.fromkeys(range(count), ReportRule(always=True))
        found = dict(enumerate((tag.rule for tag in self.found), count))
        untimed = {index: rule.untimed for index, rule in {**others, **found}.items()}
        return ReportFilter(len(self._is_alarm), untimed)

    def select(self, batch: SampleBatch, now_s: float) -> SampleBatch:
        """The samples of ``batch`` that are to be reported, in its order; see ``ReportFilter``."""
        return batch if self._filter is None else self._filter.select(batch, now_s)

    def released(self, now_s: float) -> list[SampleBatch]:
        """The held values whose minimum interval has passed."""
        return [] if self._filter is None else self._filter.released(now_s)

    def forget(self, tags: Iterable[int] | None = None) -> list[SampleBatch]:
        """The held values of ``tags`` (``None``: of all), of each of which the next sample passes."""
        return [] if self._filter is None else self._filter.forget(tags)

    def by_lane(self, batch: SampleBatch, named: SampleBatch) -> list[tuple[Lane, SampleBatch]]:
        """Alarms and other samples of ``named`` apart, which is ``batch`` with aliases for indices."""
        if not self._has_alarms or not (alarms := self._is_alarm[batch.tag]).any():
            return [(Lane.SAMPLES, named)]
        if alarms.all():
            return [(Lane.ALARMS, named)]
        return [(Lane.ALARMS, named.select(alarms)), (Lane.SAMPLES, named.select(~alarms))]
