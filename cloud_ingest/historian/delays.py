"""How far the samples of each agent are behind: from their source time to their arrival in the cloud, without I/O."""

from __future__ import annotations

from collections import deque
from typing import Final

from cloud_ingest.historian.work import KnownAgent

OVER_S: Final = 300
"""The percentile is over the worst delay of each of so many seconds."""


class Delays:
    """The delays of the agents of one partition, as far back as ``OVER_S``.

    A delay is negative where the clock of the source is ahead of the ingest's.
    """

    def __init__(self) -> None:
        self._worst: dict[KnownAgent, deque[tuple[int, int]]] = {}

    def note(self, agent: KnownAgent, received_ms: int, newest_ns: int) -> tuple[int, int]:
        """The newest of some samples has this source time; this delay, and the 95th percentile, in milliseconds."""
        delay_ms, second = received_ms - newest_ns // 1_000_000, received_ms // 1000
        worst = self._worst.setdefault(agent, deque(maxlen=OVER_S))
        if worst and worst[-1][0] == second:
            worst[-1] = (second, max(worst[-1][1], delay_ms))
        else:
            worst.append((second, delay_ms))
        while worst[0][0] <= second - OVER_S:
            worst.popleft()
        ordered = sorted(one for _, one in worst)
        return delay_ms, ordered[(len(ordered) * 95 + 99) // 100 - 1]
