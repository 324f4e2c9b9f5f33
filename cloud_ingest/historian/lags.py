"""How far the partitions of this process are behind, in records and in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloud_ingest.historian.projector import Projector
from cloud_ingest.observability.events import HistorianBehind, HistorianCaughtUp, LagMeasured
from cloud_ingest.observability.metrics import LAG, LAG_SECONDS
from connectors.observability.events import emit
from connectors.ports.clock import Clock

BEHIND_S_SLOW: Final = 60.0
"""A partition that is further behind is said to be slow."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Of one partition; the oldest record that is not stored was taken ``behind_s`` ago, or later."""

    records: int
    behind_s: float


class Lags:
    """What was measured last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._even_ms: dict[int, int] = {}
        self._told_s = 0.0
        self.by_partition: dict[int, Lag] = {}

    def measured(self, ends: Mapping[int, int], projectors: Iterable[Projector]) -> None:
        """Where the log ends, and where each partition of this process is.

        What is not stored was taken after the last record that is, and after the partition was last seen to be even.
        """
        now_ms = self._clock.now_ns() // 1_000_000
        for one in list(projectors):
            records = max(0, ends.get(one.partition, 0) - one.next_offset)
            if not records:
                self._even_ms[one.partition] = now_ms
            since_ms = max(one.last_ms or 0, self._even_ms.get(one.partition, 0)) or now_ms
            lag = self.by_partition[one.partition] = Lag(records, max(0, now_ms - since_ms) / 1000 if records else 0.0)
            emit(LagMeasured(one.partition, lag.records, lag.behind_s))
        self._tell()

    def left(self, partition: int) -> None:
        """The partition is not this process's any more."""
        self._even_ms.pop(partition, None)
        if self.by_partition.pop(partition, None) is not None:
            for gauge in (LAG, LAG_SECONDS):
                with contextlib.suppress(KeyError):
                    gauge.remove(str(partition))
        self._tell()

    def _tell(self) -> None:
        worst = max(self.by_partition, key=lambda number: self.by_partition[number].behind_s, default=None)
        lag = Lag(0, 0.0) if worst is None else self.by_partition[worst]
        if worst is not None and lag.behind_s > max(BEHIND_S_SLOW, 2 * self._told_s):
            self._told_s = lag.behind_s
            emit(HistorianBehind(worst, lag.records, round(lag.behind_s)))
        elif self._told_s and lag.behind_s <= BEHIND_S_SLOW:
            self._told_s = 0.0
            emit(HistorianCaughtUp())
