"""The events of the cloud side, but for those of the ingest (``ingest_events``).

Each says which metrics (``metrics``) and obstacles it changes. The names are part of the product: dashboards and alerts
depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import (
    DEAD_LETTERS,
    DUPLICATES,
    FAULTS,
    GAPS,
    LAG,
    LAG_SECONDS,
    NOT_PUBLISHED,
    PACKED_SAMPLES,
    PARKED,
    PLACES_SET_BACK,
    RECORDS_EXPIRED,
    ROLLUPS,
    SAMPLES_STORED,
    STORING_FAILURES,
    TRANSACTION_SECONDS,
    TRANSACTIONS,
)
from cloud_ingest.observability.obstacles import HISTORIAN_LAG, LOG_RETENTION, OBSTACLES, fault_of, historian_partition
from connectors.observability.events import Event


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
class TimescaleFound(Event):
    """The database has the extension timescaledb; when it does not keep the samples, ``reason`` says why."""

    is_used: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PortWaiting(Event):
    """A port is taken at the start: it is tried for ``wait_s``, in case an earlier process is about to end."""

    level: ClassVar[str] = "warning"
    place: str
    wait_s: float


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
class UnreadKept(Event):
    """The log (on PostgreSQL) keeps ``pieces`` of a topic beyond the retention: the historian has not stored them."""

    level: ClassVar[str] = "warning"
    topic: str
    pieces: int

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(
            LOG_RETENTION,
            f"{self.pieces} pieces of {self.topic} are older than its retention and kept, because the historian has "
            "not stored them; the disk fills meanwhile. Look whether the historian runs, and what it waits for.",
        )


@dataclass(frozen=True, slots=True)
class UnreadDroppedAgain(Event):
    """Nothing of a topic is kept beyond the retention any more: the historian has stored it."""

    topic: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(LOG_RETENTION)


@dataclass(frozen=True, slots=True)
class PartitionLeft(Event):
    """The historian no longer reads a partition."""

    topic: str
    partition: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(historian_partition(self.partition))
        OBSTACLES.gone(fault_of(historian_partition(self.partition)))


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
class StoringFailed(Event):
    """One message cannot be stored, and it is not clear whether that is its own fault: it is tried again.

    After some tries it is set aside. ``traceback`` shows a defect of Lineside; it is empty when PostgreSQL has refused.
    """

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    reason: str
    tries: int
    traceback: str

    def measure(self) -> None:
        """See ``Event``."""
        STORING_FAILURES.inc()


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
class RolledUp(Event):
    """Minutes and hours of tags were rolled up, late samples included."""

    level: ClassVar[str] = ""
    intervals: int
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        ROLLUPS.inc(self.intervals)


@dataclass(frozen=True, slots=True)
class DayPacked(Event):
    """A closed day, or what came late to it, was packed; sizes with indexes, of the day's rows and arrays."""

    partition: str
    samples: int
    bytes_before: int
    bytes_after: int
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        PACKED_SAMPLES.inc(self.samples)


@dataclass(frozen=True, slots=True)
class RetentionApplied(Event):
    """Something was older than its table keeps, and deleted: a partition, or rows."""

    table: str
    what: str


@dataclass(frozen=True, slots=True)
class StoreWaiting(Event):
    """The database or the event log cannot be used: ``task`` waits, loses nothing, and tries again after ``retry_s``.

    The task is ``start``, ``ingest`` (to be the host), ``ingest sharing``, ``ingest refused`` (to set aside what the
    log refuses), ``historian``, ``historian partition N``, or ``upkeep``.
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
        OBSTACLES.stands(
            fault_of(self.task),
            f"a defect has ended it, and it was started again: {self.error}. Please report it, "
            "with the traceback from the log.",
        )


@dataclass(frozen=True, slots=True)
class FaultOver(Event):
    """A task that had a fault has run steadily since."""

    task: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(fault_of(self.task))


@dataclass(frozen=True, slots=True)
class LagMeasured(Event):
    """How far the historian of one partition is behind."""

    level: ClassVar[str] = ""
    partition: int
    records: int
    behind_s: float

    def measure(self) -> None:
        """See ``Event``."""
        LAG.labels(str(self.partition)).set(self.records)
        LAG_SECONDS.labels(str(self.partition)).set(self.behind_s)


@dataclass(frozen=True, slots=True)
class HistorianBehind(Event):
    """This process stores more slowly than records come; said again when the delay has doubled."""

    level: ClassVar[str] = "warning"
    partition: int
    records: int
    behind_s: int

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(
            HISTORIAN_LAG,
            f"partition {self.partition} is more than {self.behind_s} s behind, with {self.records} records that are "
            "not stored. Look whether PostgreSQL is slow (lineside_historian_transaction_seconds), or whether this "
            "machine is busy; more processes of the historian share the partitions.",
        )


@dataclass(frozen=True, slots=True)
class HistorianCaughtUp(Event):
    """No partition of this process is far behind any more."""

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(HISTORIAN_LAG)
