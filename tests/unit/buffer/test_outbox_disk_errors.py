"""A disk that fails in the middle of a commit: the file is opened anew, and what is in it counts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outbox_model import stored

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName, TagName, TagType
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer import damage, schema
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Gap, Kind, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.schema import PAGE_BYTES, open_reader
from edge_agent.buffer.writer import Damage, OutboxReader, OutboxWriter, check_beside

PRESS = DeviceName("press")
FORCE = TagType(0, TagName("force"), DataType.DOUBLE)
NOW_NS = 1_795_000_000_000_000_000


class FailingConnection:
    """A connection whose next statement ``fails_at`` ends in an error of the disk, before or after it was done."""

    def __init__(self, real: sqlite3.Connection, fails_at: str, *, is_done: bool, code: int) -> None:
        self._real = real
        self._fails_at = fails_at
        self._is_done = is_done
        self._code = code

    def execute(self, statement: str, *bound: Any) -> sqlite3.Cursor:
        if statement.startswith(self._fails_at):
            if self._is_done:
                self._real.execute(statement, *bound)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._real.execute(statement, *bound)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def fail(outbox: Outbox, at: str = "COMMIT", *, is_done: bool = False, code: int = sqlite3.SQLITE_IOERR_FSYNC) -> None:
    """The next commit fails, and closing the connection leaves what was not done undone."""
    failing = FailingConnection(outbox._connection, at, is_done=is_done, code=code)
    outbox._connection = outbox._file._connection = failing  # type: ignore[assignment]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    opened = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    opened.hash = opened.define(PRESS, [FORCE], NOW_NS // 1_000_000)[0].hash  # type: ignore[attr-defined]
    yield opened
    opened.close()


def batch(outbox: Outbox, value: float) -> NewBatch:
    part = SampleBatch(DataType.DOUBLE, np.full(2, 1 << 14, np.int32), NOW_NS + np.arange(2), np.full(2, value))
    return NewBatch(PRESS, DefinitionHash(outbox.hash), (part,))  # type: ignore[attr-defined]


def commit(outbox: Outbox, value: float) -> list[StoredBatch]:
    return outbox.commit(Commit([batch(outbox, value)], now_ns=NOW_NS))


def values(path: Path) -> list[float]:
    """The first value of every batch of samples, in order."""
    reader = open_reader(path)
    rows = read_batches(reader, 0, 1000, 1 << 30)
    reader.close()
    return [float(row.parts[0].value[0]) for row in rows if row.kind is Kind.SAMPLES]


def test_a_commit_that_the_disk_did_not_do_is_done_when_it_is_asked_for_again(outbox: Outbox) -> None:
    work = Commit([batch(outbox, 1.0)], now_ns=NOW_NS)
    fail(outbox)
    with pytest.raises(OutboxUnavailable, match="cannot be written: disk I/O error"):
        outbox.commit(work)
    assert values(outbox.path) == []
    assert outbox.opened_again == ["disk I/O error"]
    (row,) = outbox.commit(work)
    assert (row.number, values(outbox.path)) == (3, [1.0])


def test_a_commit_that_was_done_although_the_disk_reports_an_error_is_not_done_twice(outbox: Outbox) -> None:
    work = Commit([batch(outbox, 1.0)], opened_gaps=[OpenGap(PRESS, "device_unavailable", 5)], now_ns=NOW_NS)
    fail(outbox, is_done=True)
    (row,) = outbox.commit(work)
    assert row.number == 3
    assert [row.number for row in commit(outbox, 2.0)] == [4]
    assert values(outbox.path) == [1.0, 2.0]


def test_what_was_done_is_known_also_when_the_disk_stays_away_for_a_while(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Commit([batch(outbox, 1.0)], now_ns=NOW_NS)
    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.buffer.outbox_file.open_outbox_file", _away)
        fail(outbox, is_done=True)
        for _ in range(3):
            with pytest.raises(OutboxUnavailable):
                outbox.commit(work)
        with pytest.raises(OutboxUnavailable, match="cannot be opened: unable to open"):
            outbox.next_bd_seq()
        with pytest.raises(OutboxUnavailable):
            outbox.definition(outbox.hash)  # type: ignore[attr-defined]
    assert outbox.commit(Commit(acknowledged={outbox.epoch: BatchRanges([(1, 1)])}, now_ns=NOW_NS)) == []
    (row,) = outbox.commit(work)
    assert (row.number, values(outbox.path)) == (3, [1.0])
    assert [row.number for row in commit(outbox, 2.0)] == [4]


def _away(*_: object) -> sqlite3.Connection:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    raise error


def test_a_definition_that_was_stored_although_the_disk_reports_an_error_is_there_once(outbox: Outbox) -> None:
    fail(outbox, is_done=True)
    definition, (row,) = outbox.define(DeviceName("oven"), [FORCE], 0)
    assert (row.kind, row.number) == (Kind.DEFINITION, 3)
    assert outbox.define(DeviceName("oven"), [FORCE], 0) == (definition, [])


@pytest.mark.parametrize(("at", "code"), [("BEGIN", sqlite3.SQLITE_READONLY), ("INSERT", sqlite3.SQLITE_IOERR_WRITE)])
def test_a_connection_that_has_met_an_error_is_not_used_again(outbox: Outbox, at: str, code: int) -> None:
    before = outbox._connection
    fail(outbox, at, code=code)
    with pytest.raises(OutboxUnavailable):
        outbox.commit(Commit(declared_gaps=[Gap(PRESS, "clock_set", 1, 2)], now_ns=NOW_NS))
    assert outbox._connection is not before
    assert [row.number for row in commit(outbox, 1.0)] == [3]


def test_whoever_reads_lets_go_before_the_file_is_opened_anew(outbox: Outbox) -> None:
    """While one connection stays open, SQLite goes on with what it has in shared memory, and verifies nothing."""
    let_go: list[str] = []
    outbox.when_opened_again(lambda: let_go.append(threading.current_thread().name))
    fail(outbox, is_done=True)
    commit(outbox, 1.0)
    assert let_go == [threading.current_thread().name]


def test_batches_that_had_been_committed_and_are_gone_after_an_error_are_named_by_the_next_epoch(
    outbox: Outbox, path: Path
) -> None:
    commit(outbox, 1.0)
    older = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    for value in (2.0, 3.0):
        commit(outbox, value)

    def what_was_not_synced_is_gone() -> None:
        for end, content in older.items():
            path.with_name(path.name + end).write_bytes(content)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)

    outbox.when_opened_again(what_was_not_synced_is_gone)
    fail(outbox)
    with pytest.raises(OutboxDamaged, match="ends with batch 3, and batch 5 had been committed"):
        commit(outbox, 4.0)
    outbox.close()
    after = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    (lost,) = after.losses
    assert {epoch: list(ranges) for epoch, ranges in lost.gone.items()} == {outbox.epoch: [(4, 5)]}
    start, gap = [json.loads(row[9]) for row in stored(path) if row[1] == after.epoch]
    assert start["first"] == 6
    assert start["earlier"] == [{"epoch": format_epoch(outbox.epoch), "first": 1, "last": 5}]
    assert (gap["device"], gap["reason"], gap["batches"]) == (PRESS, "outbox_damaged", [[4, 5]])
    after.close()


def test_a_database_that_turns_out_to_be_damaged_is_said_to_be(outbox: Outbox) -> None:
    fail(outbox, "INSERT", code=sqlite3.SQLITE_CORRUPT)
    with pytest.raises(OutboxDamaged, match="cannot be written"):
        outbox.commit(Commit(declared_gaps=[Gap(PRESS, "clock_set", 1, 2)], now_ns=NOW_NS))


def test_a_start_on_a_suspicion_looks_at_everything_and_changes_nothing_that_is_right(outbox: Outbox) -> None:
    commit(outbox, 1.0)
    outbox.close()
    after = Outbox(outbox.path, "full", now_ms=NOW_NS // 1_000_000, suspicion="it was said to be damaged")
    assert (after.opening.salvaged, after.losses, values(outbox.path)) == (None, (), [1.0])
    after.close()


def test_a_part_that_cannot_be_read_is_tried_again_before_the_file_counts_as_damaged(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(outbox, 1.0)
    outbox.close()
    failures = [2]
    really = damage.find_damage

    def unreadable(*args: Any, **more: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            raise error
        return really(*args, **more)

    monkeypatch.setattr("edge_agent.buffer.outbox_file.find_damage", unreadable)
    monkeypatch.setattr("edge_agent.buffer.outbox_file.READ_AGAIN_S", 0.01)
    after = Outbox(outbox.path, "full", now_ms=NOW_NS // 1_000_000)
    assert after.opening.salvaged is None
    after.close()
    failures[0] = 3
    after = Outbox(outbox.path, "full", now_ms=NOW_NS // 1_000_000)
    assert after.opening.salvaged is not None
    assert values(outbox.path) == [1.0]
    after.close()


def destroy(path: Path) -> None:
    """Every page but the first."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\x55" * (path.stat().st_size - PAGE_BYTES))


