"""A gap record that will never be taken: nothing that it explained becomes a hole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.model.delivery import Epoch
from connectors.model.tags import DeviceName
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Gap, Kind

PRESS = DeviceName("press")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / "outbox.db", "normal", now_ms=1000)
    yield opened
    opened.close()


def refused(outbox: Outbox, gap: Gap, times: int = 1) -> tuple[list[int], list[dict[str, Any]]]:
    """The numbers of the records that are refused, each of them ``times``, and those that stand in their place."""
    rows, numbers = outbox.commit(Commit(declared_gaps=[gap], now_ns=2_000_000_000)), []
    for _ in range(times):
        again = [(row.epoch, int(row.number), "too large") for row in rows]
        numbers += [number for _, number, _ in again]
        rows = outbox.commit(Commit(refused=again, now_ns=3_000_000_000))
    found = read_batches(outbox._connection, 0, 1 << 40, 1 << 60)
    return numbers, [json.loads(row.record) for row in found if row.kind is Kind.GAP]


def test_what_it_told_of_and_its_own_number_are_told_again(outbox: Outbox) -> None:
    own = format_epoch(outbox.epoch)
    gap = Gap(PRESS, "outbox_full", 5, 9, 7, ("force",) * 50, "it was full", own, ((10, 20), (30, 30)))
    (number,), (again,) = refused(outbox, gap)
    assert (again["device"], again["reason"], again["first_ns"], again["last_ns"]) == (PRESS, "outbox_full", 5, 9)
    assert (again["count"], again["tags"], again["epoch"]) == (7, None, own)
    assert again["batches"] == [[number, number], [10, 20], [30, 30]]
    assert again["detail"].startswith("it was full; told again for batch 2 of epoch")


def test_numbers_of_another_start_keep_their_epoch(outbox: Outbox) -> None:
    other, own = format_epoch(Epoch(77)), format_epoch(outbox.epoch)
    (number,), gaps = refused(outbox, Gap(PRESS, "too_old", 5, 9, 7, None, "", other, ((10, 20),)))
    assert [(gap["epoch"], gap["batches"], gap["count"]) for gap in gaps] == [
        (other, [[10, 20]], 7),
        (own, [[number, number]], 0),
    ]


def test_many_numbers_come_in_pieces_however_often_they_are_refused(outbox: Outbox) -> None:
    own = format_epoch(outbox.epoch)
    named = tuple((number, number) for number in range(1000, 1400, 2))
    numbers, gaps = refused(outbox, Gap(PRESS, "outbox_full", 5, 9, 400, None, "full", own, named), times=4)
    assert all(len(gap["batches"]) <= 21 and len(json.dumps(gap)) < 2000 for gap in gaps)
    explained = {number for gap in gaps for first, last in gap["batches"] for number in range(first, last + 1)}
    assert explained == {first for first, _ in named} | set(numbers)
    assert sum(gap["count"] for gap in gaps) == 400
