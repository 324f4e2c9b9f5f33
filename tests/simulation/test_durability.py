"""What a durability promises holds on a disk that keeps only what was synced, and the same test sees it broken."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer import schema
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import NewBatch
from edge_agent.buffer.schema import Durability
from tests.simulation.disk import Disk, Files

PRESS = DeviceName("press")
NOW_NS = 1_795_000_000_000_000_000
COMMITS = 40
Row = tuple[int, int, bytes]


class NothingUnsynced(random.Random):
    """Of what was not synced, no sector has reached the disk by chance."""

    def choice(self, seq: Any) -> Any:
        return min(seq)


def lost_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability, *, power_lost: bool, sync: str = ""
) -> list[Row]:
    """Rows that had been committed when the box went down, and are not there afterwards.

    ``sync``: what is planted as PRAGMA synchronous after the outbox has set its own.
    """
    disk = Disk(folder / "mount", {}, lambda: True, NothingUnsynced())
    monkeypatch.setattr(schema, "sqlite3", _Connecting(disk, sync))
    outbox = Outbox(folder / "mount" / "outbox.db", durability, now_ms=NOW_NS // 1_000_000)
    definition, _ = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], NOW_NS // 1_000_000)
    alias = np.full(20, definition.metrics[0].alias, np.int32)
    for number in range(COMMITS):
        part = SampleBatch(DataType.DOUBLE, alias, NOW_NS + np.arange(20), np.full(20, float(number)))
        outbox.commit(Commit([NewBatch(PRESS, definition.hash, (part,))], now_ns=NOW_NS + number))
    committed = rows(disk.image(), folder / "before")
    disk.cut(power_lost=power_lost)
    left = disk.taken_apart()
    monkeypatch.undo()
    assert len(committed) == COMMITS + 2, "an epoch start, a definition, and the samples"
    found = set(rows(left, folder / "after"))
    return [row for row in committed if row not in found]


def rows(files: Files, folder: Path) -> list[Row]:
    """What SQLite finds in these files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    connection = sqlite3.connect(folder / "outbox.db")
    try:
        return connection.execute("SELECT batch, epoch, payload FROM outbox ORDER BY batch").fetchall()
    except sqlite3.Error:  # not even the tables have reached the disk
        return []
    finally:
        connection.close()


class _Connecting:
    """The module ``sqlite3``, whose connections pass through a disk."""

    def __init__(self, disk: Disk, sync: str) -> None:
        self._disk = disk
        self._sync = sync

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, path: Any, **options: Any) -> Any:
        connection = self._disk.connect(str(path), options)
        return _Planted(connection, self._sync) if self._sync else connection


class _Planted:
    """A connection on which the outbox's own ``synchronous`` becomes another one."""

    def __init__(self, connection: sqlite3.Connection, sync: str) -> None:
        self.__dict__.update(_connection=connection, _sync=sync)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._connection, name, value)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement.startswith("PRAGMA synchronous"):
            statement = f"PRAGMA synchronous={self._sync}"
        return self._connection.execute(statement, *arguments)


def test_with_durability_full_a_commit_survives_the_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lost_rows(tmp_path, monkeypatch, "full", power_lost=True) == []


def test_without_syncs_the_same_loss_of_power_is_seen_to_lose_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lost_rows(tmp_path, monkeypatch, "full", power_lost=True, sync="OFF")
    assert len(lost) == COMMITS + 2, "nothing was ever synced"


def test_with_durability_normal_a_commit_survives_the_end_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lost_rows(tmp_path, monkeypatch, "normal", power_lost=False) == []


def test_durability_normal_does_not_promise_more_than_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = lost_rows(tmp_path, monkeypatch, "normal", power_lost=True)
    assert lost, "a loss of power takes the commits since the last checkpoint: only full syncs each of them"
    numbers = [number for number, _, _ in lost]
    assert numbers == list(range(numbers[0], COMMITS + 3)), "and only the newest"