async def test_whoever_reads_or_writes_a_damaged_outbox_gives_notice(outbox: Outbox) -> None:
    for number in range(100):
        commit(outbox, float(number))
    outbox.close()
    destroy(outbox.path)
    found = Damage()
    reader = OutboxReader(outbox.path, outbox.epoch, damage=found)
    with pytest.raises(OutboxDamaged):
        await reader.read(0, 10, 1000, urgent=False)
    reader.close()
    assert found.found.is_set()
    assert "malformed" in found.reason
    beside = Damage()
    await check_beside(outbox.path, beside)
    assert beside.found.is_set()


async def test_a_check_beside_the_work_finds_nothing_in_an_outbox_that_is_right(path: Path) -> None:
    writer = await OutboxWriter.open(path, "full", NOW_NS // 1_000_000)
    await check_beside(path, writer.damage)
    assert not writer.damage.found.is_set()
    await writer.close()


def test_an_outbox_too_large_to_be_looked_at_at_once_is_to_be_checked_when_it_was_not_closed(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(outbox, 1.0)
    for end in ("", "-wal", ".mark"):
        shutil.copy(path.with_name(path.name + end), path.with_name("copy" + end))
    monkeypatch.setattr(damage, "_check_pages", lambda *_: damage.Finding(is_complete=False))
    killed = Outbox(path.with_name("copy"), "full", now_ms=0)
    assert killed.opening.to_check
    killed.close()
    closed = Outbox(path.with_name("copy"), "full", now_ms=0)
    assert not closed.opening.to_check
    closed.close()


def test_a_disk_that_is_full_is_not_opened_again_for_it(outbox: Outbox) -> None:
    fail(outbox, code=sqlite3.SQLITE_FULL)
    before = outbox._connection
    with pytest.raises(OutboxUnavailable):
        commit(outbox, 1.0)
    assert outbox._connection is before
    assert outbox.opened_again == []


def test_an_outbox_that_another_program_holds_costs_neither_the_ballast_nor_what_was_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Outbox(path, "full", now_ms=NOW_NS // 1_000_000).close()
    kept = [path.with_name(f"{path.name}{end}") for end in (".ballast", ".damaged-20260101T000000Z")]
    for file in kept:
        file.write_bytes(bytes(1000))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    connect = sqlite3.connect
    monkeypatch.setattr(schema.sqlite3, "connect", lambda *a, **options: connect(*a, **{**options, "timeout": 0.0}))
    with pytest.raises(OutboxUnavailable, match="locked"):
        Outbox(path, "full", now_ms=NOW_NS // 1_000_000, bounds=OutboxBounds(ballast_bytes=1000))
    holder.close()
    assert all(file.exists() for file in kept), "they give way only where there is no room"
