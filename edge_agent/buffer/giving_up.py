"""Rows that are given up, and the gap records that say so; everything here runs inside a transaction of the outbox.

What is removed and the record of it are one transaction. A row that was sent may arrive all the same: the ledger then
counts it as arrived, so a record may say too much and never too little.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.losses import RANGES_MAX
from edge_agent.buffer.rows import Gap, Lane
from edge_agent.buffer.sealing import PLAIN, Sealing, alias_place

BYTES_AT_ONCE_MAX: Final = 16 * 1024 * 1024
"""At most so much is given up in one transaction, so that a commit is never held up for long."""

TAGS_NAMED_MAX: Final = 100
ROW_BYTES: Final = 100
"""What a row takes besides its payload, about."""

_Row = tuple[int, Epoch, DeviceName, int, int, bytes]
"""Batch, epoch, device, created_ms, sample_count, payload as it is stored."""


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

    def add_unreadable(self, count: int, created_ms: int) -> None:
        """A damaged row: the time of its commit has to do, and its tags are not known."""
        self.first_ns = min(self.first_ns, created_ms * 1_000_000)
        self.last_ns = max(self.last_ns, created_ms * 1_000_000)
        self.count += count
        self.aliases = None


class GivingUp:
    """Gathers what one transaction gives up for one reason."""

    def __init__(self, connection: sqlite3.Connection, reason: str, detail: str, sealing: Sealing = PLAIN) -> None:
        self._connection = connection
        self.sealing = sealing
        self._reason = reason
        self._detail = detail
        self._losses: dict[tuple[Epoch, DeviceName], Loss] = {}
        self._batches: dict[Epoch, BatchRanges] = {}
        self.freed_bytes = 0
        self.rows = 0

    @property
    def samples(self) -> int:
        """How many samples were given up."""
        return sum(loss.count for loss in self._losses.values())

    def loss(self, epoch: Epoch, device: DeviceName) -> Loss:
        """What is lost of a device."""
        return self._losses.setdefault((epoch, device), Loss())

    def remove(self, batch: int, epoch: Epoch) -> None:
        """The row is gone, and its number explained."""
        self._connection.execute("DELETE FROM outbox WHERE batch=? AND epoch=?", (batch, epoch))
        self._batches.setdefault(epoch, BatchRanges()).add(batch)
        self.rows += 1

    def drop_oldest(
        self, lane: Lane, bytes_min: int, may_go: Callable[[Epoch, int], bool] = lambda _epoch, _created_ms: True
    ) -> None:
        """Drop rows of ``lane`` from the oldest on, until so much is free or one may not go (epoch, time in ms)."""
        for row in _rows(self._connection, lane, 0):
            batch, epoch, device, created_ms, _count, payload = row
            if not may_go(epoch, created_ms):
                return
            self._add_row(self.loss(epoch, device), row, lane)
            self.remove(batch, epoch)
            self.freed_bytes += len(payload) + ROW_BYTES
            if self.freed_bytes >= min(bytes_min, BYTES_AT_ONCE_MAX):
                return

    def _add_row(self, loss: Loss, row: _Row, lane: Lane) -> None:
        batch, epoch, _device, created_ms, count, payload = row
        try:
            parts = unpack_columns(self.sealing.open_batch(payload, epoch, batch, lane))
        except PayloadInvalid:
            loss.add_unreadable(count, created_ms)
            return
        for part in parts:
            loss.add(part.time_ns, part.tag)

    def gaps(self) -> Iterator[Gap]:
        """The records: one a device and epoch; the first one of an epoch names the numbers of all of them.

        Where these are more than ``RANGES_MAX`` ranges, further records without a count name the others.
        """
        named: set[Epoch] = set()
        for (epoch, device), loss in self._losses.items():
            if not loss.count:
                continue
            ranges = () if epoch in named else tuple(self._batches.get(epoch, BatchRanges()))
            named.add(epoch)
            tags = tag_names(self._connection, loss.aliases, self.sealing)
            for at in range(0, max(1, len(ranges)), RANGES_MAX):
                batches = ranges[at : at + RANGES_MAX]
                yield Gap(
                    device,
                    self._reason,
                    loss.first_ns,
                    loss.last_ns,
                    None if at else loss.count,
                    tags,
                    self._detail,
                    format_epoch(epoch) if batches else None,
                    batches,
                )


def note_not_taken(connection: sqlite3.Connection, device: DeviceName, parts: Sequence[SampleBatch], reason: str,
                   now_ms: int) -> None:  # fmt: skip
    """Samples that came while there was no room: kept as a sum for each device until ``told_not_taken``."""
    loss = Loss()
    row = connection.execute(
        "SELECT first_ns, last_ns, sample_count, aliases FROM not_taken WHERE device=? AND reason=?", (device, reason)
    ).fetchone()
    if row is not None:
        loss = Loss(row[0], row[1], row[2], None if row[3] is None else set(json.loads(row[3])))
    for part in parts:
        loss.add(part.time_ns, part.tag)
    aliases = None if loss.aliases is None else json.dumps(sorted(loss.aliases))
    connection.execute(
        "INSERT INTO not_taken VALUES (?,?,?,?,?,?,?) ON CONFLICT (device, reason) DO UPDATE SET "
        "first_ns=excluded.first_ns, last_ns=excluded.last_ns, sample_count=excluded.sample_count, "
        "aliases=excluded.aliases",
        (device, reason, loss.first_ns, loss.last_ns, loss.count, aliases, now_ms),
    )


def told_not_taken(
    connection: sqlite3.Connection, since_ms_max: int | None = None, *, sealing: Sealing = PLAIN
) -> list[Gap]:
    """The gap records of what was not taken; only of what began before a time, if one is given."""
    query, bound = "DELETE FROM not_taken", ()
    if since_ms_max is not None:
        query, bound = f"{query} WHERE since_ms<=?", (since_ms_max,)  # type: ignore[assignment]
    rows = connection.execute(f"{query} RETURNING device, reason, first_ns, last_ns, sample_count, aliases", bound)
    return [
        Gap(
            DeviceName(device),
            reason,
            first_ns,
            last_ns,
            count,
            tag_names(connection, None if aliases is None else json.loads(aliases), sealing),
            "there was no room, and what comes last gives way (when_full: drop_newest)",
        )
        for device, reason, first_ns, last_ns, count, aliases in rows.fetchall()
    ]


def tag_names(
    connection: sqlite3.Connection, aliases: Iterable[int] | None, sealing: Sealing = PLAIN
) -> tuple[str, ...] | None:
    """The names of these aliases, in order; ``None`` stands for any tag."""
    if aliases is None:
        return None
    wanted = sorted(aliases)
    marks = ",".join("?" * len(wanted))
    rows = connection.execute(f"SELECT alias, name FROM alias WHERE alias IN ({marks})", wanted)  # noqa: S608
    try:
        names = {sealing.open_text(name, alias_place(alias)) for alias, name in rows}
    except PayloadInvalid:
        return None
    return tuple(sorted(names)) or None


def _rows(connection: sqlite3.Connection, lane: Lane, after: int) -> Iterator[_Row]:
    """Rows of ``lane`` in order, a few at a time: they are deleted and changed while this goes on."""
    while True:
        rows = connection.execute(
            "SELECT batch, epoch, device, created_ms, sample_count, payload FROM outbox "
            "WHERE batch>? AND lane=? ORDER BY batch LIMIT 16",
            (after, lane),
        ).fetchall()
        yield from rows
        if not rows:
            return
        after = rows[-1][0]
