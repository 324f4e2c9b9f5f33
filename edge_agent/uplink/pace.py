"""How much of a backlog may be on its way, so that what is live never queues behind more than a moment of it.

A link that is slower than the agent queues what is sent: in the socket, in routers, in the broker. The round trip of
batches shows how long that queue is, and as much is kept in flight as makes it ``QUEUE_S`` long (as LEDBAT does, RFC
6817). Without I/O; times are monotonic.
"""

from __future__ import annotations

from typing import Final

QUEUE_S: Final = 0.25
BYTES_MIN: Final = 16 * 1024
"""The first round trips are made with so little, that they show the way and not a queue; then it doubles with each
until there is one."""

BYTES_MAX: Final = 64 * 1024 * 1024


class Pace:
    """The bytes of a backlog that may be in flight over one connection after the other."""

    def __init__(self) -> None:
        self.connected()

    def connected(self) -> None:
        """A new connection: the way may be another one."""
        self.bytes_max = BYTES_MIN
        self._base_s = float("inf")
        self._is_limit = False
        self._has_queued = False

    def may_send(self, size_bytes: int, in_flight_bytes: int) -> bool:
        """Whether so much more may leave; a single batch always may."""
        may = in_flight_bytes == 0 or in_flight_bytes + size_bytes <= self.bytes_max
        self._is_limit = self._is_limit or not may
        return may

    def acknowledged(self, size_bytes: int, round_trip_s: float) -> None:
        """So much was acknowledged at once; the newest of it had been sent ``round_trip_s`` before."""
        if self.bytes_max <= BYTES_MIN:  # hardly anything queues: this is how long the way is
            self._base_s = round_trip_s
        self._base_s = min(self._base_s, round_trip_s)
        room = max(-1.0, (QUEUE_S - (round_trip_s - self._base_s)) / QUEUE_S)
        self._has_queued = self._has_queued or room < 0.5
        if self._has_queued:  # what comes back knows nothing of the last change: on a long way each has to be smaller
            room *= QUEUE_S / (QUEUE_S + self._base_s)
        if room < 0 or self._is_limit:  # what is not used says nothing of what there would be room for
            self.bytes_max = min(BYTES_MAX, max(BYTES_MIN, self.bytes_max + int(room * size_bytes)))
        self._is_limit = False
