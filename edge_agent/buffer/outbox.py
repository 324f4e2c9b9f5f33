"""The outbox: a durable queue of batches in SQLite (WAL).

Invariants, each held by the tests in tests/unit/buffer:

1. A batch is on disk before its number leaves this module; a number is given once in an epoch, in rising order.
2. Every start takes a fresh random epoch. A restored file or a lost WAL can give numbers again, never an
   (epoch, number) pair.
3. A row is deleted only by an acknowledgement (or a refusal, which declares a gap) that names its epoch and number.
4. One ``commit`` is one transaction: rows, device states, gaps that they close, and deletions, all or nothing.
5. An alias belongs to one (device, tag, type) for ever; a definition's row is older than any row that uses it, unless
   the cloud had refused it and the device told it anew (the sender then sends it first).
6. Every start declares the epochs before it, first to last number, until the cloud has acknowledged that it knows.

Not safe for two threads at once: ``writer.py`` gives it a thread of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchNumber, BatchRanges, Epoch, new_epoch
from connectors.model.errors import OutboxUnavailable, PayloadInvalid
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, MetricDefinition, TagType
from connectors.sparkplug.definition import make_definition, read_definition
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.ballast import Ballast
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.columns import pack_columns, unpack_columns
from edge_agent.buffer.epochs import begin_epoch
from edge_agent.buffer.giving_up import told_not_taken
from edge_agent.buffer.reading import stored_batch
from edge_agent.buffer.relief import Relief, ReliefStatus
from edge_agent.buffer.rows import Gap, GapReason, Kind, Lane, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.schema import Durability, open_outbox_file

ALIAS_FIRST: Final = 1 << 14
"""Aliases from here to 2,097,151 are three bytes on the wire, whichever it is: metrics of one type are equally long."""

_NO_DEFINITION: Final = DefinitionHash("")
_NO_DEVICE: Final = DeviceName("")


@dataclass(slots=True)
class Commit:
    """All that one transaction does."""

    batches: list[NewBatch] = field(default_factory=list)
    opened_gaps: list[OpenGap] = field(default_factory=list)
    closed_gaps: dict[DeviceName, int] = field(default_factory=dict)
    declared_gaps: list[Gap] = field(default_factory=list)
    acknowledged: dict[Epoch, BatchRanges] = field(default_factory=dict)
    refused: list[tuple[Epoch, int, str]] = field(default_factory=list)
    now_ns: int = 0
    now_s: float = 0.0
    """A monotonic time beside ``now_ns``."""
    given_up: list[Gap] = field(default_factory=list)
    """Filled by the outbox: what it gave up to make room."""

    def __bool__(self) -> bool:
        gaps = self.opened_gaps or self.closed_gaps or self.declared_gaps
        return bool(self.batches or gaps or self.acknowledged or self.refused)


class Outbox:
    """The outbox file of one agent, opened for one start of it."""

    def __init__(self, path: Path, durability: Durability, *, now_ms: int, bounds: OutboxBounds | None = None) -> None:
        """Open the file and begin a new epoch. Raises ``OutboxUnavailable``."""
        self.path = path
        self.epoch = new_epoch()
        self._next = 1
        self._bounds = bounds or OutboxBounds()
        try:
            self._open(durability, now_ms)
        except OutboxUnavailable:
            if not Ballast(path, self._bounds.ballast_bytes).give_up():
                raise
            self._open(durability, now_ms)  # a full disk has some room now

    def _open(self, durability: Durability, now_ms: int) -> None:
        self._connection = open_outbox_file(self.path, durability)
        self._relief = Relief(self._connection, self.path, self._bounds, self.epoch)
        try:
            self._begin_epoch(now_ms)
        except sqlite3.Error as exc:
            self._connection.close()
            raise OutboxUnavailable(f"the outbox {self.path} cannot be written: {exc}") from exc

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._connection.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def commit(self, work: Commit) -> list[StoredBatch]:
        """Carry out ``work`` in one transaction; the rows it added, in order.

        When a bound is reached, older or newer samples give way first, with a gap record in the same transaction
        (``work.given_up``). Raises ``OutboxUnavailable`` when the disk did not take it; then nothing of it happened.
        """
        try:
            return self._transaction(lambda rows: self._apply(work, rows))
        except sqlite3.Error as exc:
            if not _is_full(exc):
                raise OutboxUnavailable(f"the outbox {self.path} cannot be written: {exc}") from exc
        try:
            rows = self._make_room(work)
            return rows + self._transaction(lambda rows: self._apply(work, rows))
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be written: {exc}") from exc

    @property
    def relief(self) -> ReliefStatus:
        """How full the outbox was at the last commit."""
        return self._relief.status

    def define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int
    ) -> tuple[DeviceDefinition, list[StoredBatch]]:
        """The definition of ``device`` with these tags, and the rows that tell it to the cloud (none when it is known).

        Raises ``OutboxUnavailable``.
        """
        found: list[DeviceDefinition] = []
        try:
            rows = self._transaction(lambda rows: found.append(self._define(device, types, now_ms, rows)))
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be written: {exc}") from exc
        return found[-1], rows

    def next_bd_seq(self) -> int:
        """The bdSeq of the next CONNECT: one more than that of the last, 0 after 255; kept over restarts."""
        try:
            row = self._connection.execute("SELECT value FROM meta WHERE key='bd_seq'").fetchone()
            number = 0 if row is None else (int(row[0]) + 1) % 256
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('bd_seq', ?)", (number,))
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be written: {exc}") from exc
        return number

    # -- reading ---------------------------------------------------------------------------------------------------

    def definition(self, hash_: DefinitionHash) -> DeviceDefinition | None:
        """The definition with this hash; ``None`` when there is none, or when it is damaged."""
        row = self._connection.execute("SELECT body FROM definition WHERE hash=?", (hash_,)).fetchone()
        with contextlib.suppress(PayloadInvalid):
            found = read_definition(b"" if row is None else row[0])
            return found if found.hash == hash_ else None
        return None

    def waiting_definition(self, hash_: DefinitionHash) -> StoredBatch | None:
        """The row that tells the cloud this definition; ``None`` when none waits. Raises ``OutboxUnavailable``."""
        query = "SELECT * FROM outbox WHERE kind=? AND definition=? ORDER BY batch LIMIT 1"
        try:
            row = self._connection.execute(query, (Kind.DEFINITION, hash_)).fetchone()
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be read: {exc}") from exc
        return None if row is None else stored_batch(row)

    def acknowledged_definitions(self) -> set[DefinitionHash]:
        """The definitions that the cloud has."""
        return {
            DefinitionHash(row[0]) for row in self._connection.execute("SELECT hash FROM definition WHERE acknowledged")
        }

    def device_states(self) -> dict[DeviceName, tuple[DefinitionHash, int | None, int | None]]:
        """By device: its newest definition, the source time of its newest stored sample, and when that was stored."""
        query = "SELECT device, definition, last_source_ns, last_commit_ns FROM device_state"
        return {DeviceName(row[0]): (DefinitionHash(row[1]), row[2], row[3]) for row in self._connection.execute(query)}

    def open_gaps(self) -> dict[DeviceName, OpenGap]:
        """Gaps that have not been closed yet."""
        query = "SELECT device, reason, first_ns, detail FROM gap"
        return {DeviceName(row[0]): OpenGap(DeviceName(row[0]), *row[1:]) for row in self._connection.execute(query)}

    # -- inside a transaction --------------------------------------------------------------------------------------

    def _transaction(self, work: Callable[[list[StoredBatch]], object]) -> list[StoredBatch]:
        """Run ``work``, which adds rows to its list; all or nothing. Raises ``sqlite3.Error``."""
        rows: list[StoredBatch] = []
        before = self._next
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            work(rows)
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back(before)
            raise
        return rows

    def _make_room(self, work: Commit) -> list[StoredBatch]:
        """The disk is full: what the cloud has leaves at once, and rows give way, in a transaction of their own."""
        self._relief.give_up_ballast()
        made: list[Gap] = []

        def give_way(rows: list[StoredBatch]) -> None:
            made.clear()
            self._delete_acknowledged(work.acknowledged)
            made.extend(self._relief.force())
            self._add_gaps(made, work.now_ns // 1_000_000, rows)

        rows = self._transaction(give_way)
        work.given_up += made
        return rows

    def _define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int, rows: list[StoredBatch]
    ) -> DeviceDefinition:
        definition = make_definition(device, [self._metric(device, tag) for tag in types])
        self._connection.execute(
            "INSERT INTO definition (hash, device, body, created_ms) VALUES (?,?,?,?) "
            "ON CONFLICT (hash) DO UPDATE SET body=excluded.body WHERE body IS NOT excluded.body",
            (definition.hash, device, definition.body, now_ms),
        )
        if not self._is_told(definition.hash):
            rows.append(self._add_record(Kind.DEFINITION, device, definition.hash, definition.body, now_ms))
        self._connection.execute(
            "INSERT INTO device_state (device, definition) VALUES (?,?) "
            "ON CONFLICT (device) DO UPDATE SET definition=excluded.definition",
            (device, definition.hash),
        )
        return definition

    def _apply(self, work: Commit, rows: list[StoredBatch]) -> None:
        now_ms = work.now_ns // 1_000_000
        if work.acknowledged:
            self._delete_acknowledged(work.acknowledged)
        relieved = self._relief.relieve(now_ms, work.now_s)
        self._add_gaps(relieved, now_ms, rows)
        for epoch, number, reason in work.refused:
            self._set_aside(epoch, number, reason, now_ms, rows)
        for gap in work.opened_gaps:
            self._connection.execute(
                "INSERT OR IGNORE INTO gap (device, reason, first_ns, detail) VALUES (?,?,?,?)",
                (gap.device, gap.reason, gap.first_ns, gap.detail),
            )
        for device, last_ns in work.closed_gaps.items():
            self._close_gap(device, last_ns, now_ms, rows)
        self._add_gaps(work.declared_gaps, now_ms, rows)
        if work.batches and (taken := self._relief.takes(work.batches, now_ms)):
            self._add_batches(taken, work.now_ns, rows)
        work.given_up += relieved

    def _add_gaps(self, gaps: Iterable[Gap], now_ms: int, rows: list[StoredBatch]) -> None:
        rows += [self._add_record(Kind.GAP, gap.device, _NO_DEFINITION, gap.to_json(), now_ms) for gap in gaps]

    def _add_batches(self, batches: Sequence[NewBatch], now_ns: int, rows: list[StoredBatch]) -> None:
        now_ms = now_ns // 1_000_000
        inserts: list[tuple[object, ...]] = []
        newest: dict[DeviceName, int] = {}
        for batch in batches:
            payload = pack_columns(batch.parts)
            count = sum(len(part) for part in batch.parts)
            number = self._take_number()
            inserts.append(
                (number, self.epoch, Kind.SAMPLES, batch.device, batch.definition, now_ms, count, payload, batch.lane)
            )
            rows.append(
                StoredBatch(
                    number,
                    self.epoch,
                    Kind.SAMPLES,
                    batch.device,
                    batch.definition,
                    now_ms,
                    count,
                    len(payload),
                    batch.parts,
                    lane=batch.lane,
                )
            )
            last_ns = max(int(part.time_ns.max()) for part in batch.parts)
            newest[batch.device] = max(newest.get(batch.device, last_ns), last_ns)
        self._connection.executemany("INSERT INTO outbox VALUES (?,?,?,?,?,?,?,?,?)", inserts)
        self._connection.executemany(
            "UPDATE device_state SET last_source_ns=?, last_commit_ns=? WHERE device=?",
            [(last_ns, now_ns, device) for device, last_ns in newest.items()],
        )

    def _add_record(
        self, kind: Kind, device: DeviceName, definition: DefinitionHash, record: bytes, now_ms: int
    ) -> StoredBatch:
        number = self._take_number()
        self._connection.execute(
            "INSERT INTO outbox VALUES (?,?,?,?,?,?,?,?,?)",
            (number, self.epoch, kind, device, definition, now_ms, 0, record, Lane.RECORDS),
        )
        return StoredBatch(number, self.epoch, kind, device, definition, now_ms, 0, len(record), record=record)

    def _close_gap(self, device: DeviceName, last_ns: int, now_ms: int, rows: list[StoredBatch]) -> None:
        row = self._connection.execute(
            "DELETE FROM gap WHERE device=? RETURNING reason, first_ns, detail", (device,)
        ).fetchone()
        if row is not None:
            gap = Gap(device, row[0], row[1], max(last_ns, row[1]), detail=row[2])
            rows.append(self._add_record(Kind.GAP, device, _NO_DEFINITION, gap.to_json(), now_ms))

    def _delete_acknowledged(self, acknowledged: dict[Epoch, BatchRanges]) -> None:
        for epoch, ranges in acknowledged.items():
            for first, last in ranges:
                for hash_, kind in self._connection.execute(
                    "SELECT definition, kind FROM outbox WHERE batch BETWEEN ? AND ? AND epoch=? AND kind IN (?,?)",
                    (first, last, epoch, Kind.DEFINITION, Kind.EPOCH_START),
                ).fetchall():
                    if kind == Kind.DEFINITION:
                        self._connection.execute("UPDATE definition SET acknowledged=1 WHERE hash=?", (hash_,))
                    else:
                        self._connection.execute(
                            "UPDATE epoch SET declared=1 "
                            "WHERE first_batch < (SELECT first_batch FROM epoch WHERE epoch=?)",
                            (epoch,),
                        )
                self._connection.execute(
                    "DELETE FROM outbox WHERE batch BETWEEN ? AND ? AND epoch=?", (first, last, epoch)
                )

    def _set_aside(self, epoch: Epoch, number: int, reason: str, now_ms: int, rows: list[StoredBatch]) -> None:
        row = self._connection.execute(
            "DELETE FROM outbox WHERE batch=? AND epoch=? "
            "RETURNING kind, device, definition, created_ms, sample_count, payload",
            (number, epoch),
        ).fetchone()
        if row is None:
            return
        kind, device, definition, created_ms, count, payload = row
        self._connection.execute(
            "INSERT OR IGNORE INTO refused VALUES (?,?,?,?,?,?,?,?,?)",
            (number, epoch, device, definition, created_ms, count, payload, reason, now_ms),
        )
        first_ns = last_ns = created_ms * 1_000_000
        if kind == Kind.SAMPLES:
            with contextlib.suppress(PayloadInvalid):  # a damaged row: the time of its commit has to do
                times = [part.time_ns for part in unpack_columns(payload)]
                first_ns = min(int(column.min()) for column in times)
                last_ns = max(int(column.max()) for column in times)
        detail, of = f"batch {number} of epoch {format_epoch(epoch)}: {reason}", format_epoch(epoch)
        gap = Gap(
            DeviceName(device), GapReason.REFUSED, first_ns, last_ns, count, None, detail, of, ((number, number),)
        )
        rows.append(self._add_record(Kind.GAP, gap.device, _NO_DEFINITION, gap.to_json(), now_ms))

    def _is_told(self, hash_: DefinitionHash) -> bool:
        """Whether the cloud has this definition, or a row waits that tells it; neither is so when it was refused."""
        query = "SELECT 1 FROM definition WHERE hash=? AND acknowledged UNION ALL "
        query += "SELECT 1 FROM outbox WHERE kind=? AND definition=?"
        return self._connection.execute(query, (hash_, Kind.DEFINITION, hash_)).fetchone() is not None

    def _metric(self, device: DeviceName, tag: TagType) -> MetricDefinition:
        key = (device, tag.name, int(tag.datatype))
        query = "SELECT alias FROM alias WHERE device=? AND name=? AND datatype=?"
        row = self._connection.execute(query, key).fetchone()
        if row is None:
            (top,) = self._connection.execute("SELECT max(alias) FROM alias").fetchone()
            alias = ALIAS_FIRST if top is None else top + 1
            statement = "INSERT INTO alias (device, name, datatype, alias) VALUES (?,?,?,?)"
            self._connection.execute(statement, (*key, alias))
        else:
            alias = row[0]
        return MetricDefinition(alias, tag.name, DataType(tag.datatype), tag.unit, tag.description)

    def _take_number(self) -> BatchNumber:
        number = BatchNumber(self._next)
        self._next += 1
        return number

    def _roll_back(self, next_number: int) -> None:
        self._next = next_number
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _begin_epoch(self, now_ms: int) -> None:
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
        self._next = 1 + (0 if row is None else int(row[0]))

        def begin(rows: list[StoredBatch]) -> None:
            document = begin_epoch(self._connection, self.epoch, self._next, now_ms)
            self._add_record(Kind.EPOCH_START, _NO_DEVICE, _NO_DEFINITION, document, now_ms)
            self._add_gaps(told_not_taken(self._connection), now_ms, rows)

        self._transaction(begin)


def _is_full(error: sqlite3.Error) -> bool:
    """Whether the disk, or a quota, has no room."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
