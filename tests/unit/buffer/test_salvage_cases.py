"""Damages of an outbox that have a name: what is salvaged, what is declared, and what becomes of the damaged file."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from damaged_box import NOW_NS, OVEN, PRESS, Box, explained, goes_on, opened_as_promised, rows_of

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.sparkplug.delivery import parse_epoch
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import Kind, NewBatch
from edge_agent.buffer.schema import PAGE_BYTES
from edge_agent.buffer.set_aside import damaged_files


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def root_page(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name=?", (table,)).fetchone()
    connection.close()
    return int(page)


@pytest.fixture(scope="module")
def folded() -> Box:
    return Box(is_folded=True)


def test_a_destroyed_first_page_costs_no_batch(folded: Box) -> None:
    with folded.unpacked() as path:
        overwrite(path, 0, bytes(PAGE_BYTES))
        outbox = opened_as_promised(folded, path)
        assert outbox.opening.salvaged is not None
        assert folded.rows.keys() <= {(row.epoch, int(row.number)) for row in rows_of(outbox)}
        assert outbox.next_bd_seq() == folded.bd_seq + 1
        (aside,) = damaged_files(path)
        assert aside.with_name(aside.name + "-page1").read_bytes() == bytes(PAGE_BYTES), "nothing of it is thrown away"
        goes_on(outbox)


def test_only_what_a_destroyed_page_held_is_gone_and_it_is_named(folded: Box) -> None:
    with folded.unpacked() as path:
        overwrite(path, (first_leaf(path) - 1) * PAGE_BYTES, b"\x55" * PAGE_BYTES)
        outbox = opened_as_promised(folded, path)
        held = {(row.epoch, int(row.number)) for row in rows_of(outbox)}
        gone = folded.rows.keys() - held
        assert 0 < len(gone) < len(folded.rows) / 2
        assert gone <= explained(outbox)
        own = [row for row in rows_of(outbox) if row.epoch == outbox.epoch]
        (gap, *_) = [json.loads(row.record) for row in own if row.kind is Kind.GAP]
        assert (gap["reason"], gap["device"]) == ("outbox_damaged", OVEN)
        assert gap["last_ns"] - gap["first_ns"] < 120 * 10**9, "the time of what is gone, and not of all"
        goes_on(outbox)


def first_leaf(path: Path) -> int:
    """The first page that holds rows of the outbox (https://sqlite.org/fileformat2.html, 1.6)."""
    root = root_page(path, "outbox")
    page = path.read_bytes()[(root - 1) * PAGE_BYTES : root * PAGE_BYTES]
    assert page[0] == 0x05, "there are several"
    cell = int.from_bytes(page[12:14], "big")
    return int.from_bytes(page[cell : cell + 4], "big")


@pytest.mark.parametrize("left", [b"", b"a letter to the plant manager " * 1000, b"\0" * 40_000])
def test_when_nothing_is_left_every_number_is_named_and_aliases_are_not_given_again(folded: Box, left: bytes) -> None:
    with folded.unpacked() as path:
        path.with_name("outbox.db-wal").unlink()
        path.write_bytes(left)
        outbox = opened_as_promised(folded, path)
        assert folded.rows.keys() <= explained(outbox)
        definition, _ = outbox.define(OVEN, [TagType(0, TagName("zone"), DataType.DOUBLE)], 0)
        assert definition.metrics[0].alias > max(folded.aliases.values())
        first = min(int(row.number) for row in rows_of(outbox))
        assert first > max(number for _, number in folded.rows)
        starts = [json.loads(row.record) for row in rows_of(outbox) if row.kind is Kind.EPOCH_START]
        assert {parse_epoch(each["epoch"]) for each in starts[0]["earlier"]} == {epoch for epoch, _ in folded.rows}
        outbox.close()


def test_an_outbox_that_somebody_removed_is_declared_too(folded: Box) -> None:
    with folded.unpacked() as path:
        path.unlink()
        path.with_name("outbox.db-wal").unlink()
        outbox = opened_as_promised(folded, path)
        assert folded.rows.keys() <= explained(outbox)
        goes_on(outbox)


def test_a_lost_write_ahead_log_is_declared_and_gives_no_number_again() -> None:
    box = Box(is_folded=False)
    with box.unpacked() as path:
        path.with_name("outbox.db-wal").unlink()
        outbox = opened_as_promised(box, path)
        assert outbox.opening.salvaged is None, "the database is as it was at the last checkpoint: nothing is damaged"
        given = {number for _, number in box.rows}
        assert min(row.number for row in rows_of(outbox) if row.epoch == outbox.epoch) > max(given)
        goes_on(outbox)


def test_a_restored_older_database_declares_what_came_after_it(tmp_path: Path) -> None:
    path, copy = tmp_path / "outbox.db", tmp_path / "copy"
    Outbox(path, "full", now_ms=NOW_NS // 1_000_000).close()
    shutil.copy(path, copy)
    epochs = []
    for _ in range(2):
        outbox = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
        epochs.append(outbox.epoch)
        outbox.close()
    shutil.copy(copy, path)
    outbox = Outbox(path, "full", now_ms=NOW_NS // 1_000_000)
    assert explained(outbox) == {(epochs[0], 2), (epochs[1], 3)}
    (start,) = [json.loads(row.record) for row in rows_of(outbox) if row.epoch == outbox.epoch and not row.kind]
    assert [(each["first"], each["last"]) for each in start["earlier"]] == [(1, 1), (2, 2), (3, 3)]
    outbox.close()


def test_noise_in_the_shared_memory_file_changes_nothing() -> None:
    box = Box(is_folded=False)
    with box.unpacked() as path:
        path.with_name("outbox.db-shm").write_bytes(b"\x55" * 32_768)
        outbox = opened_as_promised(box, path)
        assert (outbox.opening.salvaged, outbox.losses) == (None, ())
        goes_on(outbox)


def test_numbers_that_a_damaged_count_would_skip_are_not_skipped(folded: Box) -> None:
    with folded.unpacked() as path:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE sqlite_sequence SET seq=seq + 1000000000000")
        connection.close()
        outbox = opened_as_promised(folded, path)
        assert min(row.number for row in rows_of(outbox) if row.epoch == outbox.epoch) < 1000
        assert outbox.losses == ()
        outbox.close()


def test_definitions_go_on_where_their_table_is_destroyed_and_devices_tell_them_again(folded: Box) -> None:
    with folded.unpacked() as path:
        for table in ("definition", "alias"):
            overwrite(path, (root_page(path, table) - 1) * PAGE_BYTES, b"\x55" * PAGE_BYTES)
        outbox = opened_as_promised(folded, path)
        definition, rows = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], 0)
        assert [row.kind for row in rows] == [Kind.DEFINITION]
        assert definition.metrics[0].alias > max(folded.aliases.values())
        outbox.close()


def test_only_the_newest_damaged_files_are_kept(folded: Box) -> None:
    with folded.unpacked() as path:
        for number in range(5):
            overwrite(path, 0, b"\x55" * 16)
            outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + number // 2 * 1000)
            outbox.close()
        names = [file.name for file in damaged_files(path)]
        assert names[-1] == outbox.opening.set_aside
        assert len(names) == len(set(names)) == 3
        beside = {file.name for file in path.parent.iterdir() if "damaged" in file.name}
        assert beside == {*names, *(f"{name}-page1" for name in names)}


def test_damaged_files_leave_before_the_disk_is_full(folded: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = OutboxBounds(free_disk_bytes_min=100_000_000)
    with folded.unpacked() as path:
        overwrite(path, 0, b"\x55" * 16)
        disk_with(monkeypatch, 1000_000_000)
        outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000, bounds=bounds)
        assert len(damaged_files(path)) == 1
        disk_with(monkeypatch, 50_000_000)
        outbox.commit(Commit(now_ns=NOW_NS, now_s=10.0))
        assert damaged_files(path) == []
        outbox.close()


def test_where_the_disk_has_no_room_for_all_the_newest_samples_are_salvaged_and_the_others_named(
    folded: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folded.unpacked() as path:
        overwrite(path, 0, b"\x55" * 16)
        monkeypatch.setattr("edge_agent.buffer.salvage.CHUNK_BYTES", 8192)
        disk_with(monkeypatch, 175_000)
        outbox = opened_as_promised(folded, path)
        samples = [int(row.number) for row in rows_of(outbox) if row.kind is Kind.SAMPLES]
        assert samples == list(range(samples[0], samples[-1] + 1))
        assert samples[-1] == max(number for _, number in folded.rows)
        assert 5 < len(samples) < 40
        goes_on(outbox)


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096))


