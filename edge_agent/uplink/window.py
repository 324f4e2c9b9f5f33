"""The window of batches that were sent and are not acknowledged yet, without I/O.

Invariants (checked by tests/unit/uplink/test_window.py as a Hypothesis state machine):

1. At most ``batches_max`` batches and about ``bytes_max`` bytes are in flight; an empty window takes one of any size.
2. A batch leaves the window only by an acknowledgement or refusal that names its epoch and number.
3. While the cloud is silent only the oldest batch is sent again, at growing intervals; once it answers, every batch
   is due whose time has passed and that was sent before the answer.
4. After a reconnect every batch in the window is due at once, in order.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DeviceName
from edge_agent.buffer.rows import StoredBatch

RESEND_GROWTH: Final = 2.0
RESEND_LONGEST_S: Final = 60.0
EARLY_S: Final = 0.001
"""A timer that fires this much too early, by rounding, is on time: else whoever waits for it would spin."""


@dataclass(slots=True)
class _InFlight:
    batch: StoredBatch
    sent_s: float
    times_sent: int


class Window:
    """Batches in flight, in the order of their numbers."""

    def __init__(self, *, batches_max: int, bytes_max: int, resend_after_s: float) -> None:
        self._batches_max = batches_max
        self._bytes_max = bytes_max
        self._resend_after_s = resend_after_s
        self._in_flight: OrderedDict[tuple[Epoch, int], _InFlight] = OrderedDict()
        self._bytes = 0
        self.round_trip_s: float | None = None
        """How long the newest batch of the last acknowledgement was on its way; ``None`` when that is not known."""
        self._silent_rounds = 0
        self._answered_s = float("-inf")
        self._reconnected: list[tuple[Epoch, int]] = []

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def room_batches(self) -> int:
        """How many more batches may be sent."""
        if self._in_flight and self._bytes >= self._bytes_max:
            return 0
        return self._batches_max - len(self._in_flight)

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be sent."""
        return max(0, self._bytes_max - self._bytes)

    @property
    def in_flight_bytes(self) -> int:
        """How many bytes are in flight."""
        return self._bytes

    def holds(self, batch: StoredBatch) -> bool:
        """Whether ``batch`` is in flight."""
        return (batch.epoch, batch.number) in self._in_flight

    def devices(self) -> set[DeviceName]:
        """The devices that batches in flight belong to."""
        return {entry.batch.device for entry in self._in_flight.values()}

    @property
    def is_silent(self) -> bool:
        """Whether batches had to be sent again without an answer."""
        return self._silent_rounds > 0

    def oldest_s(self, now_s: float) -> float:
        """For how long the oldest batch has been waiting since it was last sent; 0 when the window is empty."""
        return now_s - next(iter(self._in_flight.values())).sent_s if self._in_flight else 0.0

    def sent(self, batch: StoredBatch, now_s: float) -> None:
        """``batch`` has been published."""
        key = (batch.epoch, batch.number)
        entry = self._in_flight.get(key)
        if entry is None:
            self._in_flight[key] = _InFlight(batch, now_s, 1)
            self._bytes += batch.size_bytes
        else:
            entry.sent_s = now_s
            entry.times_sent += 1

    def acknowledge(self, epoch: Epoch, ranges: BatchRanges, now_s: float) -> list[StoredBatch]:
        """Take out what ``ranges`` of ``epoch`` covers; the batches that were in flight."""
        done = [key for key in self._in_flight if key[0] == epoch and key[1] in ranges]
        if done:
            self._silent_rounds = 0
            self._answered_s = now_s
            once_s = [entry.sent_s for key in done if (entry := self._in_flight[key]).times_sent == 1]
            self.round_trip_s = now_s - max(once_s) if once_s else None
        return [self._remove(key) for key in done]

    def refuse(self, epoch: Epoch, number: int) -> StoredBatch | None:
        """Take out one batch that the cloud will never take."""
        return self._remove((epoch, number)) if (epoch, number) in self._in_flight else None

    def reconnected(self) -> None:
        """A new connection is up: nothing that was in flight on the old one can be counted on."""
        self._reconnected = list(self._in_flight)
        self._silent_rounds = 0

    def host_returned(self) -> None:
        """The host said that it is online again: do not wait for the next interval."""
        self.reconnected()

    def due(self, now_s: float) -> list[StoredBatch]:
        """What is to be sent again now, in order; the caller publishes it and calls ``sent``."""
        if self._reconnected:
            again = [self._in_flight[key].batch for key in self._reconnected if key in self._in_flight]
            self._reconnected = []
            return again
        now_s += EARLY_S
        late = [entry for entry in self._in_flight.values() if now_s >= entry.sent_s + self._resend_after_s]
        lost = [entry.batch for entry in late if entry.sent_s < self._answered_s]
        if lost or not late:
            return lost
        first = next(iter(self._in_flight.values()))
        if now_s < first.sent_s + self._interval_s():
            return []
        self._silent_rounds += 1
        return [first.batch]

    def next_due_s(self, now_s: float) -> float | None:
        """Seconds until ``due`` may have something; ``None`` when nothing is in flight."""
        if not self._in_flight:
            return None
        if self._reconnected:
            return 0.0
        lost_s = (entry.sent_s for entry in self._in_flight.values() if entry.sent_s < self._answered_s)
        first_s = next(iter(self._in_flight.values())).sent_s
        due_s = min(min(lost_s, default=float("inf")) + self._resend_after_s, first_s + self._interval_s())
        return max(0.0, due_s - now_s)

    def _interval_s(self) -> float:
        return min(RESEND_LONGEST_S, self._resend_after_s * RESEND_GROWTH**self._silent_rounds)

    def _remove(self, key: tuple[Epoch, int]) -> StoredBatch:
        entry = self._in_flight.pop(key)
        self._bytes -= entry.batch.size_bytes
        return entry.batch
