"""What an outbox should hold after any history, in plain dictionaries."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DefinitionHash, DeviceName, TagType
from connectors.sparkplug.definition import read_definition
from connectors.sparkplug.delivery import format_epoch, parse_epoch
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind, OpenGap, StoredBatch
from edge_agent.buffer.schema import open_reader
from edge_agent.buffer.sealing import PLAIN, Sealing
from tests.drawn_batches import plain

Key = tuple[Epoch, int]


def content(row: StoredBatch) -> tuple[Any, ...]:
    """All of a row that may not change between memory and disk."""
    parts = tuple(plain(part) for part in row.parts)
    return (row.number, row.epoch, row.kind, row.device, row.definition, row.created_ms, row.sample_count,
            row.size_bytes, parts, row.record)  # fmt: skip


def stored(path: Path, sealing: Sealing = PLAIN) -> list[tuple[Any, ...]]:
    """Every row of the outbox at ``path``, by a connection of its own."""
    reader = open_reader(path)
    try:
        return [content(row) for row in read_batches(reader, 0, 1 << 40, 1 << 60, sealing=sealing)]
    finally:
        reader.close()


@dataclass
class Start:
    """One start of the agent as the file knows it."""

    epoch: Epoch
    first: int
    last: int
    declared: bool = False


@dataclass
class Held:
    """What is in the file, and goes back in time with it when an older copy is restored."""

    rows: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    aliases: dict[tuple[DeviceName, str, DataType], int] = field(default_factory=dict)
    definitions: dict[DefinitionHash, bool] = field(default_factory=dict)
    """Whether the cloud has it."""
    newest: dict[DeviceName, tuple[DefinitionHash, int | None, int | None]] = field(default_factory=dict)
    gaps: dict[DeviceName, OpenGap] = field(default_factory=dict)
    refused: set[Key] = field(default_factory=set)
    bd_seq: int | None = None


class OutboxModel:
    """Checks each answer of the outbox against its history."""

    def __init__(self) -> None:
        self.held = Held()
        self.given: dict[Key, tuple[Any, ...]] = {}
        """Every (epoch, number) that ever left the outbox, over restored copies too."""

    def copy_of_held(self) -> Held:
        return copy.deepcopy(self.held)

    def started(self, epoch: Epoch, rows: Sequence[tuple[Any, ...]]) -> None:
        """The outbox was opened; ``rows`` is all that it holds now."""
        assert epoch not in {key[0] for key in self.given}
        (new,) = [row for row in rows if row[1] == epoch]
        number, kind, record = new[0], new[2], new[9]
        assert kind is Kind.EPOCH_START
        assert all(row[0] < number for row in rows if row is not new)
        document = json.loads(record)
        assert (parse_epoch(document["epoch"]), document["first"]) == (epoch, number)
        declared = [(parse_epoch(item["epoch"]), item["first"], item["last"]) for item in document["earlier"]]
        assert declared == [(s.epoch, s.first, s.last) for s in self.held.starts if not s.declared]
        self.held.starts.append(Start(epoch, number, number))
        self.add([new])

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows that the outbox says it has written, in order."""
        start = self.held.starts[-1]
        for row in rows:
            key = (row[1], row[0])
            assert key not in self.given
            assert row[1] == start.epoch
            assert row[0] == start.last + (start.last in {n for e, n in self.given if e == start.epoch})
            if row[2] is Kind.SAMPLES:
                assert row[4] in self.held.definitions
            start.last = row[0]
            self.given[key] = row
            self.held.rows[key] = row

    def defined(
        self, device: DeviceName, types: Sequence[TagType], hash_: DefinitionHash, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        waiting = any(row[2] is Kind.DEFINITION and row[4] == hash_ for row in self.held.rows.values())
        assert len(rows) == (not waiting and not self.held.definitions.get(hash_))
        self.held.definitions.setdefault(hash_, False)
        self.add(rows)
        body = next(row[9] for row in self.given.values() if row[2] is Kind.DEFINITION and row[4] == hash_)
        metrics = {metric.name: metric for metric in read_definition(body).metrics}
        assert set(metrics) == {tag.name for tag in types}
        for tag in types:
            metric = metrics[tag.name]
            assert (metric.datatype, metric.unit) == (tag.datatype, tag.unit)
            key = (device, str(tag.name), tag.datatype)
            assert self.held.aliases.setdefault(key, metric.alias) == metric.alias
        assert len(set(self.held.aliases.values())) == len(self.held.aliases)
        _, source_ns, stored_ns = self.held.newest.get(device, ("", None, None))
        self.held.newest[device] = (hash_, source_ns, stored_ns)

    def committed(self, work: Commit, rows: list[tuple[Any, ...]]) -> None:
        for epoch, ranges in work.acknowledged.items():
            self._acknowledge(epoch, ranges)
        expected: list[tuple[Kind, DeviceName, str]] = []
        for epoch, number, _reason in work.refused:
            row = self.held.rows.pop((epoch, number), None)
            if row is not None:
                self.held.refused.add((epoch, number))
                expected += self._told_of_refused(epoch, row)
        for gap in work.opened_gaps:
            self.held.gaps.setdefault(gap.device, gap)
        for device in work.closed_gaps:
            closed = self.held.gaps.pop(device, None)
            if closed is not None:
                expected.append((Kind.GAP, device, closed.reason))
        expected += [(Kind.SAMPLES, batch.device, "") for batch in work.batches]
        found = [
            (row[2], row[3], json.loads(row[9])["reason"] if row[2] is Kind.GAP else "") for row in rows
        ]  # fmt: skip
        assert found == expected
        samples = [row for row in rows if row[2] is Kind.SAMPLES]
        assert [row[8] for row in samples] == [tuple(plain(part) for part in batch.parts) for batch in work.batches]
        for batch in work.batches:
            hash_, source_ns, stored_ns = self.held.newest[batch.device]
            last_ns = max(int(part.time_ns.max()) for part in batch.parts)
            again = stored_ns == work.now_ns and source_ns is not None
            self.held.newest[batch.device] = (hash_, max(last_ns, source_ns) if again else last_ns, work.now_ns)
        self.add(rows)

    @staticmethod
    def _told_of_refused(epoch: Epoch, row: tuple[Any, ...]) -> list[tuple[Kind, DeviceName, str]]:
        """A gap record is told again; twice where it named numbers of another start than its own."""
        if row[2] is not Kind.GAP:
            return [(Kind.GAP, row[3], "refused")]
        gap = json.loads(row[9])
        records = 1 if gap["epoch"] in (None, format_epoch(epoch)) else 2
        return [(Kind.GAP, row[3], gap["reason"])] * records

    def _acknowledge(self, epoch: Epoch, ranges: BatchRanges) -> None:
        for key, row in list(self.held.rows.items()):
            if key[0] != epoch or key[1] not in ranges:
                continue
            del self.held.rows[key]
            if row[2] is Kind.DEFINITION:
                self.held.definitions[row[4]] = True
            elif row[2] is Kind.EPOCH_START:
                for start in self.held.starts:
                    if start.first < row[0]:
                        start.declared = True
