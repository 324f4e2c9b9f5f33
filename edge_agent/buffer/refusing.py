"""Batches that will never be sent: refused by the cloud, damaged, or sealed with a key that is lost.

The row is set aside, and gaps say so, in one transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from connectors.model.delivery import BatchNumber, BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.checksums import StoredRow, is_intact
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.losses import Losses, around, known_devices, known_epochs, spread
from edge_agent.buffer.rows import Gap, GapReason, Kind, read_gap
from edge_agent.buffer.sealing import KeyLost, Sealing

RANGES_AGAIN_MAX: Final = 20
DETAIL_LENGTH_MAX: Final = 200
_AGAIN: Final = "; told again for "
_SET_ASIDE: Final = "INSERT OR IGNORE INTO refused VALUES (?,?,?,?,?,?,?,?,?)"


def set_aside(
    connection: sqlite3.Connection, sealing: Sealing, epoch: Epoch, number: int, reason: str, now_ms: int
) -> list[Gap]:
    """Set a row aside; the gaps that declare it, none when there is no such row."""
    row = connection.execute("SELECT * FROM outbox WHERE batch=?", (number,)).fetchone()
    if row is None:
        return []
    if not is_intact(row):
        return set_aside_damaged(connection, row, now_ms)
    _, found, kind, device, definition, created_ms, count, payload, lane, _ = row
    if found != epoch:
        return []
    connection.execute("DELETE FROM outbox WHERE batch=?", (number,))
    connection.execute(_SET_ASIDE, (number, epoch, device, definition, created_ms, count, payload, reason, now_ms))
    first_ns = last_ns = created_ms * 1_000_000
    why = GapReason.REFUSED
    detail = f"batch {number} of epoch {format_epoch(epoch)}: {reason}"
    numbers = ((BatchNumber(number), BatchNumber(number)),)
    try:
        record = sealing.open_batch(payload, epoch, number, lane)
        if kind == Kind.GAP and (told := read_gap(record)) is not None:
            return _told_again(told, epoch, number, reason)
        if kind == Kind.SAMPLES:
            times = [part.time_ns for part in unpack_columns(record)]
            first_ns = min(int(column.min()) for column in times)
            last_ns = max(int(column.max()) for column in times)
    except KeyLost:
        why = GapReason.KEY_LOST
    except PayloadInvalid:  # what was sealed does not open: the time of its commit has to do
        why = GapReason.OUTBOX_DAMAGED
    return [Gap(DeviceName(device), why, first_ns, last_ns, count, None, detail, format_epoch(epoch), numbers)]


def _told_again(told: Gap, epoch: Epoch, number: int, reason: str) -> list[Gap]:
    """A gap record will never be taken: what it told of is told by others, which explain its number too.

    They are smaller, as it may have been too large: its tags become any tag of the device, its numbers come in pieces.
    """
    own, named = format_epoch(epoch), BatchRanges(told.batches)
    if told.epoch in (None, own):
        named.add(number)
        pieces = [(own, piece) for piece in _pieces(named)]
    else:
        pieces = [(str(told.epoch), piece) for piece in _pieces(named)] + [(own, ((number, number),))]
    detail, _, _ = told.detail.partition(_AGAIN)
    detail = f"{detail[:DETAIL_LENGTH_MAX]}{_AGAIN}batch {number} of epoch {own}: {reason[:DETAIL_LENGTH_MAX]}"
    count = told.count
    gaps: list[Gap] = []
    for of, batches in pieces:
        gaps.append(Gap(told.device, told.reason, told.first_ns, told.last_ns, count, None, detail, of, batches))
        count = None if count is None else 0  # samples count once
    return gaps


def _pieces(ranges: BatchRanges) -> list[tuple[tuple[int, int], ...]]:
    every = tuple(ranges)
    return [every[at : at + RANGES_AGAIN_MAX] for at in range(0, len(every), RANGES_AGAIN_MAX)]


def set_aside_damaged(connection: sqlite3.Connection, row: StoredRow, now_ms: int) -> list[Gap]:
    """Set aside a row that is not as it was written; the gaps that declare it.

    It may have been anything: of any device, with a number between its neighbours.

    Where it may have been a record, it may have told of a gap as old as anything that waits.
    """
    number = row[0]
    batches, (first_ms, last_ms) = around(connection, number)
    connection.execute("DELETE FROM outbox WHERE batch=?", (number,))
    connection.execute(_SET_ASIDE, (*row[:2], *row[3:8], "its checksum is wrong", now_ms))
    epochs = known_epochs(connection)
    if row[2] != Kind.SAMPLES or not row[6] or not row[8]:
        first_ms = min((epoch.started_ms for epoch in epochs), default=0)
    detail = f"row {number} of the outbox was damaged"
    losses = Losses(
        spread([batches], epochs), first_ms, max(first_ms, last_ms or now_ms), detail, known_devices(connection)
    )
    return list(losses.gaps())
