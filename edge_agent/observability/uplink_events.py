"""Events of the uplink: connections, the host, births, batches and commands.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import (
    BATCHES_ACKNOWLEDGED,
    BATCHES_REFUSED,
    BATCHES_RESENT,
    BATCHES_SENT,
    MESSAGES_REFUSED,
    UPLINK_FAILURES,
    UPLINK_ONLINE,
)


@dataclass(frozen=True, slots=True)
class UplinkOnline(Event):
    """The births are out: data is sent from now on."""

    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        UPLINK_ONLINE.set(1)


@dataclass(frozen=True, slots=True)
class UplinkWaiting(Event):
    """Connected to the broker, waiting for the primary host to be online."""

    level: ClassVar[str] = "warning"
    broker: str
    host: str


@dataclass(frozen=True, slots=True)
class UplinkLost(Event):
    """No broker can be reached; samples are kept in the outbox."""

    level: ClassVar[str] = "warning"
    broker: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        UPLINK_ONLINE.set(0)
        UPLINK_FAILURES.inc()


@dataclass(frozen=True, slots=True)
class ClockDiffers(Event):
    """The agent's clock is not the host's (positive: ahead); times that it gives samples are wrong by as much."""

    level: ClassVar[str] = "warning"
    error_s: float


@dataclass(frozen=True, slots=True)
class ClockAgrees(Event):
    """The agent's clock is the host's again."""


@dataclass(frozen=True, slots=True)
class HostStateChanged(Event):
    """The host announced that it is online, or that it is not."""

    host: str
    online: bool


@dataclass(frozen=True, slots=True)
class BatchesSent(Event):
    """Batches were published."""

    level: ClassVar[str] = ""
    batches: int
    resent: int

    def measure(self) -> None:
        """See ``Event``."""
        BATCHES_SENT.inc(self.batches)
        if self.resent:
            BATCHES_RESENT.inc(self.resent)


@dataclass(frozen=True, slots=True)
class AcknowledgementsMissing(Event):
    """Batches were published and not acknowledged in time; the oldest is sent again until the cloud answers."""

    level: ClassVar[str] = "warning"
    batches: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class BatchesAcknowledged(Event):
    """The cloud has batches."""

    level: ClassVar[str] = ""
    batches: int

    def measure(self) -> None:
        """See ``Event``."""
        BATCHES_ACKNOWLEDGED.inc(self.batches)


@dataclass(frozen=True, slots=True)
class BatchRefused(Event):
    """The cloud will never take a batch; it is set aside and declared as a gap."""

    level: ClassVar[str] = "error"
    batch: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        BATCHES_REFUSED.inc()


@dataclass(frozen=True, slots=True)
class DeviceUnborn(Event):
    """The broker takes no packet that could hold the DBIRTH of a device; its samples are declared as gaps."""

    level: ClassVar[str] = "error"
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """A message from the broker that the agent cannot follow."""

    level: ClassVar[str] = "warning"
    topic: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        MESSAGES_REFUSED.inc()
