"""How far the delivery is behind, and how fast it may catch up, without I/O."""

from __future__ import annotations

from typing import Final

BURST_S: Final = 0.2
"""So much of a second's allowance may leave at once."""

EARLY_S: Final = 0.001
"""A wait that is shorter is over: a timer that fires too early, by rounding, would spin."""


class Backlog:
    """Bounds the rate of what had to wait, so that live values and other traffic have their share of the link."""

    def __init__(self, bytes_per_s_max: float | None) -> None:
        """``bytes_per_s_max``: ``None`` for as fast as the window allows."""
        self._bytes_per_s_max = bytes_per_s_max
        self._allowance_bytes = (bytes_per_s_max or 0.0) * BURST_S
        self._at_s: float | None = None
        self.lag_ms = 0
        """How old the last samples were when they left."""

    def leaves(self, size_bytes: int, lag_ms: int, now_s: float, *, is_old: bool) -> None:
        """Samples are on their way, so long after they were committed; ``is_old``: they had to wait."""
        self.lag_ms = max(0, lag_ms)
        if self._bytes_per_s_max is not None and is_old:
            self._refill(now_s, self._bytes_per_s_max)
            self._allowance_bytes -= size_bytes

    def wait_s(self, now_s: float) -> float:
        """How long the next old samples have to wait for their turn; 0: they may go."""
        if self._bytes_per_s_max is None:
            return 0.0
        self._refill(now_s, self._bytes_per_s_max)
        wait_s = -self._allowance_bytes / self._bytes_per_s_max
        return wait_s if wait_s > EARLY_S else 0.0

    def _refill(self, now_s: float, bytes_per_s: float) -> None:
        passed_s = 0.0 if self._at_s is None else now_s - self._at_s
        self._at_s = now_s
        self._allowance_bytes = min(bytes_per_s * BURST_S, self._allowance_bytes + passed_s * bytes_per_s)
