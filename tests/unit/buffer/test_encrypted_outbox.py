"""An encrypted outbox: the promises of a plain one, keys that change or are lost, and nothing to read on the disk."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import rule
from outbox_model import content, stored
from test_outbox import OutboxMachine as _OutboxMachine

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.checksums import with_checksum
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.resealing import reseal_all
from edge_agent.buffer.rows import GapReason, Kind, Lane, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.schema import open_outbox_file
from edge_agent.buffer.sealing import PLAIN, Sealing, key_id_of, sealed_with
from tests.exploration import histories

PRESS = DeviceName("press")
FORCE = TagType(0, TagName("ram/force at the very bottom"), DataType.DOUBLE, "kilonewton", "measured by Kistler")
STATE = TagType(1, TagName("state of the press"), DataType.STRING)
NOW_NS = 1_795_000_000_000_000_000
KEY, OTHER, THIRD = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
VALUE, TEXT = 1234.5678901234, "somebody opened the guard"


def opened(path: Path, sealing: Sealing, bounds: OutboxBounds | None = None) -> Outbox:
    return Outbox(path, "normal", now_ms=NOW_NS // 1_000_000, sealing=sealing, bounds=bounds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def fill(outbox: Outbox, batches: int = 1) -> list[StoredBatch]:
    """Batches that have a value and a text that nothing else has; the rows of them."""
    definition, _ = outbox.define(PRESS, [FORCE, STATE], NOW_NS // 1_000_000)
    alias = {metric.name: np.full(3, metric.alias, np.int32) for metric in definition.metrics}
    times = NOW_NS + np.arange(3)
    text = np.array([TEXT] * 3, object)
    parts = (
        SampleBatch(DataType.DOUBLE, alias[FORCE.name], times, np.full(3, VALUE)),
        SampleBatch(DataType.STRING, alias[STATE.name], times, text),
    )
    work = Commit([NewBatch(PRESS, definition.hash, parts)] * batches, now_ns=NOW_NS)
    return outbox.commit(work)


def on_disk(path: Path) -> bytes:
    """Every byte of the outbox, whether SQLite still uses it or not."""
    files = [file for file in sorted(path.parent.iterdir()) if file.name.startswith(path.name)]
    return b"".join(file.read_bytes() for file in files)


SECRETS = (
    FORCE.name.encode(),
    STATE.name.encode(),
    b"kilonewton",
    b"Kistler",
    TEXT.encode(),
    np.full(2, VALUE).tobytes(),
    (NOW_NS + np.arange(3)).tobytes(),
    b"the server said no",
)


def fill_everything(outbox: Outbox) -> None:
    """Something in every table: batches, one set aside, gaps open and closed, samples that were not taken."""
    rows = fill(outbox, 3)
    outbox.commit(Commit(refused=[(rows[0].epoch, rows[0].number, "too large")], now_ns=NOW_NS))
    gap = OpenGap(PRESS, GapReason.DEVICE_UNAVAILABLE, NOW_NS, "the server said no")
    outbox.commit(Commit(opened_gaps=[gap], now_ns=NOW_NS))
    outbox.commit(Commit(opened_gaps=[replace(gap, device=DeviceName("oven"))], now_ns=NOW_NS))
    outbox.commit(Commit(closed_gaps={DeviceName("oven"): NOW_NS + 5}, now_ns=NOW_NS))


def test_neither_values_nor_names_of_tags_can_be_read_from_the_disk(path: Path) -> None:
    plain = opened(path.with_name("plain.db"), PLAIN)
    fill_everything(plain)
    readable = on_disk(path.with_name("plain.db"))
    assert all(secret in readable for secret in SECRETS), "else the test looks for the wrong bytes"
    plain.close()
    outbox = opened(path, Sealing(KEY))
    fill_everything(outbox)
    for _ in range(2):
        found = on_disk(path)
        assert len(found) > 20_000
        assert [secret for secret in SECRETS if secret in found] == []
        outbox.close()  # the write-ahead log is folded into the file
    assert KEY not in on_disk(path)


def test_what_thinning_leaves_is_sealed_too(path: Path) -> None:
    sealing = Sealing(KEY)
    outbox = opened(path, sealing)
    definition, _ = outbox.define(PRESS, [FORCE], 0)
    alias = np.full(1000, definition.metrics[0].alias, np.int32)

    def batch(number: int) -> NewBatch:
        times = NOW_NS + (np.arange(1000) + 1000 * number) * 10_000_000
        part = SampleBatch(DataType.DOUBLE, alias, times, np.full(1000, VALUE))
        return NewBatch(PRESS, definition.hash, (part,))

    outbox.commit(Commit([batch(number) for number in range(200)], now_ns=NOW_NS))
    outbox.close()
    policies = {Lane.SAMPLES: WhenFull.THIN, Lane.ALARMS: WhenFull.DROP_OLDEST}
    outbox = opened(path, sealing, OutboxBounds(bytes_max=5_600_000, policies=policies))
    rows = outbox.commit(Commit([batch(200)], now_ns=NOW_NS))
    gap = next(json.loads(row.record) for row in rows if row.kind is Kind.GAP)
    assert (gap["reason"], gap["tags"]) == (GapReason.THINNED, [FORCE.name])
    counts = [row[6] for row in stored(path, sealing) if row[2] is Kind.SAMPLES]
    assert min(counts) == 10
    assert sum(counts) + gap["count"] == 201_000
    outbox.close()
    assert np.full(2, VALUE).tobytes() not in on_disk(path)


def test_samples_that_give_way_are_declared_with_their_tags_and_times(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    fill(outbox, 3000)
    outbox.close()
    outbox = opened(path, Sealing(KEY), OutboxBounds(bytes_max=300_000))
    (gap, *_), _ = outbox.commit(Commit(now_ns=NOW_NS)), outbox.close()
    declared = json.loads(gap.record)
    assert (declared["first_ns"], declared["last_ns"]) == (NOW_NS, NOW_NS + 2)
    assert declared["tags"] == [FORCE.name, STATE.name]


@pytest.mark.parametrize(
    ("before", "after"),
    [(PLAIN, Sealing(KEY)), (Sealing(KEY), Sealing(OTHER, [KEY])), (Sealing(KEY), Sealing(None, [KEY]))],
    ids=["turned on", "another key", "turned off"],
)
def test_a_start_goes_on_with_what_was_stored_under_another_key(path: Path, before: Sealing, after: Sealing) -> None:
    outbox = opened(path, before)
    fill_everything(outbox)
    definition, _ = outbox.define(PRESS, [FORCE, STATE], 0)
    held, gaps = stored(path, before), outbox.open_gaps()
    outbox.close()
    outbox = opened(path, after)
    assert outbox.missing_keys == set()
    assert stored(path, after)[: len(held)] == held
    assert outbox.open_gaps() == gaps
    assert outbox.define(PRESS, [FORCE, STATE], 0) == (definition, []), "names keep their aliases"
    (row,) = fill(outbox)
    assert content(row) == stored(path, after)[-1]
    outbox.close()
    payloads = dict(sqlite3.connect(path).execute("SELECT batch, payload FROM outbox"))
    assert sealed_with(payloads[row.number]) == after.key_id
    assert sealed_with(payloads[1]) == before.key_id


def test_names_are_sealed_anew_at_the_start_so_that_an_old_key_can_go_when_its_batches_have_left(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    definition, _ = outbox.define(PRESS, [FORCE], 0)
    outbox.commit(Commit(opened_gaps=[OpenGap(PRESS, GapReason.DEVICE_UNAVAILABLE, 5, "why")]))
    outbox.close()
    outbox = opened(path, Sealing(OTHER, [KEY]))
    newest = stored(path, Sealing(OTHER, [KEY]))[-1]
    outbox.commit(Commit(acknowledged={row[1]: BatchRanges([(1, newest[0])]) for row in stored(path, PLAIN)}))
    outbox.close()
    outbox = opened(path, Sealing(OTHER))
    assert outbox.missing_keys == set()
    assert outbox.definition(definition.hash) == definition
    assert outbox.define(PRESS, [FORCE], 0)[0] == definition
    assert outbox.open_gaps()[PRESS].detail == "why"
    outbox.close()


def test_without_the_old_key_its_batches_are_declared_lost_and_the_stream_goes_on(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    (lost,) = fill(outbox)
    definition, _ = outbox.define(PRESS, [FORCE, STATE], 0)
    outbox.close()
    sealing = Sealing(OTHER)
    outbox = opened(path, sealing)
    assert outbox.missing_keys == {key_id_of(KEY)}
    rows = {row[0]: row for row in stored(path, sealing)}
    assert rows[lost.number][8:10] == ((), b"")
    assert outbox.definition(definition.hash) is None
    again, told = outbox.define(PRESS, [FORCE, STATE], 0)
    assert {metric.alias for metric in again.metrics}.isdisjoint(metric.alias for metric in definition.metrics), (
        "nobody knows whose the old aliases were, so they stay taken"
    )
    assert [row.kind for row in told] == [Kind.DEFINITION]
    (gap,) = outbox.commit(Commit(refused=[(lost.epoch, lost.number, "no key")], now_ns=NOW_NS))
    declared = json.loads(gap.record)
    assert (declared["reason"], declared["count"]) == ("key_lost", 6)
    assert (declared["first_ns"], declared["last_ns"]) == (NOW_NS, NOW_NS), "the time of its commit"
    assert (declared["epoch"], declared["batches"]) == (format_epoch(lost.epoch), [[lost.number, lost.number]])
    assert content(fill(outbox)[-1]) == stored(path, sealing)[-1]
    outbox.close()


def test_a_definition_that_waits_under_a_lost_key_is_told_again(path: Path) -> None:
    """Names were sealed anew by a start that had both keys, the batch that tells them was not."""
    outbox = opened(path, Sealing(KEY))
    definition, (before,) = outbox.define(PRESS, [FORCE], 0)
    outbox.close()
    opened(path, Sealing(OTHER, [KEY])).close()
    outbox = opened(path, Sealing(OTHER))
    again, (told,) = outbox.define(PRESS, [FORCE], 0)
    assert (again, told.record) == (definition, definition.body)
    waiting = outbox.waiting_definition(definition.hash)
    assert waiting is not None
    assert (waiting.number, waiting.record) == (told.number, definition.body)
    outbox.commit(Commit(refused=[(told.epoch, told.number, "too large")]))
    waiting = outbox.waiting_definition(definition.hash)
    assert waiting is not None
    assert waiting.number == before.number
    assert "sealed with the key" in waiting.unreadable
    outbox.close()


def test_a_key_that_comes_back_opens_what_was_lost(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    fill(outbox)
    held = stored(path, Sealing(KEY))
    outbox.close()
    opened(path, Sealing(OTHER)).close()
    outbox = opened(path, Sealing(OTHER, [KEY]))
    assert stored(path, Sealing(OTHER, [KEY]))[: len(held)] == held
    outbox.close()


@contextlib.contextmanager
def rows_of(path: Path) -> Iterator[dict[int, tuple[Any, ...]]]:
    """Rows by number as they are stored; what is changed is written back with a right checksum."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        rows = {row[0]: row for row in connection.execute("SELECT * FROM outbox")}
        yield rows
        for number, row in rows.items():
            payload, checksum = with_checksum(row[:9])[7::2]  # type: ignore[arg-type]
            connection.execute("UPDATE outbox SET payload=?, checksum=? WHERE batch=?", (payload, checksum, number))


