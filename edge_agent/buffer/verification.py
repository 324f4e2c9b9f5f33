"""Whether an outbox is whole: its file, every row, the tables beside them, and its numbers as far as it knows them.

What left an outbox is not known to it: it was acknowledged, or a gap that has left too explains it. Only the ledger of
the cloud can say; what is said here is how many numbers of each start wait, are set aside, and are explained by a gap
that still waits.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import OutboxUnavailable, PayloadInvalid
from connectors.sparkplug.definition import read_definition
from connectors.sparkplug.delivery import format_epoch, parse_epoch
from edge_agent.buffer.contents import EpochFacts, OutboxContents
from edge_agent.buffer.high_water import HighWater
from edge_agent.buffer.reading import stored_batch
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.sealing import Sealing, alias_place, definition_place, gap_place, sealed_with

FILE_PROBLEMS_MAX: Final = 20
OWNERS_MAX: Final = 3
"""So many definitions or names with the same problem are named."""


@dataclass(slots=True)
class EpochNumbers:
    """The batch numbers of one start of the agent: what became of them, as far as the outbox knows."""

    facts: EpochFacts
    waiting: int = 0
    set_aside: int = 0
    explained: BatchRanges = field(default_factory=BatchRanges)

    @property
    def given(self) -> int:
        """How many numbers it gave, at most."""
        return max(0, self.facts.last - self.facts.first + 1)

    @property
    def left(self) -> int:
        """How many have left the outbox, and only the cloud knows how."""
        return max(0, self.given - self.waiting - self.set_aside - len(self.explained))


class Verification:
    """One look at a whole outbox; ``problems`` has a sentence for each thing that is wrong."""

    def __init__(self, contents: OutboxContents) -> None:
        self._contents = contents
        self._mark = HighWater(contents.path).read()  # before the rows are read: it never tells of later ones
        self._run: tuple[int, int, int, str] | None = None  # first, last, epoch, problem
        self.problems: list[str] = []
        self.keys: Counter[str] = Counter()
        """Batches by the id of the key that they are sealed with; empty: plain."""
        self.batches = 0
        self.samples = 0
        self.epochs: dict[int, EpochNumbers] = {}

    def check_file(self) -> None:
        """The pages of the file, by SQLite. One long read: an agent that writes meanwhile cannot fold its log."""
        try:
            rows = self._contents.connection.execute(f"PRAGMA integrity_check({FILE_PROBLEMS_MAX})").fetchall()
        except sqlite3.Error as exc:
            self.problems.append(f"file: {exc}")
            return
        self.problems += [f"file: {' '.join(str(row[0]).split())}" for row in rows if row[0] != "ok"]

    def check_contents(self, advance: Callable[[], None]) -> None:
        """Every row and table; ``advance`` is called after each batch."""
        with self._noting("file"):
            self.epochs = {facts.epoch: EpochNumbers(facts) for facts in self._contents.epochs()}
            self._check_sequence()
            for row in self._contents.rows():
                self.keys[sealed_with(row[7])] += 1
                self._check_batch(stored_batch(row, self._contents.sealing))
                advance()
            self._end_run()
            self._check_set_aside()
            self._check_tables()
            self._end_run()

    # -- batches -----------------------------------------------------------------------------------------------------

    def _check_batch(self, batch: StoredBatch) -> None:
        self.batches += 1
        self.samples += batch.sample_count
        epoch = self.epochs.get(batch.epoch)
        if epoch is None:
            self._note(batch, "its start of the agent is not known")
        else:
            epoch.waiting += 1
            if not epoch.facts.first <= batch.number <= epoch.facts.last:
                self._note(batch, "it is not among the numbers of its start of the agent")
        problem = batch.unreadable or self._content_problem(batch)
        if problem:
            self._note(batch, problem)

    def _content_problem(self, batch: StoredBatch) -> str:
        if batch.kind is Kind.SAMPLES:
            return self._samples_problem(batch)
        try:
            if batch.kind is Kind.DEFINITION:
                if read_definition(batch.record).hash != batch.definition:
                    return f"it is not the definition {batch.definition}"
                return ""
            document = json.loads(batch.record)
            if batch.kind is Kind.GAP:
                self._note_gap(document)
            elif batch.kind is Kind.COMMAND:
                return "" if document["kind"] in ("report", "hello") else "it is none that tells of commands"
            elif parse_epoch(document["epoch"]) != batch.epoch:
                return "it tells of another start of the agent"
        except (ValueError, KeyError, TypeError, AttributeError, PayloadInvalid) as exc:
            return f"its record cannot be read: {type(exc).__name__}: {exc}"
        return ""

    def _samples_problem(self, batch: StoredBatch) -> str:
        count = sum(len(part) for part in batch.parts)
        if count != batch.sample_count:
            return f"it holds {count} samples, and its row says {batch.sample_count}"
        definition = self._contents.tags.definition(batch.definition)
        if definition is None:
            return f"its definition {batch.definition} is not in the outbox, or cannot be read"
        types = {metric.alias: metric.datatype for metric in definition.metrics}
        for part in batch.parts:
            unknown = [alias for alias in set(part.tag.tolist()) if types.get(alias) is not part.datatype]
            if unknown:
                return f"its definition has no {part.datatype.label} with the alias {min(unknown)}"
        return ""

    def _note_gap(self, gap: dict[str, Any]) -> None:
        ranges = [(first, last) for first, last in gap.get("batches", ())]
        if ranges and (epoch := self.epochs.get(parse_epoch(gap["epoch"]))) is not None:
            for first, last in ranges:
                epoch.explained.add(first, last)

    # -- what stands beside them -------------------------------------------------------------------------------------

    def _check_set_aside(self) -> None:
        for item in self._contents.set_aside():
            batch = item.batch
            if (epoch := self.epochs.get(batch.epoch)) is not None and batch.number not in epoch.explained:
                epoch.set_aside += 1
            if batch.unreadable:
                self._note(batch, f"set aside, and {batch.unreadable}")
            elif batch.sample_count != sum(len(part) for part in batch.parts):
                self._note(batch, "set aside, and it holds another number of samples than it says")

    def _check_sequence(self) -> None:
        newest, given = self._contents.connection.execute(
            "SELECT (SELECT max(batch) FROM outbox), (SELECT seq FROM sqlite_sequence WHERE name='outbox')"
        ).fetchone()
        newest, given = newest or 0, given or 0
        if newest > given:
            self.problems.append(f"numbers: batch {newest} is above the last number that was given, {given}")
        mark = self._mark
        if mark is not None and mark.newest.epoch in self.epochs and mark.last > given:
            self.problems.append(
                f"numbers: the outbox ends with batch {given}, and {mark.last} had been given: the file is older than "
                "it was; what is gone is declared when the agent is started"
            )

    def _check_tables(self) -> None:
        execute, sealing = self._contents.connection.execute, self._contents.sealing
        found: dict[tuple[str, str], list[str]] = {}

        def check(what: str, owner: object, open_: Callable[[], object]) -> None:
            try:
                open_()
            except PayloadInvalid as exc:
                found.setdefault((what, str(exc)), []).append(str(owner))

        for hash_, body in execute("SELECT hash, body FROM definition WHERE length(body)").fetchall():
            check("definition", hash_, partial(_read_own, sealing, hash_, body))
        for alias, name in execute("SELECT alias, name FROM alias").fetchall():
            check("name of alias", alias, partial(sealing.open_text, name, alias_place(alias)))
        for device, detail in execute("SELECT device, detail FROM gap").fetchall():
            check("open gap of", device, partial(sealing.open_text, detail, gap_place(device)))
        for (what, problem), owners in found.items():
            more = f" and {len(owners) - OWNERS_MAX:,} more" if len(owners) > OWNERS_MAX else ""
            self.problems.append(f"{what} {', '.join(owners[:OWNERS_MAX])}{more}: {problem}")
        unknown = "SELECT device FROM device_state WHERE definition NOT IN (SELECT hash FROM definition)"
        for (device,) in execute(f"{unknown} AND definition<>''").fetchall():
            self.problems.append(f"device {device}: its newest definition is not in the outbox")

    # -- what is said ------------------------------------------------------------------------------------------------

    def _note(self, batch: StoredBatch, what: str) -> None:
        """One sentence for batches in a row with the same problem."""
        if self._run is not None and self._run[1:] == (batch.number - 1, batch.epoch, what):
            self._run = (self._run[0], batch.number, batch.epoch, what)
            return
        self._end_run()
        self._run = (batch.number, batch.number, batch.epoch, what)

    def _end_run(self) -> None:
        if self._run is not None:
            first, last, epoch, what = self._run
            which = f"batch {first}" if first == last else f"batches {first} to {last}"
            self.problems.append(f"{which} of epoch {format_epoch(Epoch(epoch))}: {what}")
        self._run = None

    @contextlib.contextmanager
    def _noting(self, where: str) -> Iterator[None]:
        try:
            yield
        except (PayloadInvalid, OutboxUnavailable, sqlite3.Error) as exc:
            self._end_run()
            self.problems.append(f"{where}: {exc}")


def _read_own(sealing: Sealing, hash_: str, stored: bytes) -> None:
    if read_definition(sealing.open_bytes(stored, definition_place(hash_))).hash != hash_:
        raise PayloadInvalid("its content is another one")
