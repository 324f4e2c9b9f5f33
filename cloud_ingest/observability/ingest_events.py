"""The events of the ingest; see ``events``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import (
    ACKNOWLEDGED,
    APPEND_SECONDS,
    APPENDS,
    BEHIND_SECONDS,
    BROKER_FAILURES,
    BROKER_ONLINE,
    HELD_BACK,
    LOG_ENDS_LOST,
    LOG_FAILURES,
    MESSAGE_BYTES,
    MESSAGES,
    REBIRTHS,
    REFUSED,
    SHARING_ONLINE,
)
from cloud_ingest.observability.obstacles import (
    INGEST,
    INGEST_LAG,
    INGEST_LOG,
    INGEST_PENDING,
    INGEST_SHARING,
    INGEST_SLOW,
    OBSTACLES,
)
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class HostOnline(Event):
    """The host is online on a broker: agents may send."""

    host: str
    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        BROKER_ONLINE.set(1)
        OBSTACLES.gone(INGEST)


@dataclass(frozen=True, slots=True)
class HostOffline(Event):
    """The host has left its broker; why, the next event says, unless the program stops."""

    host: str
    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        BROKER_ONLINE.set(0)


@dataclass(frozen=True, slots=True)
class HostStandby(Event):
    """Another process is the host; this one takes over when it goes."""

    host: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(INGEST)


@dataclass(frozen=True, slots=True)
class HostLost(Event):
    """The broker cannot be reached, or closed the connection; the next attempt comes after ``retry_s``."""

    level: ClassVar[str] = "warning"
    broker: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        BROKER_FAILURES.inc()
        OBSTACLES.stands(INGEST, self.reason)


@dataclass(frozen=True, slots=True)
class SharingOnline(Event):
    """This process takes its part of the numbered batches, by a shared subscription on this broker."""

    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        SHARING_ONLINE.set(1)
        OBSTACLES.gone(INGEST_SHARING)


@dataclass(frozen=True, slots=True)
class SharingOffline(Event):
    """This process takes no part of the numbered batches any more; why, the next event says, unless it stops."""

    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        SHARING_ONLINE.set(0)


@dataclass(frozen=True, slots=True)
class SharingLost(Event):
    """The broker cannot be reached, closed the connection or refused the shared subscription; others go on."""

    level: ClassVar[str] = "warning"
    broker: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        BROKER_FAILURES.inc()
        OBSTACLES.stands(INGEST_SHARING, self.reason)


@dataclass(frozen=True, slots=True)
class BatchesHeldBack(Event):
    """The historian is so far behind that the log may soon delete what it has not read: no batch is taken.

    Their agents keep them, and send them again. It ends by itself when the historian has caught up.
    """

    level: ClassVar[str] = "error"
    behind_s: int
    retention_s: int
    advice: str

    def measure(self) -> None:
        """See ``Event``."""
        HELD_BACK.set(1)
        OBSTACLES.stands(
            INGEST_LAG,
            f"the historian is {self.behind_s} s behind, and the event log keeps {self.retention_s} s: no batch is "
            f"taken until it has caught up. Look whether it runs. {self.advice}.",
        )


@dataclass(frozen=True, slots=True)
class LogKeepsLess(Event):
    """The event log may delete records before the configured retention: it is measured by what the log really keeps.

    ``bytes_max`` is the size that each partition is cut to, 0 without one: what that deletes, nobody can foresee.
    """

    level: ClassVar[str] = "warning"
    topic: str
    retention_s: int
    configured_s: int
    bytes_max: int
    advice: str


@dataclass(frozen=True, slots=True)
class BatchesTakenAgain(Event):
    """The historian has caught up far enough: batches are taken again."""

    behind_s: int

    def measure(self) -> None:
        """See ``Event``."""
        HELD_BACK.set(0)
        OBSTACLES.gone(INGEST_LAG)


@dataclass(frozen=True, slots=True)
class Appended(Event):
    """Messages are in the event log."""

    level: ClassVar[str] = ""
    messages: int
    size_bytes: int
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        MESSAGES.inc(self.messages)
        MESSAGE_BYTES.inc(self.size_bytes)
        APPENDS.inc()
        APPEND_SECONDS.observe(self.duration_s)
        OBSTACLES.gone(INGEST_LOG)


@dataclass(frozen=True, slots=True)
class AppendFailed(Event):
    """The event log takes nothing now: nothing is acknowledged, and the append is tried again."""

    level: ClassVar[str] = "warning"
    reason: str
    messages: int
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        LOG_FAILURES.inc()
        OBSTACLES.stands(INGEST_LOG, self.reason)


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """The event log will never take a message; its sender is told, and the message set aside."""

    level: ClassVar[str] = "error"
    topic: str
    size_bytes: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        REFUSED.inc()


@dataclass(frozen=True, slots=True)
class MessagesDropped(Event):
    """Too much waits for the event log: batches are not taken, and their agents send them again.

    When twice as much waits, other messages are not taken either; those of nodes that do not acknowledge are lost.
    """

    level: ClassVar[str] = "warning"
    pending_bytes: int

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(
            INGEST_PENDING,
            f"{self.pending_bytes} bytes wait for the event log, as many as 'pending_max' allows: batches are dropped, "
            "and sent again by their agents. The event log takes less than comes, or nothing.",
        )


@dataclass(frozen=True, slots=True)
class MessagesTakenAgain(Event):
    """There is room for batches again."""

    pending_bytes: int

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(INGEST_PENDING)


@dataclass(frozen=True, slots=True)
class AppendsSlow(Event):
    """An append takes longer than ``slow_s``: the event log answers slowly, or not at all."""

    level: ClassVar[str] = "warning"
    took_s: float
    slow_s: float

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(
            INGEST_SLOW,
            f"an append to the event log has taken more than {self.slow_s:g} s within the last minute. Look at its "
            "disk and its load (lineside_ingest_append_seconds).",
        )


@dataclass(frozen=True, slots=True)
class AppendsQuick(Event):
    """No append has been slow for a minute."""

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(INGEST_SLOW)


@dataclass(frozen=True, slots=True)
class BehindMeasured(Event):
    """How far the historian is behind, as the ingest sees it, while batches are taken."""

    level: ClassVar[str] = ""
    behind_s: float
    slow_s: float

    def measure(self) -> None:
        """See ``Event``."""
        BEHIND_SECONDS.set(self.behind_s)
        if self.behind_s <= self.slow_s:
            OBSTACLES.gone(INGEST_LAG)
            return
        OBSTACLES.stands(
            INGEST_LAG,
            f"the historian is {self.behind_s:.0f} s behind. Look whether it runs, and what it waits for; batches are "
            "taken all the same.",
        )


@dataclass(frozen=True, slots=True)
class LogEndLost(Event):
    """A partition ended at ``expected_offset``, and the next record got ``offset``: the log lost what was not durable.

    What was not acknowledged is sent again by its agents.
    """

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    expected_offset: int
    offset: int

    def measure(self) -> None:
        """See ``Event``."""
        LOG_ENDS_LOST.inc()


@dataclass(frozen=True, slots=True)
class AcknowledgementsSent(Event):
    """Batches were acknowledged."""

    level: ClassVar[str] = ""
    batches: int

    def measure(self) -> None:
        """See ``Event``."""
        ACKNOWLEDGED.inc(self.batches)


@dataclass(frozen=True, slots=True)
class RebirthAsked(Event):
    """A node was asked for its births, because its data cannot be read without."""

    node: str

    def measure(self) -> None:
        """See ``Event``."""
        REBIRTHS.inc()
