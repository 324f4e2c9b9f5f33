"""The newest sample of each tag of a device: for births, for the CLI, for nothing that is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import GOOD, UNCERTAIN
from connectors.model.samples import SampleBatch, have_same_tags, rows_of
from connectors.model.tags import TagType
from connectors.sparkplug.birth import CurrentValue


class CurrentValues:
    """Newest value, source time and quality by tag index; takes whole batches, so that it costs nothing a sample.

    The last batch of each data type is kept as it is: where the next one has the same tags, as nearly all have, it only
    takes its place. Samples are looked at tag by tag when somebody asks.
    """

    def __init__(self, tag_count: int) -> None:
        self.types: list[TagType | None] = [None] * tag_count
        self._values: dict[DataType, NDArray[Any]] = {}
        self._time_ns = np.zeros(tag_count, np.int64)
        self._quality = np.zeros(tag_count, np.uint16)
        self._null = np.ones(tag_count, np.bool_)
        self._has_value = np.zeros(tag_count, np.bool_)
        self._sample_count = np.zeros(tag_count, np.int64)
        self._counted = np.zeros(tag_count, np.int64)
        self._newest: dict[DataType, tuple[SampleBatch, int]] = {}
        """Batches that were not looked at, each with how many in a row had its tags."""

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """Which tags have had a sample of the type that they have now."""
        self._settle()
        return self._has_value

    @property
    def sample_count(self) -> NDArray[np.int64]:
        """How many batches had a sample of each tag."""
        self._settle()
        return self._sample_count

    def extend(self, tag_count: int) -> None:
        """So many tags follow on those that there are; nothing is known of them."""
        self.types += [None] * tag_count
        for datatype, values in self._values.items():
            self._values[datatype] = np.concatenate([values, np.zeros(tag_count, values.dtype)])
        self._time_ns = np.concatenate([self._time_ns, np.zeros(tag_count, np.int64)])
        self._quality = np.concatenate([self._quality, np.zeros(tag_count, np.uint16)])
        self._null = np.concatenate([self._null, np.ones(tag_count, np.bool_)])
        self._has_value = np.concatenate([self._has_value, np.zeros(tag_count, np.bool_)])
        self._sample_count = np.concatenate([self._sample_count, np.zeros(tag_count, np.int64)])
        self._counted = np.concatenate([self._counted, np.zeros(tag_count, np.int64)])

    def bind(self, types: Sequence[TagType]) -> None:
        """The types of the tags that are known now."""
        self._settle()
        for tag in types:
            known = self.types[tag.index]
            if known is not None and known.datatype is not tag.datatype:
                self._has_value[tag.index] = False
            self.types[tag.index] = tag
            if tag.datatype not in self._values:
                self._values[tag.datatype] = np.zeros(len(self.types), dtype_of(tag.datatype))

    def update(self, batch: SampleBatch) -> None:
        """Take over ``batch`` (``tag`` holds indices); of several samples of a tag, the last one counts."""
        if batch.datatype not in self._values or not len(batch):
            return
        before, count = self._newest.get(batch.datatype, (None, 0))
        if before is not None and not have_same_tags(before, batch):
            self._look_at(before, count)
            count = 0
        self._newest[batch.datatype] = batch, count + 1

    def _settle(self) -> None:
        for batch, count in self._newest.values():
            self._look_at(batch, count)
        self._newest.clear()

    def _look_at(self, batch: SampleBatch, count: int) -> None:
        rows = rows_of(batch.tag)
        self._values[batch.datatype][rows] = batch.value
        self._time_ns[rows] = batch.time_ns
        self._quality[rows] = 0 if batch.quality is None else batch.quality
        self._null[rows] = False if batch.null is None else batch.null
        self._has_value[rows] = True
        self._sample_count[rows] += count

    def has_good(self) -> bool:
        """Whether any tag has a good value."""
        has_value = self.has_value
        is_good = self._quality < UNCERTAIN  # by the severity bits
        return bool((has_value & ~self._null & is_good).any())

    def changed(self) -> list[SampleBatch]:
        """The newest samples of the tags that have got one since the last call, a batch a data type."""
        fresh = self.has_value & (self.sample_count != self._counted)
        self._counted[:] = self.sample_count
        found: list[SampleBatch] = []
        for datatype, values in self._values.items():
            of_type = [index for index in np.flatnonzero(fresh).tolist() if self._datatype(index) is datatype]
            if of_type:
                tag = np.array(of_type, np.int32)
                batch = SampleBatch(datatype, tag, self._time_ns[tag], values[tag], self._quality[tag], self._null[tag])
                found.append(batch)
        return found

    def _datatype(self, index: int) -> DataType | None:
        tag = self.types[index]
        return None if tag is None else tag.datatype

    def times_ns(self, tags: NDArray[np.int32]) -> NDArray[np.int64]:
        """The source times of the newest samples of ``tags``; 0 where there is none."""
        times: NDArray[np.int64] = np.where(self.has_value[tags], self._time_ns[tags], 0)
        return times

    def not_good(self) -> NDArray[np.bool_]:
        """Which tags have a newest sample that is anything else than plain good; a new array."""
        bad: NDArray[np.bool_] = self.has_value & (self._quality != GOOD)
        return bad

    def of(self, index: int, *, stale: bool = False) -> CurrentValue | None:
        """The newest sample of a tag, or ``None`` when there is none."""
        tag = self.types[index]
        if tag is None or not self.has_value[index]:
            return None
        value = None if self._null[index] else self._values[tag.datatype][index]
        if isinstance(value, np.generic):
            value = value.item()
        return CurrentValue(value, int(self._time_ns[index]), int(self._quality[index]), stale)
