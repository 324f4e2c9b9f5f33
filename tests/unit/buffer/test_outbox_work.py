"""The work of a commit, and of a look at the outbox, does not grow with what waits."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from filling_outbox import Filling

from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.checksums import INSERT_ROW, with_checksum
from edge_agent.buffer.reading import read_batches, read_status
from edge_agent.buffer.rows import Kind, Lane

STEPS = 1000
"""Of SQLite's virtual machine, between two calls of its progress handler."""


def work(connection: sqlite3.Connection) -> list[int]:
    """Grows by one for every thousand steps of SQLite."""
    counted: list[int] = []
    connection.set_progress_handler(lambda: counted.append(1), STEPS)
    return counted


@pytest.mark.parametrize("lane", [Lane.SAMPLES, Lane.ALARMS])
def test_a_bound_of_age_costs_the_same_however_much_waits(tmp_path: Path, lane: Lane) -> None:
    aged = Filling(tmp_path / "outbox.db", OutboxBounds(age_s_max=1e6))
    seen: list[int] = []
    for count in (200, 3000):
        fill(aged, count, lane)
        aged.idle(2.0)
        counted = work(aged.outbox._connection)
        aged.idle(2.0)
        aged.outbox._connection.set_progress_handler(None, 0)
        seen.append(len(counted))
    assert seen[1] <= seen[0] + 1
    aged.outbox.close()


def test_the_outbox_in_numbers_costs_the_same_however_much_waits_and_is_right(tmp_path: Path) -> None:
    filling = Filling(tmp_path / "outbox.db", OutboxBounds())
    seen: list[int] = []
    for count in (200, 3000):
        fill(filling, count, Lane.SAMPLES)
        counted = work(filling.outbox._connection)
        status = read_status(filling.outbox._connection, filling.path, filling.outbox.epoch)
        filling.outbox._connection.set_progress_handler(None, 0)
        seen.append(len(counted))
        rows = read_batches(filling.outbox._connection, 0, 1 << 40, 1 << 60)
        assert (status.batches, status.samples) == (len(rows), sum(row.sample_count for row in rows))
    assert seen[1] <= seen[0]
    filling.outbox.close()


@pytest.mark.parametrize("said", ["'noise'", "1e300", "-9223372036854775808", "9223372036854775807"])
def test_a_row_that_says_anything_of_its_samples_can_leave(tmp_path: Path, said: str) -> None:
    filling = Filling(tmp_path / "outbox.db", OutboxBounds())
    (row,) = filling.commit()
    filling.commit()
    connection = filling.outbox._connection
    (trigger,) = connection.execute("SELECT sql FROM sqlite_master WHERE name='outbox_thinned'").fetchone()
    connection.execute("DROP TRIGGER outbox_thinned")  # a damage asks nobody
    connection.execute(f"UPDATE outbox SET sample_count={said} WHERE batch={row.number}")
    connection.execute(trigger)
    filling.acknowledge_all()
    assert [each.kind for each in filling.rows()] == [Kind.EPOCH_START, Kind.DEFINITION, Kind.DEFINITION]
    status = read_status(connection, filling.path, filling.outbox.epoch)
    assert status.batches == 3
    assert status.samples >= 0
    filling.outbox.close()


def fill(filling: Filling, count: int, lane: Lane) -> None:
    """Copy one row until so many more wait: quickly, and as they are written."""
    (new,) = filling.commit(lane)
    connection, number = filling.outbox._connection, int(new.number)
    row = connection.execute("SELECT * FROM outbox WHERE batch=?", (number,)).fetchone()
    copies = [with_checksum((number + copy, *row[1:9])) for copy in range(1, count + 1)]
    connection.executemany(INSERT_ROW, copies)
    filling.outbox._next = number + count + 1
