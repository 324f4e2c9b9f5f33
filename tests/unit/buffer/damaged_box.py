"""An agent's folder to be damaged, and what has to be true of it afterwards."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from outbox_model import content, stored

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import OutboxDamaged
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from connectors.sparkplug.delivery import parse_epoch
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.sealing import PLAIN, Sealing, alias_place
from tests.bounded_effort import bounded_effort

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
NOW_NS = 1_795_000_000_000_000_000
BATCHES = 60
Key = tuple[Epoch, int]
Content = tuple[Any, ...]


class Box:
    """An agent's folder as a power cut leaves it: rows of two starts, of which some have been acknowledged.

    ``is_folded``: everything is in the database; otherwise a good part is in the write-ahead log only. ``rows``: what
    is in the outbox. ``left``: numbers that had left it before, with the cloud's knowledge.
    """

    def __init__(self, *, is_folded: bool, sealing: Sealing = PLAIN) -> None:
        self.sealing = sealing
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outbox.db"
            first = self._start(path, 0)
            self._fill(first, BATCHES // 2)
            gone = BatchRanges([(1, 12), (15, 15)])
            first.commit(Commit(acknowledged={first.epoch: gone}, now_ns=NOW_NS))
            first.close()
            second = self._start(path, 1000)
            second._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._fill(second, BATCHES // 2)
            second.commit(Commit(opened_gaps=[OpenGap(OVEN, "device_unavailable", NOW_NS)], now_ns=NOW_NS))
            self.bd_seq = second.next_bd_seq()
            if is_folded:
                second._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.files = {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.name[-4:] != "-shm"}
            self.rows = {(Epoch(row[1]), int(row[0])): row for row in stored(path, sealing)}
            self.left = {(first.epoch, number) for begin, end in gone for number in range(begin, end + 1)}
            self.aliases = {row[:3]: row[3] for row in self._aliases(second)}
            second.close()

    def _start(self, path: Path, after_ms: int) -> Outbox:
        outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + after_ms, sealing=self.sealing)
        self.definitions = {}
        for device, name in ((PRESS, "force"), (OVEN, "zone")):
            definition, _ = outbox.define(device, [TagType(0, TagName(name), DataType.DOUBLE)], NOW_NS // 1_000_000)
            self.definitions[device] = definition
        return outbox

    def _fill(self, outbox: Outbox, count: int) -> None:
        for number in range(count):
            device = (PRESS, OVEN)[number % 2]
            alias = np.full(40, self.definitions[device].metrics[0].alias, np.int32)
            times = NOW_NS + np.arange(40) * 1000 + number
            part = SampleBatch(DataType.DOUBLE, alias, times, np.random.default_rng(number).random(40))
            batch = NewBatch(device, self.definitions[device].hash, (part,))
            outbox.commit(Commit([batch], now_ns=NOW_NS + number * 1_000_000))

    @staticmethod
    def _aliases(outbox: Outbox) -> list[tuple[str, str, int, int]]:
        rows = outbox._connection.execute("SELECT device, name, datatype, alias FROM alias").fetchall()
        return [(row[0], outbox._sealing.open_text(row[1], alias_place(row[3])), *row[2:]) for row in rows]

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A copy of the folder, to be damaged."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in self.files.items():
                (Path(folder) / name).write_bytes(data)
            yield Path(folder) / "outbox.db"


def opened_as_promised(box: Box, path: Path) -> Outbox:
    """Open the outbox, and hold it against what it was; the caller closes it."""
    with bounded_opening(path):
        outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + 5000, sealing=box.sealing)
    rows = rows_of(outbox)
    old = {(row.epoch, int(row.number)): row for row in rows if row.epoch != outbox.epoch and not row.unreadable}
    for key, row in old.items():
        assert key in box.rows or key in box.left, f"{key} was never there"
        assert content(row) == box.rows.get(key, content(row)), f"{key} has changed"
    declare_what_is_damaged(outbox, rows)
    named = explained(outbox)
    missing = box.rows.keys() - old.keys() - named
    assert missing == set(), "gone, and nobody says so"
    numbers = [row.number for row in rows_of(outbox)]
    assert numbers == sorted(set(numbers))
    aliases = {row[:3]: row[3] for row in box._aliases(outbox)}
    for tag, alias in aliases.items():
        assert box.aliases.get(tag, alias) == alias or alias not in box.aliases.values(), "an alias of another tag"
    return outbox


@contextmanager
def bounded_opening(path: Path) -> Iterator[None]:
    """What opening an outbox may cost, whatever has become of its files."""
    size_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
    with bounded_effort(size_bytes, cpu_s=4.0, cpu_us_per_byte=10.0, memory_per_byte=20, is_traced=False):
        yield


def emptied_by_bounds(box: Box, path: Path, bounds: OutboxBounds) -> Outbox:
    """Open the outbox, and let its bounds take what they want; the caller closes it."""
    later_ns = NOW_NS + 3_600_000_000_000
    outbox, now_s, suspicion = Outbox(path, "normal", now_ms=later_ns // 1_000_000, bounds=bounds), 0.0, ""
    for _ in range(5):
        now_s += 2.0
        try:
            if suspicion:
                outbox = Outbox(path, "normal", now_ms=later_ns // 1_000_000, bounds=bounds, suspicion=suspicion)
                suspicion = ""
            outbox.commit(Commit(now_ns=later_ns, now_s=now_s))
        except OutboxDamaged as exc:  # as the agent does: it is opened anew, and all of it looked at
            outbox.close()
            suspicion = str(exc)
    if suspicion:  # found in the last of the commits
        outbox = Outbox(path, "normal", now_ms=later_ns // 1_000_000, bounds=bounds, suspicion=suspicion)
    rows = rows_of(outbox)
    declare_what_is_damaged(outbox, rows)
    there = {(row.epoch, int(row.number)) for row in rows if not row.unreadable}
    assert box.rows.keys() - there - explained(outbox) == set(), "given up, and nobody says so"
    return outbox


def declare_what_is_damaged(outbox: Outbox, rows: list[StoredBatch]) -> None:
    """What the sender does when it is the turn of a row that is not as it was written."""
    refused = [(row.epoch, int(row.number), row.unreadable) for row in rows if row.unreadable]
    if refused:
        outbox.commit(Commit(refused=refused, now_ns=NOW_NS + 6_000_000_000))


def explained(outbox: Outbox) -> set[Key]:
    """Numbers that gap records of this start name, or will name."""
    found: set[Key] = set()
    for row in rows_of(outbox):
        if row.kind is Kind.GAP and row.epoch == outbox.epoch:
            gap = json.loads(row.record)
            for first, last in gap["batches"]:
                found.update((parse_epoch(gap["epoch"]), number) for number in range(first, last + 1))
    for epoch, first, last in outbox._connection.execute("SELECT epoch, first, last FROM given_up_batches"):
        found.update((Epoch(epoch), number) for number in range(first, last + 1))
    return found


def goes_on(outbox: Outbox) -> None:
    """It takes what comes, and what it says of its devices can be used."""
    for _, source_ns, stored_ns in outbox.device_states().values():
        assert all(time_ns is None or type(time_ns) is int for time_ns in (source_ns, stored_ns))
    assert all(type(gap.first_ns) is int for gap in outbox.open_gaps().values())
    assert 0 <= outbox.next_bd_seq() < 256
    definition, _ = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], NOW_NS // 1_000_000)
    part = SampleBatch(DataType.DOUBLE, np.full(3, definition.metrics[0].alias, np.int32), np.arange(3), np.ones(3))
    (row,) = outbox.commit(Commit([NewBatch(PRESS, definition.hash, (part,))], now_ns=NOW_NS + 7_000_000_000))
    assert [part.value.tolist() for part in row.parts] == [[1.0, 1.0, 1.0]]
    outbox.close()


def rows_of(outbox: Outbox) -> list[StoredBatch]:
    return read_batches(outbox._connection, 0, 1 << 40, 1 << 60, sealing=outbox._sealing)
