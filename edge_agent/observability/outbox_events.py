"""Events of the outbox: commits, a disk that fails, damage, and what gives way.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import (
    BATCHES_LOST,
    COMMIT_SECONDS,
    COMMITS,
    OUTBOX_BLOCKED,
    OUTBOX_SALVAGES,
    SAMPLES_COMMITTED,
    SAMPLES_GIVEN_UP,
)


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """One transaction of the outbox is on disk."""

    level: ClassVar[str] = ""
    samples: int
    batches: int
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        COMMITS.inc()
        COMMIT_SECONDS.observe(self.duration_s)
        if self.samples:
            SAMPLES_COMMITTED.inc(self.samples)


@dataclass(frozen=True, slots=True)
class OutboxBlocked(Event):
    """The disk takes no commit: samples wait in memory, then in the devices."""

    level: ClassVar[str] = "error"
    reason: str
    samples_waiting: int

    def measure(self) -> None:
        """See ``Event``."""
        OUTBOX_BLOCKED.set(1)


@dataclass(frozen=True, slots=True)
class OutboxRecovered(Event):
    """The disk takes commits again; nothing was lost."""

    def measure(self) -> None:
        """See ``Event``."""
        OUTBOX_BLOCKED.set(0)


@dataclass(frozen=True, slots=True)
class OutboxNotOpened(Event):
    """The disk does not let the outbox be opened: nothing is acquired; the next attempt comes after ``retry_s``."""

    level: ClassVar[str] = "error"
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        OUTBOX_BLOCKED.set(1)


@dataclass(frozen=True, slots=True)
class OutboxOpenedAgain(Event):
    """After an error of the disk the outbox was opened anew: everything that had been committed is in it."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxFailed(Event):
    """The outbox turned out to be damaged, or to have lost commits: the agent opens it anew, and connects anew.

    What had been acquired and not committed, ``samples_lost``, lies in the gaps that this makes.
    """

    level: ClassVar[str] = "error"
    reason: str
    samples_lost: int


@dataclass(frozen=True, slots=True)
class OutboxSalvaged(Event):
    """The outbox was damaged: it was set aside, and what could be read goes on in a new file.

    ``gone``: how many batch numbers are not in it; those that the cloud does not have either are lost.
    """

    level: ClassVar[str] = "error"
    reason: str
    set_aside: str
    batches: int
    samples: int
    gone: int

    def measure(self) -> None:
        """See ``Event``."""
        OUTBOX_SALVAGES.inc()


@dataclass(frozen=True, slots=True)
class OutboxKeyMissing(Event):
    """Rows of the outbox are sealed with a key that `outbox.encryption` does not name.

    They are set aside, and declared as gaps with the reason `key_lost`, when it is their turn to be sent.
    """

    level: ClassVar[str] = "error"
    key_id: str


@dataclass(frozen=True, slots=True)
class BatchesLost(Event):
    """Batches that had been committed are not on the disk any more; gap records with `outbox_damaged` name them.

    Some of them may have reached the cloud: its ledger knows.
    """

    level: ClassVar[str] = "error"
    batches: int
    detail: str

    def measure(self) -> None:
        """See ``Event``."""
        BATCHES_LOST.inc(self.batches)


@dataclass(frozen=True, slots=True)
class SamplesGivenUp(Event):
    """Samples were removed from the outbox, or not taken into it; a gap record in the outbox says so too."""

    level: ClassVar[str] = "warning"
    device: str
    reason: str
    samples: int
    detail: str

    def measure(self) -> None:
        """See ``Event``."""
        SAMPLES_GIVEN_UP.labels(self.reason).inc(self.samples)
