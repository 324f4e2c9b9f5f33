"""What a driver says of samples that are missing, and what the history of its device gives of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import Continuation, Missing, Unfilled
from edge_agent.acquisition.absences import Absences
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.acquisition.reporting import Reporting
from edge_agent.acquisition.restoring import Restoring
from edge_agent.buffer.rows import Gap, GapReason
from edge_agent.observability.device_events import DeviceSession

if TYPE_CHECKING:
    from edge_agent.acquisition.derived import DerivedTags


class MissingSamples:
    """This part of the port ``Acquisition``; ``DeviceAcquisition`` has what it is about."""

    name: DeviceName
    tag_names: tuple[str, ...]
    current: CurrentValues
    online_since_ns: int | None
    _clock: Clock
    _collector: Collector
    _absences: Absences
    _restoring: Restoring
    _reporting: Reporting
    _derived: DerivedTags | None

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        """See ``Acquisition``."""
        before_ns = self.current.times_ns(tags)
        before_ns[before_ns == 0] = self.online_since_ns or self._clock.now_ns()
        first_ns, last_ns = int(np.minimum(before_ns, time_ns).min()), int(time_ns.max())
        self._declare(GapReason.DEVICE_OVERFLOW, tags, first_ns, last_ns)

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """See ``Acquisition``."""
        self._declare(GapReason.DEVICE_OVERFLOW, tags, first_ns, last_ns, detail)

    def polled_late(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        """See ``Acquisition``."""
        self._declare(GapReason.POLLED_LATE, tags, first_ns, last_ns, detail)

    def continued(self, how: Continuation, detail: str) -> None:
        """See ``Acquisition``."""
        emit(DeviceSession(self.name, how, detail))
        if how != "anew":
            self._absences.begin_continuing()
            self._restoring.begin_continuing()

    def caught_up(self) -> None:
        """See ``Acquisition``."""
        self._absences.end_continuing()
        self._restoring.end_continuing()

    def missing(self) -> Missing | None:
        """See ``Acquisition``."""
        every = np.arange(len(self.tag_names), dtype=np.int32)
        return self._restoring.begin(self.current.times_ns(every), self._reporting.of_the_past())

    async def restore(self, batch: SampleBatch) -> None:
        """See ``Acquisition``."""
        await self._absences.samples_are_there()
        news = self._restoring.news(batch)
        if len(news):
            await self._store(news, is_history=True)
        self._restoring.came(batch)

    def again(self, tags: Sequence[int]) -> None:
        """See ``Acquisition``."""
        self._restoring.again(tags)

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        """See ``Acquisition``."""
        self._restoring.filled(tags, until_ns)

    def unfilled(self, part: Unfilled) -> None:
        """See ``Acquisition``."""
        self._restoring.unfilled(part)

    async def restored(self, *, has_history: bool = True) -> None:
        """See ``Acquisition``."""
        if has_history:
            await self._absences.samples_are_there()
        self._restoring.end(self.tag_names, has_history=has_history)

    def _declare(self, reason: str, tags: Int32Array, first_ns: int, last_ns: int, detail: str = "") -> None:
        tags = tags if self._derived is None else self._derived.dependents(tags)
        names = tuple(dict.fromkeys(self.tag_names[index] for index in tags.tolist()))
        self._collector.declare_gap(Gap(self.name, reason, first_ns, last_ns, tags=names, detail=detail))

    async def _store(
        self,
        *batches: SampleBatch,
        committed: Callable[[], None] | None = None,
        behind_ns: int = 0,
        is_history: bool = False,
    ) -> None:
        raise NotImplementedError
