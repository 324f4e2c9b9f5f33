"""A new outbox from a damaged one: whatever can be read and is as it was written goes on, with its number and epoch.

It is read and written row by row, whatever its size. What is missing afterwards is worked out from the mark
(``high_water.py``), or without it from what the file itself still says, and kept in the new file until it is declared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.model.delivery import EPOCH_MAX, BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug.definition import read_definition
from edge_agent.buffer.checksums import INSERT_ROW, StoredRow, is_intact, with_checksum
from edge_agent.buffer.damage import column_types
from edge_agent.buffer.damaged_file import DamagedFile
from edge_agent.buffer.definitions import reserve_aliases
from edge_agent.buffer.high_water import EpochBegun, Mark
from edge_agent.buffer.losses import LOSSES_IN_META, Losses, spread, write_losses
from edge_agent.buffer.rows import Kind, Lane
from edge_agent.buffer.schema import PAGE_BYTES, open_fresh_file
from edge_agent.buffer.sealing import Sealing, alias_place, definition_place

CHUNK_BYTES: Final = 4 * 1024 * 1024
NUMBERS_AHEAD_MAX: Final = 1_000_000_000
"""A file that says its numbers are further than this beyond its rows is not believed."""

_COPIED: Final = ("meta", "device_state", "gap", "not_taken", "given_up", "given_up_batches", "refused", "alias")
_TYPE_NAMES: Final = {int: "integer", str: "text", bytes: "blob", type(None): "null"}
_NOT_COPIED: Final = ("schema", LOSSES_IN_META)
"""Keys of table ``meta`` that the new file has for itself."""

_ROW_COLUMNS: Final = ("batch", "epoch", "kind", "device", "definition", "created_ms", "sample_count", "payload")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came of it. ``gone``: how many batch numbers are not in the new file and may have been lost."""

    batches: int
    samples: int
    gone: int


