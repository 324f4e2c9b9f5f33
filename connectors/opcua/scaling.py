"""Raw values to engineering units, for whole columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.scaling import ratio_of
from connectors.opcua.tag_settings import OpcUaTag


class Scaling:
    """Scale and offset of the tags of one device, by index."""

    def __init__(self, tags: Sequence[OpcUaTag], tags_max: int) -> None:
        """``tags`` come first among those with indices below ``tags_max``; the others are not scaled."""
        others = tags_max - len(tags)
        ratios = [ratio_of(tag.scale, tag.scaling_offset) for tag in tags] + [ratio_of(1.0, 0.0)] * others
        self._factor = np.array([ratio.factor for ratio in ratios], np.float64)
        self._addend = np.array([ratio.addend for ratio in ratios], np.float64)
        self._divisor = np.array([ratio.divisor for ratio in ratios], np.float64)
        self._is_scaled = np.array([tag.is_scaled for tag in tags] + [False] * others, np.bool_)
        self._scales_any = bool(self._is_scaled.any())

    def apply(self, batch: SampleBatch) -> list[SampleBatch]:
        """The samples of ``batch`` with scaled values: those that have become a Double apart from the others."""
        if not self._scales_any or batch.value.dtype.kind not in "iuf" or batch.datatype is DataType.DATETIME:
            return [batch]
        scaled = self._is_scaled[batch.tag]
        if not scaled.any():
            return [batch]
        if scaled.all():
            return [self._scale_all(batch)]
        return [batch.select(~scaled), self._scale_all(batch.select(scaled))]

    def _scale_all(self, batch: SampleBatch) -> SampleBatch:
        value = batch.value.astype(np.float64)
        value *= self._factor.take(batch.tag)
        value += self._addend.take(batch.tag)
        value /= self._divisor.take(batch.tag)
        return SampleBatch(DataType.DOUBLE, batch.tag, batch.time_ns, value, batch.quality, batch.null)
