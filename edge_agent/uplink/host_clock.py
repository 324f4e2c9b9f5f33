"""How far the agent's clock is from the host's, by the times of its acknowledgements; without I/O."""

from __future__ import annotations

from collections import deque
from typing import Final

from connectors.observability.events import emit
from edge_agent.observability.metrics import CLOCK_ERROR_SECONDS
from edge_agent.observability.uplink_events import ClockAgrees, ClockDiffers

ERROR_S_MAX: Final = 2.0
"""A difference up to this is not told: an acknowledgement may have been on its way for that long."""

LOOKS: Final = 5
"""Of the last so many acknowledgements the one that says least counts: one may have been held up."""


class HostClock:
    """The difference between two clocks; positive when the agent's is ahead."""

    def __init__(self) -> None:
        self._errors_ms: deque[int] = deque(maxlen=LOOKS)
        self._told_s: float | None = None

    @property
    def error_s(self) -> float | None:
        """The difference in seconds; ``None`` while too few acknowledgements have come to know."""
        if len(self._errors_ms) < LOOKS:
            return None
        return min(self._errors_ms, key=abs) / 1000

    def heard(self, host_ms: int, now_ms: int) -> None:
        """An acknowledgement that the host made at ``host_ms`` has come."""
        if host_ms <= 0:
            return
        self._errors_ms.append(now_ms - host_ms)
        error_s = self.error_s
        if error_s is None:
            return
        CLOCK_ERROR_SECONDS.set(error_s)
        if abs(error_s) <= ERROR_S_MAX:
            if self._told_s is not None:
                emit(ClockAgrees())
            self._told_s = None
        elif self._told_s is None or abs(error_s - self._told_s) > ERROR_S_MAX:
            self._told_s = error_s
            emit(ClockDiffers(round(error_s, 1)))
