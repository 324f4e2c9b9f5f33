"""What an outbox gives up is declared in the end, by records that never fill it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from filling_outbox import MEGABYTE, NOW_NS, Filling

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind, Lane, NewBatch
from tests.exploration import steps

DEVICES, TAGS = 50, 12


class Plant:
    """Fifty devices that each give a batch with every commit, and no uplink."""

    def __init__(self, path: Path, bounds: OutboxBounds) -> None:
        self.path, self.bounds = path, bounds
        self.now_s = 0.0
        self.made = 0
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.path, "normal", now_ms=NOW_NS // 1_000_000, bounds=self.bounds)
        types = [TagType(n, TagName(f"line/zone{n}/temperature"), DataType.DOUBLE) for n in range(TAGS)]
        devices = [DeviceName(f"machine-{number}") for number in range(DEVICES)]
        self.definitions = [self.outbox.define(device, types, 0)[0] for device in devices]

    def commit(self) -> bool:
        """Whether something gave way."""
        self.now_s += 2.0
        batches: list[NewBatch] = []
        for definition in self.definitions:
            aliases = np.array([metric.alias for metric in definition.metrics], np.int32)
            times = np.full(TAGS, NOW_NS + int(self.now_s * 1e9))
            part = SampleBatch(DataType.DOUBLE, aliases, times, np.random.default_rng(self.made).random(TAGS))
            batches.append(NewBatch(definition.device, definition.hash, (part,)))
            self.made += TAGS
        work = Commit(batches, now_ns=NOW_NS + int(self.now_s * 1e9), now_s=self.now_s)
        self.outbox.commit(work)
        return bool(work.given_up)

    def gap_rows(self) -> int:
        query = "SELECT count(*) FROM outbox WHERE kind=?"
        return int(self.outbox._connection.execute(query, (Kind.GAP,)).fetchone()[0])

    def declared(self) -> int:
        rows = read_batches(self.outbox._connection, 0, 1 << 40, 1 << 60)
        return sum(json.loads(row.record)["count"] or 0 for row in rows if row.kind is Kind.GAP)

    def stored(self) -> int:
        query = "SELECT sum(sample_count) FROM outbox"
        return int(self.outbox._connection.execute(query).fetchone()[0])


def test_any_number_of_steps_of_relief_without_an_uplink_stays_within_the_bound(tmp_path: Path) -> None:
    bound = 600_000
    plant = Plant(tmp_path / "outbox.db", OutboxBounds(bytes_max=bound))
    wanted = steps(1000)
    done = commits = 0
    while done < wanted:
        done, commits = done + plant.commit(), commits + 1
        assert plant.outbox.relief.used_bytes <= bound
    assert commits < 10 * wanted
    assert plant.gap_rows() <= 2 * DEVICES, "one generation of records waits"
    assert plant.stored() > TAGS * DEVICES * 5, "and the room is for samples"
    plant.outbox.close()


def test_what_was_given_up_is_declared_in_the_end_though_the_agent_was_killed(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "outbox.db", OutboxBounds(bytes_max=600_000))
    assert sum(plant.commit() for _ in range(120))
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("outbox.db*"):
        shutil.copy(file, killed)
    plant.outbox.close()
    made = plant.made
    plant = Plant(killed / "outbox.db", OutboxBounds())
    assert plant.outbox.opening.salvaged is None
    assert plant.stored() + plant.declared() == made
    plant.outbox.close()


def refused_commit(tmp_path: Path, when_full: WhenFull) -> tuple[Filling, int]:
    """An outbox of 500 batches far below its bounds, whose disk then refuses a commit; samples stored before."""
    policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: when_full}
    full = Filling(tmp_path / "outbox.db", OutboxBounds(policies=policies))
    for _ in range(500):
        full.commit()
    before = sum(row.sample_count for row in full.stored())
    (pages,) = full.outbox._connection.execute("PRAGMA page_count").fetchone()
    full.outbox._connection.execute(f"PRAGMA max_page_count={pages + 1}")
    full.commit()
    full.commit()
    return full, before


def test_for_a_commit_that_the_disk_refuses_only_as_much_of_the_oldest_goes_as_is_needed(tmp_path: Path) -> None:
    full, before = refused_commit(tmp_path, WhenFull.DROP_OLDEST)
    stored = sum(row.sample_count for row in full.stored())
    assert before * 0.95 < stored < before, "a few in a hundred, and not all of it"
    assert full.is_complete()
    full.outbox.close()


def test_where_what_comes_gives_way_a_commit_that_the_disk_refuses_takes_nothing_that_is_stored(
    tmp_path: Path,
) -> None:
    full, before = refused_commit(tmp_path, WhenFull.DROP_NEWEST)
    stored = [row.number for row in full.stored()]
    assert sum(row.sample_count for row in full.stored()) >= before
    assert full.outbox.relief.refuses
    for _ in range(50):
        full.commit()
    assert [row.number for row in full.stored()] == stored
    assert full.gaps() == [], "and it is not told of with each commit"
    full.outbox._connection.execute("PRAGMA max_page_count=1000000")
    full.idle(20.0)
    assert full.commit(), "when the disk has room again, samples are taken again"
    full.tell()
    assert {gap["reason"] for gap in full.gaps()} == {"disk_full"}
    assert full.is_complete()
    full.outbox.close()


def test_where_samples_are_thinned_a_commit_that_the_disk_refuses_thins_and_drops_nothing(tmp_path: Path) -> None:
    full, before = refused_commit(tmp_path, WhenFull.THIN)
    full.tell()
    assert {gap["reason"] for gap in full.gaps()} == {"thinned"}
    assert sum(row.sample_count for row in full.stored()) > before * 0.9
    assert full.is_complete()
    full.outbox.close()


def test_what_was_not_taken_is_told_of_though_the_file_was_opened_anew_meanwhile(tmp_path: Path) -> None:
    policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: WhenFull.DROP_NEWEST}
    full = Filling(tmp_path / "outbox.db", OutboxBounds(bytes_max=2 * MEGABYTE, policies=policies))
    while not full.outbox.relief.refuses:
        full.commit()
    for _ in range(5):
        full.commit()
    assert full.summed_up()
    acknowledged = {full.outbox.epoch: BatchRanges([(row.number, row.number) for row in full.stored()])}
    full.outbox._file.close_connection()
    full.now_s += 1.0
    full.outbox.commit(Commit(acknowledged=acknowledged, now_ns=full.now_ns, now_s=full.now_s))
    full.tell()
    assert full.summed_up() == 0
    assert sum(gap["count"] for gap in full.gaps()) > 0
    full.outbox.close()


@pytest.mark.parametrize("when_full", WhenFull)
@pytest.mark.parametrize("bit", ["type", "value"])
@pytest.mark.parametrize("bound", ["bytes", "age"])
def test_a_bit_of_an_epoch_that_is_wrong_in_a_row_that_gives_way_ends_nothing_and_hides_nothing(
    tmp_path: Path, when_full: WhenFull, bit: str, bound: str
) -> None:
    policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: when_full}
    bounds = OutboxBounds(bytes_max=2 * MEGABYTE if bound == "bytes" else 1 << 40, policies=policies,
                          age_s_max=60.0 if bound == "age" else None)  # fmt: skip
    full = Filling(tmp_path / "outbox.db", bounds)
    for _ in range(30):
        full.commit()
    epoch = full.outbox.epoch
    full.outbox.close()
    damage_epoch(full.path, 10, epoch, bit)
    full.open()
    assert full.outbox.opening.salvaged is None, "nothing is seen of it yet"
    for _ in range(200):
        full.commit()
    full.idle(100.0)
    full.tell()
    full.outbox.close()
    full.open()
    if when_full is not WhenFull.DROP_NEWEST or bound == "age":
        assert full.explained(epoch) >= {10}, "the row that was damaged is declared with its true epoch"
    assert {row.epoch for row in full.rows()} >= {full.outbox.epoch}
    full.outbox.close()


def damage_epoch(path: Path, batch: int, epoch: int, bit: str) -> None:
    """Flip a bit of the epoch of a row: of its value, or of its type, so that an INTEGER is read as a REAL."""
    data = bytearray(path.read_bytes())
    stored = epoch.to_bytes(8, "big")
    at = data.find(stored)
    while at >= 0:
        head = data.rfind(b"\0\6", at - 16, at)
        if head > 0 and data[head - 2] == batch:
            break
        at = data.find(stored, at + 1)
    assert at > 0
    data[at + 7 if bit == "value" else head + 1] ^= 1
    path.write_bytes(data)
