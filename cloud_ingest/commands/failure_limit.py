"""How often somebody may fail: so many times a minute an address, of a bounded number of addresses. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

FAILURES_MAX: Final = 10
WITHIN_S: Final = 60.0
ADDRESSES_MAX: Final = 1024
"""Of more, the one that has tried least lately is forgotten."""


class FailureLimit:
    """Attempts that have failed, or are under way, by who has made them."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, address: str, now_s: float) -> bool:
        """Whether ``address`` may try now. It counts as a failure until ``succeeded`` says otherwise."""
        tries = self._tries.setdefault(address, deque(maxlen=FAILURES_MAX))
        self._tries.move_to_end(address)
        while len(self._tries) > ADDRESSES_MAX:
            self._tries.popitem(last=False)
        while tries and now_s - tries[0] >= WITHIN_S:
            tries.popleft()
        if len(tries) >= FAILURES_MAX:
            return False
        tries.append(now_s)
        return True

    def succeeded(self, address: str) -> None:
        """The newest attempt of ``address`` was none that failed."""
        tries = self._tries.get(address)
        if tries:
            tries.pop()
