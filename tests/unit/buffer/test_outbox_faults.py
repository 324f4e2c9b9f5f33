"""Disks that are full or fail, files that are damaged, old, new, or something else altogether."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from outbox_model import content, stored

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.errors import OutboxTooNew, OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName, TagName, TagType
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.definitions import ALIAS_FIRST
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import file_bytes, read_batches, read_status
from edge_agent.buffer.rows import Kind, NewBatch, OpenGap
from edge_agent.buffer.schema import SCHEMA_VERSION, open_reader
from edge_agent.buffer.set_aside import damaged_files

PRESS = DeviceName("press")
FORCE = TagType(0, TagName("force"), DataType.DOUBLE)
NOW_NS = 1_795_000_000_000_000_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / "outbox.db", "full", now_ms=NOW_NS // 1_000_000)
    yield opened
    opened.close()


def samples(count: int, first: int = 0) -> tuple[SampleBatch, ...]:
    rows = np.arange(first, first + count)
    tag = np.full(count, ALIAS_FIRST, np.int32)
    return (SampleBatch(DataType.DOUBLE, tag, NOW_NS + rows * 1_000_000, rows.astype(np.float64)),)


def commit_of(outbox: Outbox, count: int) -> Commit:
    definition, _ = outbox.define(PRESS, [FORCE], NOW_NS // 1_000_000)
    return Commit([NewBatch(PRESS, definition.hash, samples(count))], now_ns=NOW_NS)


@contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond ``size_bytes``: writes fail as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_the_disk_does_not_take_leaves_no_trace_and_works_afterwards(outbox: Outbox) -> None:
    work = commit_of(outbox, 40_000)
    work.opened_gaps.append(OpenGap(PRESS, "device_unavailable", 5))
    work.acknowledged[outbox.epoch] = BatchRanges([(1, 2)])
    before = stored(outbox.path)
    with files_at_most(file_bytes(outbox.path)):
        for _ in range(3):
            with pytest.raises(OutboxUnavailable, match="cannot be written"):
                outbox.commit(work)
    assert stored(outbox.path) == before
    assert outbox.open_gaps() == {}
    (row,) = outbox.commit(work)
    assert row.number == 3
    assert stored(outbox.path) == [content(row)]


def test_a_file_that_may_not_grow_keeps_what_it_has(outbox: Outbox) -> None:
    (pages,) = outbox._connection.execute("PRAGMA page_count").fetchone()
    outbox._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OutboxUnavailable):
        outbox.commit(commit_of(outbox, 10_000))
    with pytest.raises(OutboxUnavailable):
        outbox.define(PRESS, [TagType(0, TagName("x" * 60_000), DataType.DOUBLE)], 0)
    assert [row[2] for row in stored(outbox.path)] == [Kind.EPOCH_START, Kind.DEFINITION]
    outbox._connection.execute("PRAGMA max_page_count=1000000")
    (row,) = outbox.commit(commit_of(outbox, 10_000))
    assert row.number == 3


def test_the_bd_seq_is_not_counted_while_the_disk_does_not_take_it(outbox: Outbox) -> None:
    assert outbox.next_bd_seq() == 0
    with files_at_most(1), pytest.raises(OutboxUnavailable):
        outbox.next_bd_seq()
    assert outbox.next_bd_seq() == 1


def test_an_error_that_is_none_of_the_disk_undoes_the_commit_too(outbox: Outbox) -> None:
    work = commit_of(outbox, 1)
    work.opened_gaps.append(OpenGap(PRESS, "device_unavailable", 5))
    work.batches.append(NewBatch(PRESS, DefinitionHash("no such"), ()))
    with pytest.raises(ValueError, match="empty"):
        outbox.commit(work)
    assert outbox.open_gaps() == {}
    work.batches.pop()
    assert [row.number for row in outbox.commit(work)] == [3]


def test_a_restored_older_copy_never_reuses_a_number_of_its_epoch(tmp_path: Path, outbox: Outbox) -> None:
    outbox.commit(commit_of(outbox, 1))
    shutil.copy(outbox.path, tmp_path / "copy.db")
    shutil.copy(f"{outbox.path}-wal", tmp_path / "copy.db-wal")
    outbox.commit(commit_of(outbox, 2))
    after_copy = {(row[1], row[0]) for row in stored(outbox.path)}
    restored = Outbox(tmp_path / "copy.db", "full", now_ms=0)
    (row,) = restored.commit(commit_of(restored, 3))
    assert row.number == 5
    assert (row.epoch, row.number) not in after_copy
    assert restored.epoch != outbox.epoch
    restored.close()


def damage(path: Path, table: str, column: str, value: bytes) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE {table} SET {column}=? WHERE rowid=(SELECT max(rowid) FROM {table})", (value,))
    connection.close()


def test_a_damaged_row_is_set_aside_with_a_gap_that_names_it(outbox: Outbox) -> None:
    outbox.commit(commit_of(outbox, 1))
    damage(outbox.path, "outbox", "payload", b"LS\x01\x01 what was here is gone")
    reader = open_reader(outbox.path)
    row = read_batches(reader, 2, 10, 10)[0]
    reader.close()
    assert (row.number, row.parts) == (3, ())
    assert "damaged" in row.unreadable
    (gap,) = outbox.commit(Commit(refused=[(row.epoch, row.number, "the row is damaged")], now_ns=NOW_NS + 5))
    document = json.loads(gap.record)
    assert (document["device"], document["reason"]) == (PRESS, "outbox_damaged")
    assert document["first_ns"] < NOW_NS <= document["last_ns"]
    assert (document["epoch"], document["batches"]) == (format_epoch(outbox.epoch), [[3, 3]])
    assert [row[2] for row in stored(outbox.path)][2:] == [Kind.GAP]


def test_the_gap_of_a_refused_batch_spans_its_samples(outbox: Outbox) -> None:
    (row,) = outbox.commit(commit_of(outbox, 7))
    work = Commit(refused=[(row.epoch, row.number, "too large"), (row.epoch, 999, "unknown")], now_ns=NOW_NS)
    (gap,) = outbox.commit(work)
    document = json.loads(gap.record)
    assert (document["first_ns"], document["last_ns"]) == (NOW_NS, NOW_NS + 6_000_000)
    assert (document["count"], "too large" in document["detail"]) == (7, True)
    assert (document["epoch"], document["batches"]) == (format_epoch(row.epoch), [[row.number, row.number]]), (
        "the ledger explains it by these"
    )
    assert outbox.commit(work) == []


def test_a_damaged_definition_is_none_until_the_device_defines_it_again(outbox: Outbox) -> None:
    definition, _ = outbox.define(PRESS, [FORCE], 0)
    for body in (b"noise", definition.body.replace(b"force", b"farce"), b""):
        connection = sqlite3.connect(outbox.path)
        with connection:
            connection.execute("UPDATE definition SET body=?", (body,))
        connection.close()
        assert outbox.definition(definition.hash) is None
        assert outbox.define(PRESS, [FORCE], 0) == (definition, [])
        assert outbox.definition(definition.hash) == definition


def test_a_definition_that_the_cloud_refused_is_told_again_by_the_next_define(outbox: Outbox) -> None:
    definition, (row,) = outbox.define(PRESS, [FORCE], 0)
    assert outbox.define(PRESS, [FORCE], 0) == (definition, [])
    outbox.commit(Commit(refused=[(row.epoch, row.number, "too large")]))
    again, (told,) = outbox.define(PRESS, [FORCE], 0)
    assert (again, told.kind, told.record) == (definition, Kind.DEFINITION, definition.body)
    outbox.commit(Commit(acknowledged={told.epoch: BatchRanges([(told.number, told.number)])}))
    assert outbox.define(PRESS, [FORCE], 0) == (definition, [])


def test_a_file_of_something_else_is_set_aside_as_it_is(tmp_path: Path) -> None:
    path, letter = tmp_path / "outbox.db", "not a database, but a letter to the plant manager " * 20
    path.write_text(letter)
    outbox = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    assert outbox.commit(commit_of(outbox, 1))
    outbox.close()
    (aside,) = damaged_files(path)
    assert (outbox.opening.set_aside, outbox.opening.reason) == (aside.name, "it is not a database")
    assert aside.read_text() == letter


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    Outbox(path, "full", now_ms=0).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.execute("UPDATE meta SET value=value + 1 WHERE key='schema'")
    connection.commit()
    connection.close()
    with pytest.raises(OutboxTooNew, match="newer Lineside"):
        Outbox(path, "full", now_ms=0)
    assert len(stored(path)) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable, match=r"nowhere/outbox\.db cannot be opened"):
        Outbox(tmp_path / "nowhere" / "outbox.db", "full", now_ms=0)


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_durability_is_what_sqlite_is_told(tmp_path: Path, durability: str, synchronous: int) -> None:
    outbox = Outbox(tmp_path / "outbox.db", durability, now_ms=0)  # type: ignore[arg-type]
    assert outbox._connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert outbox._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    outbox.close()


def test_status_counts_what_waits(outbox: Outbox) -> None:
    for count in (3, 4):
        outbox.commit(commit_of(outbox, count))
    reader = open_reader(outbox.path)
    status = read_status(reader, outbox.path, outbox.epoch)
    reader.close()
    assert (status.batches, status.samples, status.newest) == (4, 7, 4)
    assert status.oldest_ms == NOW_NS // 1_000_000
    assert status.file_bytes >= outbox.path.stat().st_size
