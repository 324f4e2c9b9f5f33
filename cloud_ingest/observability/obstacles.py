"""What keeps parts of this process from their work now, or makes them slow: events say so, ``/readyz`` shows it."""

from __future__ import annotations

from typing import Final

from prometheus_client import Gauge

from cloud_ingest.observability.metrics import WAITING


class Obstacles:
    """By part of the program, the reason why it waits; nothing of a part that works. ``gauge`` counts them by part."""

    def __init__(self, gauge: Gauge | None = None) -> None:
        self._gauge = gauge
        self._reasons: dict[str, str] = {}

    def stands(self, part: str, reason: str) -> None:
        """``part`` waits, for ``reason``."""
        self._reasons[part] = reason
        if self._gauge is not None:
            self._gauge.labels(part).set(1)

    def gone(self, part: str) -> None:
        """``part`` works, or is not this process's any more."""
        if self._reasons.pop(part, None) is not None and self._gauge is not None:
            self._gauge.remove(part)

    def reason(self, part: str) -> str:
        """Why ``part`` waits; empty when it does not."""
        return self._reasons.get(part, "")

    def all(self) -> dict[str, str]:
        """The reasons by part, as they are now; also for another thread."""
        return dict(self._reasons)

    def __str__(self) -> str:
        """All of them: each reason once, behind the parts that have it."""
        parts_of: dict[str, list[str]] = {}
        for part, reason in sorted(self.all().items()):
            parts_of.setdefault(reason, []).append(part)
        return " ".join(f"{', '.join(parts)}: {reason}" for reason, parts in parts_of.items())


OBSTACLES: Final = Obstacles(WAITING)
"""Those of this process, as ``metrics.REGISTRY`` has its metrics."""
START: Final = "start"
INGEST: Final = "ingest"
INGEST_LOG: Final = "ingest append"
INGEST_SHARING: Final = "ingest sharing"
INGEST_SLOW: Final = "ingest append slow"
INGEST_PENDING: Final = "ingest pending"
INGEST_REFUSED: Final = "ingest refused"
INGEST_LAG: Final = "ingest lag"
LOG_RETENTION: Final = "event log retention"
HISTORIAN: Final = "historian"
UPKEEP: Final = "upkeep"
HISTORIAN_LAG: Final = "historian lag"
COMMANDS: Final = "commands"
COMMANDS_BROKER: Final = "commands broker"
COMMANDS_KEY: Final = "commands signing key"
EVENTS: Final = "events"
INTEGRATIONS: Final = "integrations"
NOTIFICATIONS: Final = "notifications"


def commands_partition(partition: int) -> str:
    """The part of the role ``commands`` that reads one partition of the reports."""
    return f"{COMMANDS} partition {partition}"


def historian_partition(partition: int) -> str:
    """The part of the historian that reads one partition."""
    return f"{HISTORIAN} partition {partition}"


def fault_of(task: str) -> str:
    """A supervised task that has ended by a defect, and has not run steadily since."""
    return f"{task} fault"


def vendor_part(port: str) -> str:
    """The part of the role ``integrations`` that asks one vendor."""
    return f"integrations {port}"
