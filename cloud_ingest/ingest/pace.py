"""How long the event log takes for an append: one that answers, and slowly, holds everything up as one that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cloud_ingest.observability.ingest_events import AppendsQuick, AppendsSlow
from connectors.observability.events import emit
from connectors.ports.clock import Clock

APPEND_S_SLOW: Final = 5.0
"""An append that takes longer is said to be slow: agents send again after ten seconds."""
QUICK_AFTER_S: Final = 60.0
"""Without a slow append for so long, the log is quick again."""
LOOK_S: Final = 1.0


class AppendPace:
    """Watches the appends of one process, the one that is under way included."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_s: float | None = None
        self._slow_at_s: float | None = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """One append, whatever becomes of it."""
        self._begun_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._look()
            self._begun_s = None

    async def watch_forever(self) -> None:
        """Say when appends are slow, and when they are not any more, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        now_s = self._clock.monotonic_s()
        took_s = 0.0 if self._begun_s is None else now_s - self._begun_s
        if took_s > APPEND_S_SLOW:
            if self._slow_at_s is None:
                emit(AppendsSlow(round(took_s, 1), APPEND_S_SLOW))
            self._slow_at_s = now_s
        elif self._slow_at_s is not None and now_s - self._slow_at_s > QUICK_AFTER_S:
            self._slow_at_s = None
            emit(AppendsQuick())
