"""What keeps parts of this process from their work now: events say so, and ``/readyz`` shows it."""

from __future__ import annotations

from typing import Final


class Obstacles:
    """By part of the program, the reason why it waits; nothing of a part that works."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def stands(self, part: str, reason: str) -> None:
        """``part`` waits, for ``reason``."""
        self._reasons[part] = reason

    def gone(self, part: str) -> None:
        """``part`` works, or is not this process's any more."""
        self._reasons.pop(part, None)

    def reason(self, part: str) -> str:
        """Why ``part`` waits; empty when it does not."""
        return self._reasons.get(part, "")

    def __str__(self) -> str:
        """All of them: each reason once, behind the parts that have it."""
        parts_of: dict[str, list[str]] = {}
        for part, reason in sorted(self._reasons.items()):
            parts_of.setdefault(reason, []).append(part)
        return " ".join(f"{', '.join(parts)}: {reason}" for reason, parts in parts_of.items())


OBSTACLES: Final = Obstacles()
"""Those of this process, as ``events.REGISTRY`` has its metrics."""
START: Final = "start"
INGEST: Final = "ingest"
INGEST_LOG: Final = "ingest append"
INGEST_SHARING: Final = "ingest sharing"
INGEST_REFUSED: Final = "ingest refused"
INGEST_LAG: Final = "ingest lag"
LOG_RETENTION: Final = "event log retention"
HISTORIAN: Final = "historian"
UPKEEP: Final = "upkeep"


def historian_partition(partition: int) -> str:
    """The part of the historian that reads one partition."""
    return f"{HISTORIAN} partition {partition}"
