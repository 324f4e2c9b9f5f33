"""What is in an outbox, row by row and decoded, for whoever looks into it.

It is read a few rows at a time, each time anew, so that an agent that writes meanwhile can fold its write-ahead log
into the file. So a walk shows each batch as it was when its turn came: what was acknowledged before is not in it, and
neither is what came after the walk had begun.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.errors import OutboxUnavailable, PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName
from edge_agent.buffer.checksums import StoredRow
from edge_agent.buffer.columns import unpack_columns
from edge_agent.buffer.definitions import Definitions
from edge_agent.buffer.reading import stored_batch
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.schema import SCHEMA_VERSION, open_reader
from edge_agent.buffer.sealing import PLAIN, Sealing, alias_place, gap_place

ROWS_AT_ONCE: Final = 32
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
DEFINITIONS_KEPT: Final = 64
"""So many definitions are kept decoded."""


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """One start of the agent, as the outbox knows it: the numbers that it gave, and whether the cloud knows them all.

    ``last`` may be too high where a later start has left no trace, never too low.
    """

    epoch: int
    first: int
    last: int
    started_ms: int
    declared: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """A batch that was refused, or could not be read: why, and when that was."""

    batch: StoredBatch
    reason: str
    refused_ms: int


class OutboxContents:
    """A read-only look into one outbox; belongs to one thread."""

    def __init__(self, path: Path, sealing: Sealing = PLAIN) -> None:
        """Raises ``OutboxUnavailable`` when it cannot be read, or was written by another version."""
        self.path = path
        self.sealing = sealing
        self.connection = open_reader(path)
        try:
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                raise OutboxUnavailable(
                    f"the outbox {path} was written by another version of Lineside (schema {version}, this one knows "
                    f"{SCHEMA_VERSION}); an older one is brought up to date when the agent is started"
                )
            row = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
        except sqlite3.Error as exc:
            self.connection.close()
            raise OutboxUnavailable(f"the outbox {path} cannot be read: {exc}") from exc
        except BaseException:
            self.connection.close()
            raise
        self.last: int = 0 if row is None else row[0]
        """The newest batch number when this look began."""
        self.tags = TagNames(self.connection, sealing)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def rows(self) -> Iterator[StoredRow]:
        """All rows up to ``last`` in the order of their numbers, as they are stored. Raises ``OutboxUnavailable``."""
        after = 0
        while rows := self._some(after):
            yield from rows
            after = rows[-1][0]

    def batches(self) -> Iterator[StoredBatch]:
        """The same, decoded."""
        return (stored_batch(row, self.sealing) for row in self.rows())

    def count(self) -> int:
        """How many rows there are."""
        return int(self._one("SELECT count(*) FROM outbox")[0])

    def find(self, number: int) -> StoredBatch | None:
        """The batch with this number; ``None`` when none waits."""
        row = self._read("SELECT * FROM outbox WHERE batch=?", (number,))
        return stored_batch(row[0], self.sealing) if row else None

    def set_aside(self) -> Iterator[SetAside]:
        """The batches that were refused, in the order of their numbers. Raises ``OutboxUnavailable``."""
        query = (
            "SELECT batch, epoch, device, definition, created_ms, sample_count, payload, reason, refused_ms, rowid "
            "FROM refused WHERE (batch, rowid) > (?, ?) ORDER BY batch, rowid LIMIT ?"
        )
        after = (0, 0)
        while rows := self._read(query, (*after, ROWS_AT_ONCE)):
            for row in rows:
                yield self._set_aside(row)
            after = (rows[-1][0], rows[-1][9])

    def epochs(self) -> list[EpochFacts]:
        """The starts of the agent, in the order of their numbers. Raises ``OutboxUnavailable``."""
        rows = self._read("SELECT epoch, first_batch, started_ms, declared FROM epoch ORDER BY first_batch, started_ms")
        ends = [row[1] - 1 for row in rows[1:]] + [self.last]
        return [
            EpochFacts(epoch, first, last, started_ms, bool(declared))
            for (epoch, first, started_ms, declared), last in zip(rows, ends, strict=True)
        ]

    def open_gaps(self) -> list[dict[str, Any]]:
        """Gaps that have begun and not ended; ``detail`` is ``None`` where it cannot be read."""
        gaps = []
        for device, reason, first_ns, stored in self._read("SELECT device, reason, first_ns, detail FROM gap"):
            try:
                detail: str | None = self.sealing.open_text(stored, gap_place(device))
            except PayloadInvalid:
                detail = None
            gaps.append({"device": device, "reason": reason, "first_ns": first_ns, "detail": detail})
        return gaps

    def _set_aside(self, row: tuple[Any, ...]) -> SetAside:
        number, epoch, device, definition, created_ms, count, payload, reason, refused_ms, _ = row
        epoch, created_ms, count = (value if type(value) is int else 0 for value in (epoch, created_ms, count))
        parts: tuple[SampleBatch, ...] = ()
        record, unreadable = b"", ""
        try:
            record = self.sealing.open_batch(payload, epoch, number, None)
            if count:
                record, parts = b"", tuple(unpack_columns(record))
        except PayloadInvalid as exc:
            record, unreadable = b"", str(exc)
        kind = Kind.SAMPLES if count else _record_kind(record, definition)  # a damaged row may hold anything
        batch = StoredBatch(
            BatchNumber(number), Epoch(epoch), kind, DeviceName(str(device)), DefinitionHash(str(definition)),
            created_ms, count, len(payload) if isinstance(payload, bytes) else 0, parts, record, unreadable=unreadable,
        )  # fmt: skip
        return SetAside(batch, reason, refused_ms)

    def _some(self, after: int) -> list[StoredRow]:
        query = "SELECT * FROM outbox WHERE batch>? AND batch<=? ORDER BY batch LIMIT ?"
        found: list[StoredRow] = []
        size = 0
        try:
            for row in self.connection.execute(query, (after, self.last, ROWS_AT_ONCE)):
                found.append(row)
                size += len(row[7]) if isinstance(row[7], bytes) else 0  # a damaged row may hold anything
                if size >= BYTES_AT_ONCE:
                    break
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be read after batch {after}: {exc}") from exc
        return found

    def _one(self, query: str) -> Any:
        return self._read(query)[0]

    def _read(self, query: str, bound: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self.connection.execute(query, bound).fetchall()
        except sqlite3.Error as exc:
            raise OutboxUnavailable(f"the outbox {self.path} cannot be read: {exc}") from exc


class TagNames:
    """What aliases are called: by the definition that a batch names, else by the table of aliases."""

    def __init__(self, connection: sqlite3.Connection, sealing: Sealing) -> None:
        self._connection = connection
        self._sealing = sealing
        self._definitions = Definitions(connection, sealing)
        self._known: OrderedDict[str, DeviceDefinition | None] = OrderedDict()
        self._names: OrderedDict[str, dict[int, str]] = OrderedDict()

    def definition(self, hash_: str) -> DeviceDefinition | None:
        """The definition with this hash; ``None`` when there is none, it is damaged, or its key is lost."""
        if hash_ not in self._known:
            self._known[hash_] = self._definitions.read(hash_)
            self._names[hash_] = {}
            if len(self._known) > DEFINITIONS_KEPT:
                self._known.popitem(last=False)
                self._names.popitem(last=False)
        return self._known[hash_]

    def name(self, hash_: str, alias: int) -> str | None:
        """What ``alias`` is called in a batch of this definition; ``None`` when nobody knows."""
        definition = self.definition(hash_)
        names = self._names[hash_]
        if not names and definition is not None:
            names.update({metric.alias: str(metric.name) for metric in definition.metrics})
        found = names.get(alias)
        return self._of_alias(alias) if found is None else found

    def _of_alias(self, alias: int) -> str | None:
        row = self._connection.execute("SELECT name FROM alias WHERE alias=?", (alias,)).fetchone()
        if row is not None:
            with contextlib.suppress(PayloadInvalid):
                return self._sealing.open_text(row[0], alias_place(alias))
        return None


def _record_kind(record: bytes, definition: str) -> Kind:
    """What a record is that was set aside: its kind is not stored there."""
    if definition:
        return Kind.DEFINITION
    if record.startswith((b'{"kind":"report"', b'{"kind":"hello"')):
        return Kind.COMMAND
    return Kind.GAP if b'"reason"' in record else Kind.EPOCH_START
