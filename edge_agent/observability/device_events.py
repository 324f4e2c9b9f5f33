"""Events of devices and their tags.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import (
    DEVICE_CONNECTS,
    DEVICE_FAILURES,
    DEVICE_ONLINE,
    DEVICE_SESSIONS,
    DRIVER_EVENTS,
    SAMPLES_ACQUIRED,
    SAMPLES_RESTORED,
    TAG_PROBLEMS,
)


@dataclass(frozen=True, slots=True)
class DeviceConnected(Event):
    """A device is connected and its tags are bound."""

    device: str
    tags: int
    problems: int

    def measure(self) -> None:
        """See ``Event``."""
        DEVICE_ONLINE.labels(self.device).set(1)
        DEVICE_CONNECTS.labels(self.device).inc()


@dataclass(frozen=True, slots=True)
class DeviceReached(Event):
    """A device that has several servers is reached at this one."""

    device: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class DeviceLost(Event):
    """A device cannot be reached; the next attempt comes after ``retry_s``."""

    level: ClassVar[str] = "warning"
    device: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        DEVICE_ONLINE.labels(self.device).set(0)
        DEVICE_FAILURES.labels(self.device).inc()


@dataclass(frozen=True, slots=True)
class DeviceSession(Event):
    """A device is there again: session ``resumed``, subscriptions ``transferred`` to another, or ``anew``, and why."""

    device: str
    how: str
    detail: str

    def measure(self) -> None:
        """See ``Event``."""
        DEVICE_SESSIONS.labels(self.device, self.how).inc()


@dataclass(frozen=True, slots=True)
class DeviceEnded(Event):
    """A device is not read any more as it was: the configuration has changed. ``removed``: nor in any other way."""

    device: str
    removed: bool

    def measure(self) -> None:
        """See ``Event``."""
        DEVICE_ONLINE.labels(self.device).set(0)
        if self.removed:
            DEVICE_ONLINE.remove(self.device)
            TAG_PROBLEMS.labels(self.device).set(0)
            TAG_PROBLEMS.remove(self.device)


@dataclass(frozen=True, slots=True)
class CertificateEnding(Event):
    """A certificate that a connection rests on ends within 60 days, or has ended; told once a day."""

    level: ClassVar[str] = "warning"
    what: str
    thumbprint: str
    days_left: int
    reason: str


@dataclass(frozen=True, slots=True)
class TagsBound(Event):
    """The tags of a connected device have changed: some have become known, or have got a problem."""

    level: ClassVar[str] = ""
    device: str
    problems: int

    def measure(self) -> None:
        """See ``Event``."""
        TAG_PROBLEMS.labels(self.device).set(self.problems)


@dataclass(frozen=True, slots=True)
class TagRefused(Event):
    """A tag gives no values; its neighbours do."""

    level: ClassVar[str] = "warning"
    device: str
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class TagDoubted(Event):
    """A tag gives values, and its device file says something of it that the device contradicts, such as its type."""

    level: ClassVar[str] = "warning"
    device: str
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class DriverCounted(Event):
    """The driver of a device has counted something, so many times since it was asked before."""

    level: ClassVar[str] = ""
    device: str
    event: str
    count: int

    def measure(self) -> None:
        """See ``Event``."""
        DRIVER_EVENTS.labels(self.device, self.event).inc(self.count)


@dataclass(frozen=True, slots=True)
class SamplesAcquired(Event):
    """Samples were taken over from a device."""

    level: ClassVar[str] = ""
    device: str
    samples: int

    def measure(self) -> None:
        """See ``Event``."""
        SAMPLES_ACQUIRED.labels(self.device).inc(self.samples)


@dataclass(frozen=True, slots=True)
class HistoryRead(Event):
    """The history of a device was read after an outage: so many samples were news; ``tags_unfilled`` keep a gap."""

    device: str
    samples: int
    tags_unfilled: int

    def measure(self) -> None:
        """See ``Event``."""
        SAMPLES_RESTORED.labels(self.device).inc(self.samples)


@dataclass(frozen=True, slots=True)
class HistoryCutOff(Event):
    """The connection was lost while history was read, of which so many samples were news; ``outages`` are read on."""

    device: str
    samples: int
    outages: int

    def measure(self) -> None:
        """See ``Event``."""
        SAMPLES_RESTORED.labels(self.device).inc(self.samples)


@dataclass(frozen=True, slots=True)
class ClockSet(Event):
    """The agent's clock was set while the device was watched (seconds; positive: ahead); a gap record tells of it."""

    level: ClassVar[str] = "warning"
    device: str
    seconds: float
