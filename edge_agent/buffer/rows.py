"""What is in the outbox: stored batches and gap records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName


class Kind(IntEnum):
    """What a row of the outbox carries."""

    EPOCH_START = 0
    DEFINITION = 1
    GAP = 2
    SAMPLES = 3
    COMMAND = 4
    """What is told of commands: a report of one, or a hello (``connectors.commands.reports``)."""


class Lane(IntEnum):
    """The order in which rows leave, and in reverse the order in which they are given up when there is no room.

    Records are never given up: they are small, and without them the cloud could not read or explain the others.
    """

    RECORDS = 0
    ALARMS = 1
    SAMPLES = 2


@dataclass(frozen=True, slots=True)
class NewBatch:
    """Samples of one device under one definition that are to become one row (``tag`` holds aliases).

    ``behind_ns``: samples so much older than the newest one, and a lag of the device, may not have been taken yet.
    ``is_history``: they say nothing of how far the device's samples have come.
    """

    device: DeviceName
    definition: DefinitionHash
    parts: tuple[SampleBatch, ...]
    lane: Lane = Lane.SAMPLES
    behind_ns: int = 0
    is_history: bool = False


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A row of the outbox. ``parts`` for samples, ``record`` (bytes) for everything else.

    ``unreadable`` says why a row has neither: it is damaged, or its key is lost.
    """

    number: BatchNumber
    epoch: Epoch
    kind: Kind
    device: DeviceName
    definition: DefinitionHash
    created_ms: int
    sample_count: int
    size_bytes: int
    parts: tuple[SampleBatch, ...] = ()
    record: bytes = b""
    lane: Lane = Lane.RECORDS
    unreadable: str = ""


class GapReason:
    """Why samples are missing; the words are part of the protocol (docs/protocol/delivery.md)."""

    AGENT_NOT_RUNNING = "agent_not_running"
    DEVICE_UNAVAILABLE = "device_unavailable"
    REFUSED = "refused"
    KEY_LOST = "key_lost"
    OUTBOX_FULL = "outbox_full"
    DISK_FULL = "disk_full"
    TOO_OLD = "too_old"
    THINNED = "thinned"
    OUTBOX_DAMAGED = "outbox_damaged"
    CLOCK_SET = "clock_set"
    DEVICE_OVERFLOW = "device_overflow"
    POLLED_LATE = "polled_late"
    RECONFIGURED = "reconfigured"


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that are not there, declared: of ``device``, between two times on either clock, and why.

    ``first_ns`` and ``last_ns`` are nanoseconds since 1970, UTC; what lies between them may be missing. ``count`` is
    the number of samples where it is known, ``tags`` their names (``None``: any tag of the device). ``epoch`` (as
    ``format_epoch`` has it) and ``batches`` (ranges, first to last) name the batches that are given up with it.
    """

    device: DeviceName
    reason: str
    first_ns: int
    last_ns: int
    count: int | None = None
    tags: tuple[str, ...] | None = None
    detail: str = ""
    epoch: str | None = None
    batches: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> bytes:
        """The record as it travels."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode()


def read_gap(record: bytes) -> Gap | None:
    """What ``Gap.to_json`` has written; ``None`` when the record is none."""
    try:
        document = json.loads(record)
        tags, batches = document["tags"], tuple((int(first), int(last)) for first, last in document["batches"])
        return Gap(
            DeviceName(str(document["device"])),
            str(document["reason"]),
            int(document["first_ns"]),
            int(document["last_ns"]),
            None if document["count"] is None else int(document["count"]),
            None if tags is None else tuple(map(str, tags)),
            str(document["detail"]),
            None if document["epoch"] is None else str(document["epoch"]),
            batches,
        )
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap that has begun and not ended: it is closed by the first samples that are committed afterwards."""

    device: DeviceName
    reason: str
    first_ns: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EpochSpan:
    """The batch numbers that one start of the agent gave: first to last; none when last is before first."""

    epoch: Epoch
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The outbox in numbers, for people and metrics."""

    batches: int
    samples: int
    file_bytes: int
    oldest_ms: int | None
    newest: int
    epoch: Epoch

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
