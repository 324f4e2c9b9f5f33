"""Whether batches are held back because the log may soon delete what the historian has not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloud_ingest.event_log.topics import RAW
from cloud_ingest.observability.ingest_events import BatchesHeldBack, BatchesTakenAgain, BehindMeasured, LogKeepsLess
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.event_log import EventLog, LogRecord, TopicSpec, TopicState

LAG_S: Final = 10.0
LAG_READ_S: Final = 1.0
BEHIND_S_SLOW: Final = 60.0
"""A historian that is further behind is said to be slow."""
LAG_PART_MAX: Final = 0.8
"""Of the log's retention; beyond it, an acknowledged batch might be deleted before it is stored."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Of one partition: how many records the historian has not read, and how long ago the oldest of them was taken."""

    records: int
    behind_s: float


class LagGuard:
    """Measures how far the historian is behind. ``places`` asks the database where it is, by partition.

    While the database is away, the places that were read last count: the historian only goes forward, so they say too
    much rather than too little. Before any were read, it counts as having read nothing.
    """

    def __init__(
        self, log: EventLog, clock: Clock, raw: TopicSpec, places: Callable[[], Awaitable[Mapping[int, int]]]
    ) -> None:
        self._raw = raw
        self._log = log
        self._clock = clock
        self._read_places = places
        self._places: Mapping[int, int] = {}
        self._state: TopicState | None = None
        self.is_holding_back = False
        self.by_partition: dict[int, Unread] = {}

    def is_as(self, state: TopicState) -> None:
        """What the log says of the topic: it may keep less than it should."""
        known, self._state = self._state, state
        if known is None or known.identity != state.identity:
            self._places = {}
        if state != known and (state.retention_s < self._raw.retention_s or state.bytes_max is not None):
            configured_s = round(self._raw.retention_s)
            kept_s = round(min(state.retention_s, configured_s))
            emit(LogKeepsLess(RAW, kept_s, configured_s, state.bytes_max or 0, state.advice))

    async def watch_forever(self) -> None:
        """Measure until cancelled, from the first ``is_as`` on."""
        while True:
            await asyncio.sleep(LAG_S)
            if self._state is None:
                continue
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                self._places = await self._read_places()
            with contextlib.suppress(EventLogUnavailable):  # then nothing is taken anyway
                await self._measure(self._state)

    async def _measure(self, state: TopicState) -> None:
        retention_s = min(self._raw.retention_s, state.retention_s)
        self.by_partition = await unread(self._log, self._places, self._clock.now_ns() // 1_000_000)
        behind_s = max((one.behind_s for one in self.by_partition.values()), default=0.0)
        is_late = behind_s > LAG_PART_MAX * retention_s
        if is_late and not self.is_holding_back:
            emit(BatchesHeldBack(round(behind_s), round(retention_s), state.advice))
        elif self.is_holding_back and not is_late:
            emit(BatchesTakenAgain(round(behind_s)))
        self.is_holding_back = is_late
        if not is_late:
            emit(BehindMeasured(behind_s, BEHIND_S_SLOW))


async def unread(log: EventLog, places: Mapping[int, int], now_ms: int) -> dict[int, Unread]:
    """By partition of the raw log, what the historian has not read. Raises ``EventLogUnavailable``."""
    found: dict[int, Unread] = {}
    for number, end in (await log.end_offsets(RAW)).items():
        place = places.get(number, 0)
        records: Sequence[LogRecord] = ()
        if place < end:
            async with log.reader(RAW, number, place) as reader:
                records = await reader.read(LAG_READ_S, 1)
        behind_ms = max((now_ms - record.time_ms for record in records), default=0)
        found[number] = Unread(max(0, end - place), max(0, behind_ms) / 1000)
    return found
