"""Rows of the outbox as they are first written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer.checksums import INSERT_ROW, StoredRow, with_checksum
from edge_agent.buffer.columns import pack_columns
from edge_agent.buffer.rows import Kind, Lane, NewBatch, StoredBatch
from edge_agent.buffer.sealing import Sealing


class NewRows:
    """Writes rows of one epoch, within a transaction; each gets its number from ``take_number``."""

    def __init__(self, epoch: Epoch, sealing: Sealing, take_number: Callable[[], BatchNumber]) -> None:
        self._epoch = epoch
        self._sealing = sealing
        self._take_number = take_number

    def add_batches(
        self, connection: sqlite3.Connection, batches: Sequence[NewBatch], now_ns: int
    ) -> list[StoredBatch]:
        """Write samples, and note how far each device has come; the rows, in order."""
        now_ms = now_ns // 1_000_000
        inserts: list[StoredRow] = []
        rows: list[StoredBatch] = []
        newest: dict[DeviceName, int] = {}
        for batch in batches:
            count = sum(len(part) for part in batch.parts)
            number, kind, lane = self._take_number(), Kind.SAMPLES, batch.lane
            device, definition = batch.device, batch.definition
            payload = self._sealing.seal_batch(pack_columns(batch.parts), self._epoch, number, lane)
            row = (number, self._epoch, kind, device, definition, now_ms, count, payload, lane)
            inserts.append(with_checksum(row))
            size = len(payload)
            rows.append(
                StoredBatch(number, self._epoch, kind, device, definition, now_ms, count, size, batch.parts, lane=lane)
            )
            if batch.is_history:
                continue
            last_ns = max(int(part.time_ns.max()) for part in batch.parts) - batch.behind_ns
            newest[device] = max(newest.get(device, last_ns), last_ns)
        connection.executemany(INSERT_ROW, inserts)
        connection.executemany(
            "UPDATE device_state SET last_source_ns=?, last_commit_ns=? WHERE device=?",
            [(last_ns, now_ns, device) for device, last_ns in newest.items()],
        )
        return rows

    def add_record(
        self,
        connection: sqlite3.Connection,
        kind: Kind,
        device: DeviceName,
        definition: DefinitionHash,
        record: bytes,
        now_ms: int,
    ) -> StoredBatch:
        """Write whatever is no samples."""
        number = self._take_number()
        payload = self._sealing.seal_batch(record, self._epoch, number, Lane.RECORDS)
        row = (number, self._epoch, kind, device, definition, now_ms, 0, payload, Lane.RECORDS)
        connection.execute(INSERT_ROW, with_checksum(row))
        return StoredBatch(number, self._epoch, kind, device, definition, now_ms, 0, len(payload), record=record)