class Killed(BaseException):
    """The process dies here."""


STEPS: list[tuple[str, str]] = [
    ("edge_agent.buffer.set_aside.SettingAside.move", "before"),
    ("edge_agent.buffer.set_aside.SettingAside.move", "after"),
    ("edge_agent.buffer.salvage.Salvage._copy_definitions", "after"),
    ("edge_agent.buffer.set_aside.SettingAside.replace", "before"),
    ("edge_agent.buffer.set_aside.SettingAside.done", "before"),
    ("edge_agent.buffer.outbox.Outbox._begin_epoch", "before"),
]


@pytest.mark.parametrize(("where", "when"), STEPS)
def test_a_salvage_that_is_interrupted_anywhere_is_finished_by_the_next_start(
    folded: Box, monkeypatch: pytest.MonkeyPatch, where: str, when: str
) -> None:
    owner_name, _, name = where.rpartition(".")
    module, _, class_name = owner_name.rpartition(".")
    owner = getattr(sys.modules[module], class_name)
    really: Callable[..., Any] = getattr(owner, name)

    def dies(*args: Any, **more: Any) -> None:
        if when == "after":
            really(*args, **more)
        raise Killed

    with folded.unpacked() as path:
        overwrite(path, 0, b"\x55" * 16)
        overwrite(path, (root_page_of_copy(folded, "device_state") - 1) * PAGE_BYTES, bytes(PAGE_BYTES))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(Killed):
                Outbox(path, "normal", now_ms=NOW_NS // 1_000_000)
        outbox = opened_as_promised(folded, path)
        assert len(damaged_files(path)) == 1
        assert any(lost.states for lost in outbox.losses), "what was lost is declared by whoever finishes it"
        assert not list(path.parent.glob("*.salvag*"))
        goes_on(outbox)


@pytest.mark.parametrize("written", [b"", b"outbox.db.dam"])
def test_a_note_of_a_salvage_that_the_disk_took_in_part_does_not_stop_a_start(folded: Box, written: bytes) -> None:
    with folded.unpacked() as path:
        path.with_name("outbox.db.salvaging").write_bytes(written)
        outbox = opened_as_promised(folded, path)
        assert not damaged_files(path)
        assert not list(path.parent.glob("*.salvag*"))
        goes_on(outbox)


def root_page_of_copy(box: Box, table: str) -> int:
    with box.unpacked() as path:
        return root_page(path, table)


def test_salvage_takes_little_memory_however_large_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000)
    definition, _ = outbox.define(PRESS, [TagType(0, TagName("force"), DataType.DOUBLE)], 0)
    alias = np.full(10_000, definition.metrics[0].alias, np.int32)
    part = SampleBatch(DataType.DOUBLE, alias, NOW_NS + np.arange(10_000), np.random.default_rng(1).random(10_000))
    for _ in range(200):
        outbox.commit(Commit([NewBatch(PRESS, definition.hash, (part,))], now_ns=NOW_NS))
    outbox.close()
    assert path.stat().st_size > 40_000_000
    overwrite(path, 20, b"\x55")
    tracemalloc.start()
    outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outbox.opening.salvaged is not None
    assert outbox.opening.salvaged.samples == 2_000_000
    assert peak_bytes < 10_000_000
    outbox.close()


