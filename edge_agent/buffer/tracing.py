"""The path of single samples, followed while somebody asks for it: received, reported, committed, sent, acknowledged.

While nobody does, each step of the path costs one look at ``is_on`` a batch. Lives in the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName
from edge_agent.buffer.rows import StoredBatch

FOLLOWED_MAX: Final = 100
"""So many samples of one tag are under way; of more, the newest are not followed."""

Tell = Callable[[dict[str, Any]], None]


class TagTrace:
    """One tag that is followed. ``alias`` is asked for each sample, as a device may learn it late."""

    def __init__(self, device: DeviceName, index: int, alias: Callable[[], int], tell: Tell) -> None:
        self.device = device
        self._index = index
        self._alias = alias
        self._tell = tell
        self._waiting: dict[tuple[int, int], int] = {}
        """Reported and not committed: the number of the sample, by (alias, source time)."""
        self._stored: dict[tuple[int, int], list[int]] = {}
        """Committed and not acknowledged: the numbers of samples, by (epoch, batch)."""
        self._count = 0

    def received(self, batch: SampleBatch, reported: SampleBatch, *, held: bool) -> None:
        """The driver has handed over samples; ``held``: they had been held back until now."""
        rows = np.flatnonzero(batch.tag == self._index).tolist()
        passed = set(reported.time_ns[reported.tag == self._index].tolist())
        for row in rows:
            time_ns = int(batch.time_ns[row])
            is_reported = time_ns in passed
            if len(self._waiting) + len(self._stored) >= FOLLOWED_MAX:
                return
            self._count += 1
            has_value = batch.null is None or not batch.null[row]
            value = batch.value[row]
            self._say(
                "released" if held else "received",
                self._count,
                source_ns=time_ns,
                value=(value.item() if isinstance(value, np.generic) else value) if has_value else None,
                quality=0 if batch.quality is None else int(batch.quality[row]),
                with_others=len(batch) - 1,
            )
            self._say("reported" if is_reported else "not reported", self._count)
            if is_reported:
                self._waiting[self._alias(), time_ns] = self._count

    def committed(self, rows: Iterable[StoredBatch]) -> None:
        """Rows are on disk."""
        for row in rows:
            if row.device != self.device or not self._waiting:
                continue
            for part in row.parts:
                for alias, time_ns in list(self._waiting):
                    if ((part.tag == alias) & (part.time_ns == time_ns)).any():
                        number = self._waiting.pop((alias, time_ns))
                        self._stored.setdefault((row.epoch, row.number), []).append(number)
                        self._say("committed", number, batch=row.number, samples=row.sample_count, bytes=row.size_bytes)

    def sent(self, batch: StoredBatch, *, again: bool) -> None:
        """A batch was published."""
        for number in self._stored.get((batch.epoch, batch.number), ()):
            self._say("sent again" if again else "sent", number, batch=batch.number)

    def ended(self, epoch: int, first: int, last: int, reason: str | None) -> None:
        """The cloud has batches; or refuses them, with a ``reason``."""
        for key in [key for key in self._stored if key[0] == epoch and first <= key[1] <= last]:
            for number in self._stored.pop(key):
                if reason is None:
                    self._say("acknowledged", number, batch=key[1])
                else:
                    self._say("refused", number, batch=key[1], reason=reason)

    def _say(self, step: str, number: int, **more: Any) -> None:
        self._tell({"step": step, "sample": number, "at_ns": time.time_ns(), **more})


class Tracing:
    """Every trace of an agent; acquisition, collector and sender tell it what happens while ``is_on``."""

    def __init__(self) -> None:
        self.is_on = False
        self._traces: list[TagTrace] = []

    def begin(self, trace: TagTrace) -> None:
        """Follow a tag, until ``end``."""
        self._traces.append(trace)
        self.is_on = True

    def end(self, trace: TagTrace) -> None:
        """Follow it no more."""
        self._traces.remove(trace)
        self.is_on = bool(self._traces)

    def received(self, device: DeviceName, batch: SampleBatch, reported: SampleBatch, *, held: bool = False) -> None:
        """See ``TagTrace``."""
        for trace in self._traces:
            if trace.device == device:
                trace.received(batch, reported, held=held)

    def committed(self, rows: Iterable[StoredBatch]) -> None:
        """See ``TagTrace``."""
        stored = list(rows)
        for trace in self._traces:
            trace.committed(stored)

    def sent(self, batch: StoredBatch, *, again: bool) -> None:
        """See ``TagTrace``."""
        for trace in self._traces:
            trace.sent(batch, again=again)

    def ended(self, epoch: int, first: int, last: int, reason: str | None = None) -> None:
        """See ``TagTrace``."""
        for trace in self._traces:
            trace.ended(epoch, first, last, reason)
