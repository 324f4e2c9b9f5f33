"""How far the clock of each agent is from the ingest's, by when its messages were sent and received; without I/O."""

from __future__ import annotations

from collections import deque
from typing import Final

from cloud_ingest.historian.work import KnownAgent

OVER_S: Final = 60


class ClockErrors:
    """The differences of the agents of one partition; positive where the agent's clock is ahead.

    A message is under way for some time, which makes a clock look slower than it is. So the message counts that was
    quickest, of the last ``OVER_S`` seconds: the error is right to the time that this one was under way.
    """

    def __init__(self) -> None:
        self._quickest: dict[KnownAgent, deque[tuple[int, int]]] = {}

    def note(self, agent: KnownAgent, received_ms: int, sent_ms: int) -> int:
        """A message that says it was sent at ``sent_ms`` has come; the error in milliseconds."""
        error_ms, second = sent_ms - received_ms, received_ms // 1000
        quickest = self._quickest.setdefault(agent, deque(maxlen=OVER_S))
        if quickest and quickest[-1][0] == second:
            quickest[-1] = (second, max(quickest[-1][1], error_ms))
        else:
            quickest.append((second, error_ms))
        while quickest[0][0] <= second - OVER_S:
            quickest.popleft()
        return max(one for _, one in quickest)