class Salvage:
    """Fills one new file from one damaged one."""

    def __init__(self, fresh: Path, damaged: Path, mark: Mark | None, sealing: Sealing, bytes_max: int | None) -> None:
        """``fresh`` does not exist yet; it takes at most ``bytes_max``. Raises ``sqlite3.Error``, ``OSError``."""
        self._damaged = damaged
        self._mark = mark
        self._sealing = sealing
        self._bytes_max = bytes_max
        self._present = BatchRanges()
        self._explained = BatchRanges()
        self._starts: set[Epoch] = set()
        self._first_of: dict[int, int] = {}
        self._devices: set[str] = set()
        self._samples = 0
        self._target = open_fresh_file(fresh)
        try:
            self._source = DamagedFile(damaged, fresh.read_bytes()[:PAGE_BYTES])
        except BaseException:
            self._target.close()
            raise

    def run(self, reason: str, now_ms: int) -> Salvaged:
        """Do it; the new file is complete afterwards. Raises ``sqlite3.Error``, ``OSError``."""
        try:
            for table in _COPIED:
                self._copy(table)
            self._copy_definitions()
            told, declared = self._read_epochs()
            self._starts = {epoch.epoch for epoch in told}
            self._copy_batches(self._below(told))
            last = self._last(told)
            epochs = self._write_epochs(told, declared, last)
            self._mend_aliases()
            self._write_sequence(last)
            losses = self._losses(epochs, last, reason, now_ms)
            write_losses(self._target, losses)
            batches = len(self._present)
            self._target.execute("PRAGMA locking_mode=NORMAL")
        finally:
            self._source.close()
            self._target.close()
        return Salvaged(batches, self._samples, losses.count)

    # -- tables --------------------------------------------------------------------------------------------------------

    def _copy(self, table: str) -> None:
        """Copy what can be read of a table; a row that breaks its rules is left out, and the table suspect."""
        columns = [row[1] for row in self._target.execute(f"PRAGMA table_info({table})")]
        types = column_types(self._target, table)
        found = self._source.columns(table)
        shared = ", ".join(column for column in columns if column in found)
        if set(columns) - set(found):
            self._source.suspect.add(table)
        if not shared:
            return
        marks = ",".join("?" * (shared.count(",") + 1))
        statement = f"INSERT OR IGNORE INTO {table} ({shared}) VALUES ({marks})"  # noqa: S608
        self._target.execute("BEGIN")
        for row in self._source.rows(table, shared):
            if _has_noise(row) or not _fits(dict(zip(shared.split(", "), row, strict=True)), types):
                self._source.suspect.add(table)
            elif row[0] not in _NOT_COPIED:
                self._target.execute(statement, row)
                if table == "refused":
                    self._explained.add(row[0])
                elif table == "given_up_batches":
                    self._explain(row[2], row[3])
        self._target.execute("COMMIT")

    def _explain(self, first: int, last: int) -> None:
        """Numbers that were given up, and are to be told of; a range that cannot be explains nothing."""
        if 0 < first <= last < EPOCH_MAX:
            self._explained.add(first, last)
        else:
            self._source.suspect.add("given_up_batches")

    def _copy_definitions(self) -> None:
        """Definitions, and where a body is out of reach, that there was one: whether the cloud has it still counts."""
        types = column_types(self._target, "definition")
        statement = "INSERT OR IGNORE INTO definition (hash, device, body, created_ms, acknowledged) VALUES (?,?,?,?,?)"
        self._target.execute("BEGIN")
        for row in self._source.rows("definition", "hash, device, body, created_ms, acknowledged"):
            if _fits(dict(zip(types, row, strict=True)), types) and not _has_noise(row):
                self._target.execute(statement, row)
            else:
                self._source.suspect.add("definition")
        if "definition" in self._source.suspect:
            for hash_, device, acknowledged in self._source.rows("definition", "hash, device, acknowledged"):
                if type(hash_) is str and type(device) is str and not _has_noise((hash_, device)):
                    self._target.execute(statement, (hash_, device, b"", 0, int(acknowledged == 1)))
        self._target.execute("COMMIT")

    def _mend_aliases(self) -> None:
        """An alias belongs to one tag for ever: a definition says whose it is more surely than the table."""
        mark_top = 0 if self._mark is None else self._mark.alias
        statement = "INSERT OR IGNORE INTO alias (alias, device, name, datatype) VALUES (?,?,?,?)"
        self._target.execute("BEGIN")
        for hash_, stored in self._bodies():
            with contextlib.suppress(PayloadInvalid):
                definition = read_definition(self._sealing.open_bytes(stored, definition_place(hash_)))
                if definition.hash != hash_:
                    continue
                for metric in definition.metrics:
                    mark_top = max(mark_top, metric.alias)
                    if "alias" in self._source.suspect:
                        name = self._sealing.seal_text(metric.name, alias_place(metric.alias))
                        self._target.execute("DELETE FROM alias WHERE alias=?", (metric.alias,))
                        row = (metric.alias, definition.device, name, int(metric.datatype))
                        self._target.execute(statement, row)
        reserve_aliases(self._target, mark_top)
        self._target.execute("COMMIT")

    def _bodies(self) -> list[tuple[str, bytes]]:
        rows = self._target.execute("SELECT hash, body FROM definition WHERE length(body)").fetchall()
        return [row for row in rows if isinstance(row[1], bytes)]

    # -- batches -------------------------------------------------------------------------------------------------------

    def _copy_batches(self, below: int) -> None:
        size, at_once = 0, CHUNK_BYTES
        if self._bytes_max is not None:  # so much is written beyond it before anything gives way
            at_once = min(CHUNK_BYTES, self._bytes_max // 8)
        self._target.execute("BEGIN")
        for row in self._batches(below):
            if row[0] in self._present:
                continue
            self._target.execute(INSERT_ROW, row)
            self._note(row)
            size += len(row[7])
            if size >= at_once:
                self._target.execute("COMMIT")
                self._keep_within()
                self._target.execute("BEGIN")
                size = 0
        self._target.execute("COMMIT")
        self._keep_within()

    def _batches(self, below: int) -> Iterator[StoredRow]:
        """The rows that are as they were written; those of older versions get what they do not have."""
        found = self._source.columns("outbox")
        lane = "lane" if "lane" in found else f"CASE kind WHEN {Kind.SAMPLES} THEN {Lane.SAMPLES} ELSE 0 END"
        checksum = "checksum" if "checksum" in found else "NULL"
        row: Any
        for row in self._source.batches(f"{', '.join(_ROW_COLUMNS)}, {lane}, {checksum}", below):
            if is_intact(row) and _is_sound(row) and self._is_of_a_start(row[1]):
                yield row if row[9] is not None else with_checksum(row[:9])

    def _is_of_a_start(self, epoch: Epoch) -> bool:
        """Where all starts are known, a row of another one has left long ago: it stood in a page that is free."""
        return self._mark is None or not self._mark.is_complete or epoch in self._starts

    def _note(self, row: StoredRow) -> None:
        number, epoch = row[0], row[1]
        self._present.add(number)
        self._first_of[epoch] = min(number, self._first_of.get(epoch, number))
        self._devices.add(row[3])
        self._samples += row[6]

    def _keep_within(self) -> None:
        """Where the disk has no room for all of it, the oldest samples stay behind."""
        while self._bytes_max is not None and self._used_bytes() > self._bytes_max:
            rows = self._target.execute(
                "SELECT batch, sample_count FROM outbox WHERE lane=? ORDER BY batch LIMIT 100", (Lane.SAMPLES,)
            ).fetchall()
            if not rows:
                return
            for batch, count in rows:
                self._target.execute("DELETE FROM outbox WHERE batch=?", (batch,))
                self._present.discard(batch)
                self._samples -= count

    def _used_bytes(self) -> int:
        (pages,) = self._target.execute("PRAGMA page_count").fetchone()
        (free,) = self._target.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE_BYTES

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _read_epochs(self) -> tuple[list[EpochBegun], set[int]]:
        """The starts that the file or the mark knows; and which of them the cloud knows to have ended."""
        rows = list(self._source.rows("epoch", "epoch, first_batch, started_ms, declared"))
        sound = [row for row in rows if all(type(part) is int for part in row) and row[0] > 0 and row[1] > 0]
        declared = {row[0] for row in sound if row[3]}
        mark = self._mark
        if mark is not None and mark.is_complete and any(row[0] == mark.newest.epoch for row in sound):
            return list(mark.epochs), declared  # the same history, from a witness that has a checksum
        known = {row[0]: EpochBegun(Epoch(row[0]), row[1], row[2]) for row in sound}
        known.update({epoch.epoch: epoch for epoch in (() if mark is None else mark.epochs)})
        return sorted(known.values(), key=lambda epoch: epoch.first), declared

    def _below(self, epochs: list[EpochBegun]) -> int:
        """No row has this number or a higher one."""
        if self._mark is not None:
            return self._mark.last + NUMBERS_AHEAD_MAX
        return max([self._told_last(), *(epoch.first for epoch in epochs)]) + NUMBERS_AHEAD_MAX

    def _told_last(self) -> int:
        rows = list(self._source.rows("sqlite_sequence", "seq"))
        return max((row[0] for row in rows if type(row[0]) is int and 0 <= row[0] < EPOCH_MAX // 2), default=0)

    def _last(self, epochs: list[EpochBegun]) -> int:
        """The highest number that was given."""
        seen = max((ranges.highest or 0 for ranges in (self._present, self._explained)), default=0)
        if self._mark is not None:
            return max(seen, self._mark.last)
        seen = max([seen, *(epoch.first for epoch in epochs)])
        told = self._told_last()
        return told if seen <= told <= seen + NUMBERS_AHEAD_MAX else seen

    def _write_epochs(self, epochs: list[EpochBegun], declared: Iterable[int], last: int) -> list[EpochBegun]:
        known = {epoch.epoch: epoch for epoch in epochs if epoch.first <= last + 1}
        for number, first in self._first_of.items():
            if number not in known:
                known[Epoch(number)] = EpochBegun(Epoch(number), first, 0)
        ordered = sorted(known.values(), key=lambda epoch: epoch.first)
        rows = [(each.epoch, each.first, each.started_ms, each.epoch in declared) for each in ordered]
        self._target.executemany("INSERT OR REPLACE INTO epoch VALUES (?,?,?,?)", rows)
        return ordered

    def _write_sequence(self, last: int) -> None:
        self._target.execute("DELETE FROM sqlite_sequence WHERE name='outbox'")
        self._target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (last,))

    def _losses(self, epochs: list[EpochBegun], last: int, reason: str, now_ms: int) -> Losses:
        trusted = self._mark if self._mark is not None and any(e == self._mark.newest for e in epochs) else None
        first = trusted.oldest if trusted is not None else min((epoch.first for epoch in epochs), default=last + 1)
        there = self._present.copy()
        for begin, end in self._explained:
            there.add(begin, end)
        missing = there.missing(first, last)
        states = bool(self._source.suspect & {"device_state", "gap", "not_taken", "given_up", "epoch"})
        since_ms = trusted.since_ms if trusted is not None else min((epoch.started_ms for epoch in epochs), default=0)
        first_ms, last_ms = since_ms, now_ms
        if missing and not states:
            first_ms, last_ms = self._time_of(missing, since_ms, now_ms)
        known = self._target.execute("SELECT device FROM device_state UNION SELECT device FROM definition")
        devices = sorted(self._devices.union(row[0] for row in known) - {""})
        detail = f"the outbox was damaged ({reason}) and is set aside as {self._damaged.name}"
        return Losses(spread(missing, epochs), first_ms, last_ms, detail, tuple(devices), states)

    def _time_of(self, missing: list[tuple[int, int]], since_ms: int, now_ms: int) -> tuple[int, int]:
        """From the newest row before what is missing to the oldest one after it."""
        before = self._target.execute(
            "SELECT created_ms FROM outbox WHERE batch<? ORDER BY batch DESC LIMIT 1", (missing[0][0],)
        ).fetchone()
        after = self._target.execute(
            "SELECT created_ms FROM outbox WHERE batch>? ORDER BY batch LIMIT 1", (missing[-1][1],)
        ).fetchone()
        first_ms = since_ms if before is None else before[0]
        last_ms = now_ms if after is None else after[0]
        return min(first_ms, last_ms), max(first_ms, last_ms)


def _is_sound(row: tuple[Any, ...]) -> bool:
    return 0 < row[0] < EPOCH_MAX and 0 < row[1] <= EPOCH_MAX and row[2] in iter(Kind) and row[8] in iter(Lane)


def _fits(row: dict[str, Any], types: dict[str, tuple[str, ...]]) -> bool:
    """Whether each value has a type that its column may have."""
    return all(_TYPE_NAMES.get(type(row[name])) in allowed for name, allowed in types.items() if name in row)


def _has_noise(row: tuple[Any, ...]) -> bool:
    """Whether a text of the row is none (see ``lenient_text``)."""
    return any(isinstance(value, str) and "\ufffd" in value for value in row)
