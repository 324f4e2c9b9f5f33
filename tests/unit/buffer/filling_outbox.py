"""An outbox that is filled until something has to give way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName, TagName, TagType
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind, Lane, NewBatch, StoredBatch

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
TAGS = [TagType(n, TagName(f"t{n}"), DataType.DOUBLE) for n in range(3)] + [
    TagType(3, TagName("state"), DataType.BOOLEAN)
]
NOW_NS = 1_795_000_000_000_000_000
MEGABYTE = 1_000_000
HOUR_S = 3600.0
SAMPLES = 1000


class Filling:
    """An outbox that gets ten batches of a thousand samples a second, from two devices in turn."""

    def __init__(self, path: Path, bounds: OutboxBounds) -> None:
        self.path, self.bounds = path, bounds
        self.now_s = 0.0
        self.clock_error_s = 0.0
        self.made = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.path, "normal", now_ms=self.now_ns // 1_000_000, bounds=self.bounds)
        self.definitions: dict[DeviceName, DefinitionHash] = {}
        self.aliases: dict[DeviceName, list[int]] = {}
        for device in (PRESS, OVEN):
            definition, _ = self.outbox.define(device, TAGS, self.now_ns // 1_000_000)
            by_name = {metric.name: metric.alias for metric in definition.metrics}
            self.definitions[device] = definition.hash
            self.aliases[device] = [by_name[tag.name] for tag in TAGS]

    @property
    def now_ns(self) -> int:
        return NOW_NS + round((self.now_s + self.clock_error_s) * 1e9)

    def commit(
        self, lane: Lane = Lane.SAMPLES, quality: int | None = None, *, states: bool = False
    ) -> list[StoredBatch]:
        device = (PRESS, OVEN)[self.made % 2]
        aliases = self.aliases[device][3:] if states else self.aliases[device][:3]
        tag = np.resize(np.array(aliases, np.int32), SAMPLES)
        time_ns = NOW_NS + round(self.now_s * 1e9) + np.arange(SAMPLES) * 100_000
        value = np.arange(SAMPLES, dtype=np.float64) + self.made
        qualities = None if quality is None else np.full(SAMPLES, quality, np.uint16)
        part = SampleBatch(DataType.DOUBLE, tag, time_ns, value, qualities)
        if states:
            part = SampleBatch(DataType.BOOLEAN, tag, time_ns, value % 2 == 0)
        batch = NewBatch(device, self.definitions[device], (part,), lane)
        self.made += 1
        self.now_s += 0.1
        return self.outbox.commit(Commit([batch], now_ns=self.now_ns, now_s=self.now_s))

    def idle(self, seconds: float) -> None:
        self.now_s += seconds
        self.outbox.commit(Commit(now_ns=self.now_ns, now_s=self.now_s))

    def tell(self) -> None:
        """Let nothing be lost for a while, so that records are made of what was."""
        self.idle(2.0)
        self.idle(2.0)

    def acknowledge_all(self) -> None:
        acknowledged: dict[Any, BatchRanges] = {}
        for row in self.rows():
            if row.kind is Kind.SAMPLES:
                acknowledged.setdefault(row.epoch, BatchRanges()).add(row.number)
        self.now_s += 1.0
        self.outbox.commit(Commit(acknowledged=acknowledged, now_ns=self.now_ns, now_s=self.now_s))

    def rows(self) -> list[StoredBatch]:
        return read_batches(self.outbox._connection, 0, 1 << 40, 1 << 60)

    def stored(self) -> list[StoredBatch]:
        return [row for row in self.rows() if row.kind is Kind.SAMPLES]

    def gaps(self) -> list[dict[str, Any]]:
        return [json.loads(row.record) for row in self.rows() if row.kind is Kind.GAP]

    def explained(self, epoch: Epoch | None = None) -> set[int]:
        """Batch numbers of an epoch, else of this one, that the gaps name, or will name."""
        epoch = epoch or self.outbox.epoch
        own = format_epoch(epoch)
        spans = [span for gap in self.gaps() if gap["epoch"] == own for span in gap["batches"]]
        query = "SELECT first, last FROM given_up_batches WHERE epoch=?"
        spans += self.outbox._connection.execute(query, (epoch,)).fetchall()
        return {number for first, last in spans for number in range(first, last + 1)}

    def thinned_until(self) -> int:
        """The number of the last row that has lost samples; 0 when none has."""
        return max((row.number for row in self.stored() if row.sample_count < SAMPLES), default=0)

    def summed_up(self) -> int:
        """Samples of which no gap record tells yet."""
        query = "SELECT (SELECT total(sample_count) FROM given_up) + (SELECT total(sample_count) FROM not_taken)"
        return int(self.outbox._connection.execute(query).fetchone()[0])

    def is_complete(self) -> bool:
        """Whether every sample that was made is stored, or part of a gap, and every number too."""
        samples = sum(row.sample_count for row in self.stored()) + sum(gap["count"] for gap in self.gaps())
        samples += self.summed_up()
        (last,) = self.outbox._connection.execute("SELECT seq FROM sqlite_sequence WHERE name='outbox'").fetchone()
        numbers = {row.number for row in self.rows()} | self.explained()
        return samples == self.made * SAMPLES and numbers == set(range(1, last + 1))