def test_rows_that_were_swapped_are_recognised(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    first, second = fill(outbox, 2)
    with rows_of(path) as rows:
        one, two = rows[first.number], rows[second.number]
        rows[first.number], rows[second.number] = (*one[:7], two[7], *one[8:]), (*two[:7], one[7], *two[8:])
    by_number = {row[0]: row for row in stored(path, Sealing(KEY))}
    for number in (first.number, second.number):
        assert by_number[number][8:10] == ((), b"")
    (gap,) = outbox.commit(Commit(refused=[(first.epoch, first.number, "it does not open")], now_ns=NOW_NS))
    declared = json.loads(gap.record)
    assert (declared["reason"], declared["batches"]) == ("outbox_damaged", [[first.number, first.number]])
    outbox.close()


def test_a_row_of_another_epoch_is_recognised(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    (row,) = fill(outbox)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        moved = list(connection.execute("SELECT * FROM outbox WHERE batch=?", (row.number,)).fetchone())
        moved[1] += 1
        connection.execute("DELETE FROM outbox WHERE batch=?", (row.number,))
        connection.execute("INSERT INTO outbox VALUES (?,?,?,?,?,?,?,?,?,?)", with_checksum(tuple(moved[:9])))  # type: ignore[arg-type]
    assert stored(path, Sealing(KEY))[-1][8:10] == ((), b"")
    outbox.close()


def test_a_name_that_was_put_to_another_alias_gives_a_new_one(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    definition, _ = outbox.define(PRESS, [FORCE, STATE], 0)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        names = connection.execute("SELECT alias, name FROM alias ORDER BY alias").fetchall()
        connection.execute("UPDATE alias SET name=? WHERE alias=?", (names[1][1], names[0][0]))
    again, _ = outbox.define(PRESS, [FORCE, STATE], 0)
    before, after = ({metric.name: metric.alias for metric in each.metrics} for each in (definition, again))
    assert after[STATE.name] == before[STATE.name]
    assert after[FORCE.name] not in before.values()
    outbox.close()


def reseal(path: Path, sealing: Sealing) -> Any:
    with contextlib.closing(open_outbox_file(path, "normal")) as connection:
        return reseal_all(connection, sealing, lambda: None)


def payloads(path: Path) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT payload FROM outbox UNION ALL SELECT payload FROM refused UNION ALL SELECT body FROM definition"
        return [row[0] for row in connection.execute(f"{query} UNION ALL SELECT name FROM alias")]


@pytest.mark.parametrize(
    ("before", "after", "alone"),
    [
        (PLAIN, Sealing(KEY), Sealing(KEY)),
        (Sealing(KEY), Sealing(OTHER, [KEY]), Sealing(OTHER)),
        (Sealing(KEY), Sealing(None, [KEY]), PLAIN),
    ],
    ids=["turned on", "another key", "turned off"],
)
def test_sealed_anew_nothing_needs_the_earlier_key(path: Path, before: Sealing, after: Sealing, alone: Sealing) -> None:
    outbox = opened(path, before)
    fill_everything(outbox)
    held, gaps, states = stored(path, before), outbox.open_gaps(), outbox.device_states()
    outbox.close()
    done = reseal(path, after)
    assert (done.unreadable, done.lost_keys) == ({}, set())
    assert done.changed == len(payloads(path)) + 1, "and the detail of the open gap"
    assert {sealed_with(payload) for payload in payloads(path)} == {alone.key_id}
    assert [row[:7] + row[8:] for row in stored(path, alone)] == [row[:7] + row[8:] for row in held]
    assert reseal(path, after).changed == 0
    outbox = opened(path, alone)
    assert (outbox.missing_keys, outbox.open_gaps(), outbox.device_states()) == (set(), gaps, states)
    outbox.close()


def test_sealing_anew_leaves_what_it_cannot_open_as_it_is(path: Path) -> None:
    outbox = opened(path, Sealing(KEY))
    fill_everything(outbox)
    outbox.close()
    outbox = opened(path, Sealing(OTHER))
    (row,) = fill(outbox)
    outbox.close()
    before = payloads(path)
    done = reseal(path, Sealing(THIRD, [OTHER]))
    assert done.lost_keys == {key_id_of(KEY)}
    assert {sealed_with(payload) for payload in payloads(path)} == {key_id_of(KEY), key_id_of(THIRD)}
    assert sum(done.unreadable.values()) == sum(sealed_with(payload) == key_id_of(KEY) for payload in before) + 1
    assert content(row) in stored(path, Sealing(THIRD))


def test_sealing_anew_makes_no_damaged_row_look_whole(path: Path) -> None:
    outbox = opened(path, PLAIN)
    (row,) = fill(outbox)
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outbox SET sample_count=7 WHERE batch=?", (row.number,))
    before = stored(path)[-1]
    done = reseal(path, Sealing(KEY))
    assert sum(done.unreadable.values()) == 1
    assert stored(path, Sealing(KEY))[-1] == before


class EncryptedOutboxMachine(_OutboxMachine):
    """The same history as of a plain outbox, and the keys change in between."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[bytes] = [KEY]
        self.sealing = Sealing(KEY)

    @rule()
    def change_the_key(self) -> None:
        self.keys.append(bytes([len(self.keys)]) * 32)
        self._start_with(Sealing(self.keys[-1], self.keys[:-1]))

    @rule()
    def turn_it_off(self) -> None:
        self._start_with(Sealing(None, self.keys))

    @rule()
    def reseal_and_forget_the_earlier_keys(self) -> None:
        self.outbox.close()
        held = stored(self.path, self.sealing)
        assert reseal(self.path, self.sealing).unreadable == {}
        self.keys = self.keys[-1:]
        self.sealing = Sealing(self.keys[-1]) if self.sealing.key_id else PLAIN
        self.backup = None  # an older copy needs the earlier keys
        rows = stored(self.path, self.sealing)
        assert [row[:7] + row[8:] for row in rows] == [row[:7] + row[8:] for row in held]
        self.model.held.rows = {(row[1], row[0]): row for row in rows}  # sealed or not, they have other sizes
        self._open()

    def _start_with(self, sealing: Sealing) -> None:
        self.outbox.close()
        self.sealing = sealing
        self._open()


EncryptedOutboxMachine.TestCase.settings = settings(max_examples=histories(30), stateful_step_count=25)
TestEncryptedOutbox = EncryptedOutboxMachine.TestCase
