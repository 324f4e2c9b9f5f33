"""Tags that had a type and have it no more: which they are, and the last that is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.model.tags import DeviceDefinition, MetricDefinition, TagType
from connectors.ports.device import TagProblem

SOURCE_STEP_NS: Final = 100
"""Source times are told apart by this much (OPC UA Part 6, 5.2.2.5)."""


def parted(
    names: Sequence[str], before: DeviceDefinition | None, types: Sequence[TagType]
) -> dict[int, MetricDefinition]:
    """By their index in ``names``: the metrics of ``before`` that are not in ``types``, or with another type."""
    still = {(tag.name, tag.datatype) for tag in types}
    indices = {name: index for index, name in enumerate(names)}
    return {
        indices[metric.name]: metric
        for metric in (() if before is None else before.metrics)
        if metric.name in indices and (metric.name, metric.datatype) not in still
    }


def last_words(
    gone: Mapping[int, MetricDefinition], newest_ns: Sequence[int], problems: Sequence[TagProblem], now_ns: int
) -> list[SampleBatch]:
    """Samples without value of those that give none now; ``newest_ns``: of each of ``gone``, its newest sample."""
    qualities = {problem.tag: problem.quality for problem in problems if not problem.gives_values}
    rows: dict[DataType, list[tuple[int, int, None, int]]] = {}
    for (index, metric), before_ns in zip(gone.items(), newest_ns, strict=True):
        quality = qualities.get(metric.name)
        if quality is not None:
            time_ns = max(now_ns, before_ns + SOURCE_STEP_NS)
            rows.setdefault(metric.datatype, []).append((index, time_ns, None, quality))
    return [batch_of_rows(datatype, of_type) for datatype, of_type in rows.items()]
