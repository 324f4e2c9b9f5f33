"""Thinning: of each tag one value in a while is kept, so that a long outage leaves a coarser picture and not a hole.

Kept are the first value of every interval, every change of quality, and all values that are no numbers (states, texts).
Rows keep their numbers, so what arrived in full before is a duplicate and stays as it is.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, is_numeric
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from edge_agent.buffer.checksums import StoredRow, is_intact, with_checksum
from edge_agent.buffer.columns import pack_columns, unpack_columns
from edge_agent.buffer.giving_up import BYTES_AT_ONCE_MAX, OF_LANE, ROW_BYTES, GivingUp
from edge_agent.buffer.rows import Lane

INTERVALS_S: Final = (1, 10, 60)
"""When the whole outbox has been thinned with one of them, the next one follows."""

READ_AT_ONCE_MAX: Final = 4 * BYTES_AT_ONCE_MAX
_NEVER: Final = -(1 << 62)


class Thinning:
    """One walk through the outbox after the other, each with a longer interval; goes on where it was."""

    def __init__(self) -> None:
        self._level = 0
        self._after = 0
        self._memory = _Memory()

    @property
    def is_exhausted(self) -> bool:
        """Whether everything has been thinned with the longest interval."""
        return self._level >= len(INTERVALS_S)

    def begin_anew(self) -> None:
        """There is room again: what comes from now on is thinned with the shortest interval first."""
        self._level, self._after, self._memory = 0, 0, _Memory()

    @property
    def detail(self) -> str:
        """What is kept, for the gap record."""
        return f"thinned: of each tag, the first value of every {INTERVALS_S[self._level]} s is kept"

    def thin(self, connection: sqlite3.Connection, giving_up: GivingUp, bytes_min: int) -> None:
        """Thin rows until ``bytes_min`` are free, or enough was read for one transaction, or this walk has ended."""
        interval_ns = INTERVALS_S[self._level] * 1_000_000_000
        read_bytes = 0
        while giving_up.freed_bytes < bytes_min and read_bytes < READ_AT_ONCE_MAX:
            query = f"SELECT * FROM outbox WHERE batch>? AND {OF_LANE[Lane.SAMPLES]} ORDER BY batch LIMIT 1"  # noqa: S608
            row = connection.execute(query, (self._after,)).fetchone()
            if row is None:
                self._level, self._after, self._memory = self._level + 1, 0, _Memory()
                return
            self._after = row[0]
            if not is_intact(row):
                giving_up.set_aside(row)
                continue
            read_bytes += len(row[7])
            self._thin_row(connection, giving_up, row, interval_ns)

    def _thin_row(self, connection: sqlite3.Connection, giving_up: GivingUp, row: StoredRow, interval_ns: int) -> None:
        batch, epoch, kind, device, definition, created_ms, _count, payload, lane, _checksum = row
        try:
            parts = unpack_columns(giving_up.sealing.open_batch(payload, epoch, batch, lane))
        except PayloadInvalid:
            return  # its key is lost: it is set aside when it is its turn
        loss = giving_up.loss(epoch, device)  # type: ignore[arg-type]
        kept: list[SampleBatch] = []
        for part in parts:
            keep = self._memory.keep(part, interval_ns)
            loss.add(part.time_ns[~keep], part.tag[~keep])
            if keep.all():
                kept.append(part)
            elif keep.any():
                kept.append(part.select(keep))
        count = sum(len(part) for part in kept)
        if not count:
            giving_up.remove(batch, epoch)  # type: ignore[arg-type]
            giving_up.freed_bytes += len(payload) + ROW_BYTES
        elif count < sum(len(part) for part in parts):
            smaller = giving_up.sealing.seal_batch(pack_columns(kept), epoch, batch, lane)
            changed = with_checksum((batch, epoch, kind, device, definition, created_ms, count, smaller, lane))
            connection.execute(
                "UPDATE outbox SET payload=?, sample_count=?, checksum=? WHERE batch=?",
                (smaller, count, changed[-1], batch),
            )
            giving_up.freed_bytes += len(payload) - len(smaller)


class _Memory:
    """The interval and the quality of the last value of each alias."""

    def __init__(self) -> None:
        self._interval = np.empty(0, np.int64)
        self._quality = np.empty(0, np.int32)

    def keep(self, part: SampleBatch, interval_ns: int) -> NDArray[np.bool_]:
        """Which samples of ``part`` stay, in its order."""
        if not is_numeric(part.datatype) or part.datatype is DataType.DATETIME:
            return np.ones(len(part), np.bool_)
        self._grow(int(part.tag.max()) + 1)
        order = np.argsort(part.tag, kind="stable")
        tag = part.tag[order]
        interval = part.time_ns[order] // interval_ns
        quality = part.qualities()[order].astype(np.int32) | part.nulls()[order].astype(np.int32) << 16
        first = np.ones(len(tag), np.bool_)
        first[1:] = tag[1:] != tag[:-1]
        before, quality_before = np.roll(interval, 1), np.roll(quality, 1)
        before[first], quality_before[first] = self._interval[tag[first]], self._quality[tag[first]]
        last = np.roll(first, -1)
        self._interval[tag[last]], self._quality[tag[last]] = interval[last], quality[last]
        keep = np.empty(len(tag), np.bool_)
        keep[order] = (interval != before) | (quality != quality_before)
        return keep

    def _grow(self, size: int) -> None:
        more = size - len(self._interval)
        if more > 0:
            self._interval = np.append(self._interval, np.full(more, _NEVER, np.int64))
            self._quality = np.append(self._quality, np.full(more, -1, np.int32))
