"""Every event and every metric of the cloud side.

The names are part of the product: dashboards and alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cloud_ingest.observability.obstacles import INGEST, INGEST_LOG, OBSTACLES, historian_partition
from connectors.observability.events import Event

REGISTRY: Final = CollectorRegistry()

MESSAGES: Final = Counter("lineside_ingest_messages_total", "Sparkplug messages from the broker", registry=REGISTRY)
MESSAGE_BYTES: Final = Counter("lineside_ingest_bytes_total", "Bytes of these messages", registry=REGISTRY)
APPENDS: Final = Counter("lineside_ingest_appends_total", "Appends to the event log", registry=REGISTRY)
APPEND_SECONDS: Final = Histogram(
    "lineside_ingest_append_seconds", "Duration of one append, durability included",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5), registry=REGISTRY,
)  # fmt: skip
PENDING_BYTES: Final = Gauge("lineside_ingest_pending_bytes", "Bytes not in the event log yet", registry=REGISTRY)
ACKNOWLEDGED: Final = Counter("lineside_ingest_batches_acknowledged_total", "Batches acknowledged", registry=REGISTRY)
MESSAGES_DROPPED: Final = Counter(
    "lineside_ingest_messages_dropped_total",
    "Messages not taken while too many waited for the event log: batches, which come again, and others last",
    registry=REGISTRY,
)
LOG_ENDS_LOST: Final = Counter("lineside_ingest_log_ends_lost_total", "Partitions with a lost end", registry=REGISTRY)
REFUSED: Final = Counter("lineside_ingest_messages_refused_total", "Messages refused by the log", registry=REGISTRY)
BROKER_ONLINE: Final = Gauge("lineside_ingest_broker_online", "1 while the host is online", registry=REGISTRY)
BROKER_FAILURES: Final = Counter("lineside_ingest_broker_failures_total", "Failed connections", registry=REGISTRY)
LOG_FAILURES: Final = Counter("lineside_ingest_log_failures_total", "Appends that did not succeed", registry=REGISTRY)
REBIRTHS: Final = Counter("lineside_ingest_rebirths_asked_total", "Rebirths asked of nodes", registry=REGISTRY)

SAMPLES_STORED: Final = Counter("lineside_historian_samples_total", "Samples stored", registry=REGISTRY)
TRANSACTIONS: Final = Counter("lineside_historian_transactions_total", "Transactions committed", registry=REGISTRY)
TRANSACTION_SECONDS: Final = Histogram(
    "lineside_historian_transaction_seconds", "Duration of one transaction, decoding left out",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 20), registry=REGISTRY,
)  # fmt: skip
DUPLICATES: Final = Counter("lineside_historian_duplicates_total", "Batches that came again", registry=REGISTRY)
DEAD_LETTERS: Final = Counter("lineside_historian_dead_letters_total", "Messages set aside", registry=REGISTRY)
GAPS: Final = Counter("lineside_historian_gaps_total", "Gaps declared by agents or seen in nodes", registry=REGISTRY)
NOT_PUBLISHED: Final = Counter(
    "lineside_historian_unpublished_total", "Batches that the samples topic does not take", registry=REGISTRY
)
PLACES_SET_BACK: Final = Counter(
    "lineside_historian_places_set_back_total", "Partitions whose log had lost its end", registry=REGISTRY
)
RECORDS_EXPIRED: Final = Counter(
    "lineside_historian_records_expired_total", "Records that the log deleted before they were read", registry=REGISTRY
)
PARKED: Final = Counter("lineside_historian_parked_total", "Batches parked for their definition", registry=REGISTRY)
LAG: Final = Gauge(
    "lineside_historian_lag_records", "Records that are not stored yet", ["partition"], registry=REGISTRY
)
FAULTS: Final = Counter(
    "lineside_cloud_faults_total", "Unexpected errors of a supervised task", ["task"], registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class CloudStarted(Event):
    """The program runs these roles."""

    roles: str
    version: str
    event_log: str


@dataclass(frozen=True, slots=True)
class CloudStopping(Event):
    """The program was asked to stop."""

    signal: str


@dataclass(frozen=True, slots=True)
class CloudStopped(Event):
    """The program has stopped."""


@dataclass(frozen=True, slots=True)
class Migrated(Event):
    """Migrations were applied."""

    migrations: str


@dataclass(frozen=True, slots=True)
class PortWaiting(Event):
    """A port is taken at the start: it is tried for ``wait_s``, in case an earlier process is about to end."""

    level: ClassVar[str] = "warning"
    place: str
    wait_s: float


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


@dataclass(frozen=True, slots=True)
class PartitionAssigned(Event):
    """The historian reads a partition of the log from this offset on."""

    topic: str
    partition: int
    offset: int

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(historian_partition(self.partition))


@dataclass(frozen=True, slots=True)
class PlaceSetBack(Event):
    """The log, which ends at ``end`` now, has lost what stood before ``place``: the historian goes on at ``offset``."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    place: int
    offset: int
    end: int

    def measure(self) -> None:
        """See ``Event``."""
        PLACES_SET_BACK.inc()


@dataclass(frozen=True, slots=True)
class RecordsExpired(Event):
    """The log no longer has records that the historian has not read: its retention was shorter than the delay."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    count: int

    def measure(self) -> None:
        """See ``Event``."""
        RECORDS_EXPIRED.inc(self.count)


@dataclass(frozen=True, slots=True)
class PartitionLeft(Event):
    """The historian no longer reads a partition."""

    topic: str
    partition: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(historian_partition(self.partition))


@dataclass(frozen=True, slots=True)
class Stored(Event):
    """One transaction of the historian is committed."""

    level: ClassVar[str] = ""
    samples: int
    duplicates: int
    gaps: int
    parked: int
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        SAMPLES_STORED.inc(self.samples)
        TRANSACTIONS.inc()
        TRANSACTION_SECONDS.observe(self.duration_s)
        for metric, count in ((DUPLICATES, self.duplicates), (GAPS, self.gaps), (PARKED, self.parked)):
            if count:
                metric.inc(count)


@dataclass(frozen=True, slots=True)
class DeadLettered(Event):
    """A message was set aside; it counts as missing until a person closes it."""

    level: ClassVar[str] = "error"
    topic: str
    size_bytes: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        DEAD_LETTERS.inc()


@dataclass(frozen=True, slots=True)
class SamplesNotPublished(Event):
    """A batch is stored, but too large for a record of the samples topic: names take more room than aliases."""

    level: ClassVar[str] = "error"
    agent: str
    size_bytes: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        NOT_PUBLISHED.inc()


@dataclass(frozen=True, slots=True)
class StoreWaiting(Event):
    """The database or the event log cannot be used: ``task`` waits, loses nothing, and tries again after ``retry_s``.

    The task is ``start``, ``ingest`` (to be the host), ``historian``, or ``historian partition N``.
    """

    level: ClassVar[str] = "warning"
    task: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(self.task, self.reason)


@dataclass(frozen=True, slots=True)
class StoreReached(Event):
    """The database and the event log can be used again: ``task`` goes on."""

    task: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(self.task)


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
