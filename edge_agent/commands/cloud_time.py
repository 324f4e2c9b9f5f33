"""What time it is in the cloud, as far as signed answers say: the agent's own wall clock decides nothing.

A question carries a random nonce, the answer the same nonce and the cloud's time when it answered. The answer was made
at some moment between question and answer, so half of the round trip is the uncertainty; afterwards it grows by the
drift of the box's clock. Without I/O. Times that come in are of a clock that never stops, also while the box sleeps.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from connectors.commands.reports import TimeAnswer

UNCERTAINTY_MS_MAX: Final = 2000
DRIFT: Final = 200e-6
"""How fast a clock may run away: ten times what the quartz of a cheap board does."""
QUESTIONS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class CloudNow:
    """The cloud's time in milliseconds since 1970, and how far it may be from that in either direction."""

    time_ms: float
    uncertainty_ms: float

    @property
    def is_known(self) -> bool:
        """Whether it is certain enough to tell whether something has expired."""
        return self.uncertainty_ms <= UNCERTAINTY_MS_MAX

    @property
    def latest_ms(self) -> float:
        """The latest time that it may be."""
        return self.time_ms + self.uncertainty_ms


class CloudTime:
    """Keeps the answer that is the most certain one now."""

    def __init__(self) -> None:
        self._asked_s: OrderedDict[str, float] = OrderedDict()
        self._best: tuple[float, float, float] | None = None  # when it was heard, the time then, how uncertain it was

    def question(self, now_s: float) -> str:
        """A nonce for a question that is asked now; the oldest of too many questions is forgotten."""
        nonce = secrets.token_hex(16)
        self._asked_s[nonce] = now_s
        while len(self._asked_s) > QUESTIONS_MAX:
            self._asked_s.popitem(last=False)
        return nonce

    def answered(self, answer: TimeAnswer, now_s: float) -> bool:
        """Take an answer whose signature is right; false when it answers no question of this start, or a second time.

        An answer that is less certain than what is known already changes nothing.
        """
        asked_s = self._asked_s.pop(answer.nonce, None)
        if asked_s is None:
            return False
        half_ms = (now_s - asked_s) * 1000 / 2
        uncertainty_ms = half_ms + (now_s - asked_s) * 1000 * DRIFT
        known = self.now(now_s)
        if known is None or uncertainty_ms <= known.uncertainty_ms:
            self._best = (now_s, answer.time_ms + half_ms, uncertainty_ms)
        return True

    def now(self, now_s: float) -> CloudNow | None:
        """The cloud's time; ``None`` before the first answer."""
        if self._best is None:
            return None
        heard_s, then_ms, uncertainty_ms = self._best
        passed_ms = (now_s - heard_s) * 1000
        return CloudNow(then_ms + passed_ms, uncertainty_ms + passed_ms * DRIFT)
