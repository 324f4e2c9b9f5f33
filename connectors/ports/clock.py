"""Time as a port, so that the protocol cores and their tests decide what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks of a machine: what time it is, and how much time has passed."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump when the clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back. Every interval and time-out is measured with it."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now_ns(self) -> int:
        """See ``Clock``."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """See ``Clock``."""
        return time.monotonic()
