"""How large and how old the outbox may become, and what is given up then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from edge_agent.buffer.rows import GapReason, Lane

HIGH_MARK: Final = 0.98
LOW_MARK: Final = 0.95
"""At the high mark of a bound room is made, down to the low mark: so that there is one gap record for many commits."""


class WhenFull(StrEnum):
    """What gives way when there is no room."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    THIN = "thin"


_POLICIES: Final = MappingProxyType({Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: WhenFull.DROP_OLDEST})


@dataclass(frozen=True, slots=True)
class OutboxBounds:
    """Bounds of one outbox. ``bytes_max`` counts the database and its write-ahead log."""

    bytes_max: int = 1 << 62
    age_s_max: float | None = None
    free_disk_bytes_min: int = 0
    ballast_bytes: int = 0
    policies: Mapping[Lane, WhenFull] = field(default_factory=lambda: _POLICIES)


@dataclass(frozen=True, slots=True)
class Room:
    """What the outbox takes now.

    Bytes in use, bytes of the file (free pages count in this one only), bytes of its write-ahead log at its largest,
    and bytes that the file system has left.
    """

    used_bytes: int
    file_bytes: int
    wal_bytes: int
    free_disk_bytes: int


@dataclass(frozen=True, slots=True)
class Limit:
    """The bound that counts now: bytes in use (without the log), and why something is given up at it."""

    bytes_max: int
    reason: str

    def excess_bytes(self, used_bytes: int) -> int:
        """How much has to go, down to the low mark; 0 below the high mark."""
        return max(1, used_bytes - int(self.bytes_max * LOW_MARK)) if used_bytes > self.bytes_max * HIGH_MARK else 0

    def is_relieved(self, used_bytes: int) -> bool:
        """Whether there is room again for what was not taken."""
        return used_bytes <= self.bytes_max * LOW_MARK


def limit_of(bounds: OutboxBounds, room: Room) -> Limit:
    """The bound that counts for ``room``.

    While the disk has less left than it should, the file does not grow: new rows take the place of old ones. A small
    file may still grow by the size of the ballast, which has been given up before.
    """
    own = Limit(max(0, bounds.bytes_max - room.wal_bytes), GapReason.OUTBOX_FULL)
    if room.free_disk_bytes >= bounds.free_disk_bytes_min:
        return own
    disk = Limit(max(room.file_bytes, bounds.ballast_bytes), GapReason.DISK_FULL)
    return min(own, disk, key=lambda limit: limit.bytes_max)
