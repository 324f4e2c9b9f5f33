"""Rows that are given up; everything here runs inside a transaction of the outbox.

What is removed and the sum of it (``telling.py``) are one transaction. A row that was sent may arrive all the same: the
ledger then counts it as arrived, so a record may say too much and never too little.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceName
from edge_agent.buffer.checksums import StoredRow, is_intact
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.refusing import set_aside_damaged
from edge_agent.buffer.rows import Gap, Lane
from edge_agent.buffer.sealing import PLAIN, Sealing

BYTES_AT_ONCE_MAX: Final = 16 * 1024 * 1024
"""At most so much is given up in one transaction, so that a commit is never held up for long."""

TAGS_NAMED_MAX: Final = 100
ROW_BYTES: Final = 100
"""What a row takes besides its payload, about."""

OF_LANE: Final = {
    Lane.RECORDS: "lane<2 AND lane=0",
    Lane.ALARMS: "lane<2 AND lane<>0",
    Lane.SAMPLES: "NOT coalesce(lane<2, 0)",
}
"""Conditions on rows. The first part of each lets SQLite use the index on what is urgent. A row whose lane is damaged
meets one of them: else nobody would ever find it."""


MayGo = Callable[[Epoch, int], bool]
"""Whether a row of this epoch, committed at this time in ms, may be given up."""


def always(_epoch: Epoch, _created_ms: int) -> bool:
    """See ``MayGo``."""
    return True


@dataclass(slots=True)
class Loss:
    """What one device loses, until it becomes a gap record."""

    first_ns: int = (1 << 63) - 1
    last_ns: int = -(1 << 63)
    count: int = 0
    aliases: set[int] | None = field(default_factory=set)

    def add(self, time_ns: NDArray[np.int64], tag: NDArray[np.int32]) -> None:
        """Samples that are lost, by time and alias."""
        if not len(time_ns):
            return
        self.first_ns = min(self.first_ns, int(time_ns.min()))
        self.last_ns = max(self.last_ns, int(time_ns.max()))
        self.count += len(time_ns)
        if self.aliases is not None:
            self.aliases.update(np.unique(tag).tolist())
            if len(self.aliases) > TAGS_NAMED_MAX:
                self.aliases = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lost: there are no times then."""
        return self.first_ns > self.last_ns

    def add_unreadable(self, count: int, created_ms: int) -> None:
        """A row that cannot be opened: the time of its commit has to do, and its tags are not known."""
        self.first_ns = min(self.first_ns, created_ms * 1_000_000)
        self.last_ns = max(self.last_ns, created_ms * 1_000_000)
        self.count += count
        self.aliases = None

    def with_(self, other: Loss) -> Loss:
        """Both in one."""
        aliases = None if self.aliases is None or other.aliases is None else self.aliases | other.aliases
        return Loss(
            min(self.first_ns, other.first_ns),
            max(self.last_ns, other.last_ns),
            self.count + other.count,
            None if aliases is not None and len(aliases) > TAGS_NAMED_MAX else aliases,
        )


class GivingUp:
    """Gathers what one transaction gives up for one reason.

    ``damaged``: gap records of rows on the way that were not as they had been written, and are set aside.
    """

    def __init__(
        self, connection: sqlite3.Connection, reason: str, detail: str, sealing: Sealing = PLAIN, now_ms: int = 0
    ) -> None:
        self._connection = connection
        self.sealing = sealing
        self.reason = reason
        self.detail = detail
        self.now_ms = now_ms
        self.losses: dict[tuple[Epoch, DeviceName], Loss] = {}
        self.batches: dict[Epoch, BatchRanges] = {}
        self.damaged: list[Gap] = []
        self.freed_bytes = 0
        self.rows = 0

    @property
    def samples(self) -> int:
        """How many samples were given up."""
        return sum(loss.count for loss in self.losses.values())

    @property
    def has_losses(self) -> bool:
        """Whether anything was given up."""
        return any(not loss.is_empty for loss in self.losses.values())

    def loss(self, epoch: Epoch, device: DeviceName) -> Loss:
        """What is lost of a device."""
        return self.losses.setdefault((epoch, device), Loss())

    def remove(self, batch: int, epoch: Epoch) -> None:
        """The row is gone, and its number explained."""
        self._connection.execute("DELETE FROM outbox WHERE batch=? AND epoch=?", (batch, epoch))
        self.batches.setdefault(epoch, BatchRanges()).add(batch)
        self.rows += 1

    def set_aside(self, row: StoredRow) -> None:
        """A row that is damaged: what it says of itself, its start and device included, cannot be believed."""
        self.damaged += set_aside_damaged(self._connection, row, self.now_ms)

    def drop_oldest(
        self,
        lane: Lane,
        bytes_min: int,
        may_go: MayGo = always,
        after: int = 0,
    ) -> int:
        """Drop rows of ``lane`` from the oldest on, until so much is free or one may not go.

        ``after``: no row of the lane has this number or a lower one. Gives the same for the next time.
        """
        for row in _rows(self._connection, lane, after):
            if not is_intact(row):
                self.set_aside(row)
                after = row[0]
                continue
            batch, epoch, _kind, device, _definition, created_ms, _count, payload, _lane, _checksum = row
            if not may_go(Epoch(epoch), created_ms):
                return batch - 1
            self._add_row(self.loss(Epoch(epoch), DeviceName(device)), row)
            self.remove(batch, Epoch(epoch))
            after = batch
            self.freed_bytes += len(payload) + ROW_BYTES
            if self.freed_bytes >= min(bytes_min, BYTES_AT_ONCE_MAX):
                return after
        (newest,) = self._connection.execute("SELECT max(batch) FROM outbox").fetchone()
        return max(after, newest or 0)

    def _add_row(self, loss: Loss, row: StoredRow) -> None:
        batch, epoch, _kind, _device, _definition, created_ms, count, payload, lane, _checksum = row
        try:
            parts = unpack_columns(self.sealing.open_batch(payload, epoch, batch, lane))
        except PayloadInvalid:
            loss.add_unreadable(count, created_ms)
            return
        for part in parts:
            loss.add(part.time_ns, part.tag)
        if loss.is_empty:
            loss.add_unreadable(0, created_ms)

    def gaps(self) -> Iterator[Gap]:
        """What was given up, by device and epoch, for whoever reports it; the records are made later."""
        for (_epoch, device), loss in self.losses.items():
            if loss.count:
                yield Gap(device, self.reason, loss.first_ns, loss.last_ns, loss.count, None, self.detail)


def _rows(connection: sqlite3.Connection, lane: Lane, after: int) -> Iterator[StoredRow]:
    """Rows of ``lane`` in order, a few at a time: they are deleted and changed while this goes on."""
    query = f"SELECT * FROM outbox WHERE batch>? AND {OF_LANE[lane]} ORDER BY batch LIMIT ?"  # noqa: S608
    count = 1  # often the first one may not go, and all that is read beside it would be in vain
    while rows := connection.execute(query, (after, count)).fetchall():
        yield from rows
        after, count = rows[-1][0], 16