def test_a_lost_write_ahead_log_found_by_a_clock_of_1970_is_declared_in_order() -> None:
    box = Box(is_folded=False)
    with box.unpacked() as path:
        path.with_name(path.name + "-wal").unlink()
        outbox = Outbox(path, "normal", now_ms=5000)
        gaps = [json.loads(row.record) for row in rows_of(outbox) if row.kind is Kind.GAP and row.epoch == outbox.epoch]
        assert gaps
        assert all(gap["first_ns"] <= gap["last_ns"] for gap in gaps)
        assert max(gap["last_ns"] for gap in gaps) >= NOW_NS
        outbox.close()


@pytest.mark.parametrize("trigger", ["outbox_came", "outbox_left", "outbox_thinned"])
def test_a_trigger_whose_definition_is_wrong_is_seen_at_the_start_and_nothing_is_lost(
    folded: Box, trigger: str
) -> None:
    with folded.unpacked() as path:
        damaged = bytearray(path.read_bytes())
        at = damaged.index(b"UPDATE waiting SET", damaged.index(f"CREATE TRIGGER {trigger}".encode()))
        damaged[at + len(b"UPDATE ")] ^= 1
        path.write_bytes(damaged)
        outbox = opened_as_promised(folded, path)
        assert outbox.opening.salvaged is not None
        goes_on(outbox)
