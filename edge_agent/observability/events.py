"""Every event and every metric of the agent.

An event is a typed value; ``emit`` makes the log line (its name in snake_case, its fields) and the metrics from it. The
names of events and metrics are part of the product: dashboards and alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from connectors.observability.events import Event

REGISTRY: Final = CollectorRegistry()

SAMPLES_ACQUIRED: Final = Counter(
    "lineside_samples_acquired_total", "Samples taken over from a device, after report by exception",
    ["device"], registry=REGISTRY,
)  # fmt: skip
SAMPLES_COMMITTED: Final = Counter(
    "lineside_samples_committed_total", "Samples that are on disk in the outbox", registry=REGISTRY
)
COMMITS: Final = Counter("lineside_commits_total", "Transactions of the outbox", registry=REGISTRY)
COMMIT_SECONDS: Final = Histogram(
    "lineside_commit_seconds", "Duration of one commit, fsync included",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5), registry=REGISTRY,
)  # fmt: skip
OUTBOX_BLOCKED: Final = Gauge("lineside_outbox_blocked", "1 while the disk takes no commit", registry=REGISTRY)
OUTBOX_BATCHES: Final = Gauge("lineside_outbox_batches", "Batches waiting for an acknowledgement", registry=REGISTRY)
OUTBOX_BYTES: Final = Gauge("lineside_outbox_bytes", "Size of the outbox on disk", registry=REGISTRY)
OUTBOX_USED_BYTES: Final = Gauge(
    "lineside_outbox_used_bytes", "Bytes of the outbox that are in use, free pages not counted", registry=REGISTRY
)
OUTBOX_LIMIT_BYTES: Final = Gauge(
    "lineside_outbox_limit_bytes", "Where samples begin to give way, as things are now", registry=REGISTRY
)
OUTBOX_SALVAGES: Final = Counter(
    "lineside_outbox_salvages_total", "Times that a damaged outbox was set aside and salvaged", registry=REGISTRY
)
BATCHES_LOST: Final = Counter(
    "lineside_batches_lost_total", "Batches that were committed and are not on the disk any more", registry=REGISTRY
)
SAMPLES_GIVEN_UP: Final = Counter(
    "lineside_samples_given_up_total", "Samples that gave way or grew too old; each is part of a declared gap",
    ["reason"], registry=REGISTRY,
)  # fmt: skip
DEVICE_ONLINE: Final = Gauge("lineside_device_online", "1 while the device is connected", ["device"], registry=REGISTRY)
DEVICE_CONNECTS: Final = Counter(
    "lineside_device_connects_total", "Connects of a device", ["device"], registry=REGISTRY
)
DEVICE_FAILURES: Final = Counter(
    "lineside_device_failures_total", "Lost or refused connections of a device", ["device"], registry=REGISTRY
)
TAG_PROBLEMS: Final = Gauge(
    "lineside_tag_problems", "Tags of a device that give no values", ["device"], registry=REGISTRY
)
DRIVER_EVENTS: Final = Counter(
    "lineside_driver_events_total",
    "What the driver of a device counts: requests, time_outs, missed_cycles, queue_overflows and others",
    ["device", "event"], registry=REGISTRY,
)  # fmt: skip
UPLINK_ONLINE: Final = Gauge("lineside_uplink_online", "1 while births are out on a broker", registry=REGISTRY)
CLOCK_ERROR_SECONDS: Final = Gauge(
    "lineside_clock_error_seconds", "The agent's clock less the host's; positive when it is ahead", registry=REGISTRY
)
UPLINK_FAILURES: Final = Counter(
    "lineside_uplink_failures_total", "Lost or refused connections to a broker", registry=REGISTRY
)
BATCHES_SENT: Final = Counter("lineside_batches_sent_total", "Batches published, resends included", registry=REGISTRY)
BATCHES_RESENT: Final = Counter("lineside_batches_resent_total", "Batches published again", registry=REGISTRY)
BATCHES_ACKNOWLEDGED: Final = Counter(
    "lineside_batches_acknowledged_total", "Batches that the cloud has", registry=REGISTRY
)
BATCHES_REFUSED: Final = Counter(
    "lineside_batches_refused_total", "Batches that the cloud will never take", registry=REGISTRY
)
MESSAGES_REFUSED: Final = Counter(
    "lineside_messages_refused_total", "Messages from the broker that the agent cannot follow", registry=REGISTRY
)
FAULTS: Final = Counter("lineside_faults_total", "Unexpected errors of a supervised task", ["task"], registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class AgentStarted(Event):
    """The agent runs; ``epoch`` is the identity of this start."""

    agent: str
    version: str
    epoch: str
    devices: int
    tags: int


@dataclass(frozen=True, slots=True)
class OutboxKeyMissing(Event):
    """Rows of the outbox are sealed with a key that `outbox.encryption` does not name.

    They are set aside, and declared as gaps with the reason `key_lost`, when it is their turn to be sent.
    """

    level: ClassVar[str] = "error"
    key_id: str


@dataclass(frozen=True, slots=True)
class AgentStopping(Event):
    """The agent was asked to stop."""

    signal: str


@dataclass(frozen=True, slots=True)
class AgentStopped(Event):
    """The agent has stopped; what was acquired is on disk, except for ``samples_lost``."""

    samples_lost: int


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
class SocketUnavailable(Event):
    """The socket that ``edge-agent`` commands speak to cannot be made; the agent works without it."""

    level: ClassVar[str] = "warning"
    path: str
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class MetricsUnavailable(Event):
    """The metrics cannot be served at their address, because another program has it, say; the agent works without."""

    level: ClassVar[str] = "warning"
    address: str
    reason: str
    retry_s: float


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


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """An unexpected error of a supervised task, which is started again."""

    level: ClassVar[str] = "error"
    task: str
    error: str
    traceback: str

    def measure(self) -> None:
        """See ``Event``."""
        FAULTS.labels(self.task).inc()
