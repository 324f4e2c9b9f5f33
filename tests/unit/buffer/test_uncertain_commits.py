"""A sync that fails leaves it open whether a commit was done: nothing of it is lost, and nothing is done twice."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.errors import OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer import schema
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import NewBatch
from tests.simulation.disk import OUTBOX, Disk

PRESS = DeviceName("press")
NOW_NS = 1_795_000_000_000_000_000


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk whose next syncs can fail; what was written stays readable, as in the page cache."""
    disk = Disk(tmp_path / "box", {}, lambda: True, random.Random(1))
    connecting = SimpleNamespace(connect=lambda path, **options: disk.connect(str(path), options), Error=sqlite3.Error)
    monkeypatch.setattr(schema, "sqlite3", connecting)
    yield disk
    disk.taken_apart()


@pytest.mark.parametrize("failures", range(1, 7))
def test_what_is_acknowledged_after_a_commit_became_uncertain_leaves_the_disk_too(disk: Disk, failures: int) -> None:
    outbox = Outbox(disk.folder / OUTBOX, "full", now_ms=NOW_NS // 1_000_000)
    definition, _ = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], 0)
    alias = np.array([definition.metrics[0].alias], np.int32)
    part = SampleBatch(DataType.DOUBLE, alias, np.array([NOW_NS]), np.array([1.0]))
    batch = NewBatch(PRESS, definition.hash, (part,))
    (first,) = outbox.commit(Commit([batch], now_ns=NOW_NS))
    disk.failing_syncs = failures
    work = Commit([batch], now_ns=NOW_NS)
    with contextlib.suppress(OutboxUnavailable):
        outbox.commit(work)
        work = Commit([batch], now_ns=NOW_NS)
    disk.failing_syncs = 0
    work.acknowledged[outbox.epoch] = BatchRanges([(1, first.number)])
    (last,) = outbox.commit(work)[-1:]
    waiting = [row.number for row in read_batches(outbox._connection, 0, 100, 1 << 20)]
    assert waiting == list(range(first.number + 1, last.number + 1))
    outbox.close()
