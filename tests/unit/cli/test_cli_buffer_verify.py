"""What ``edge-agent buffer verify`` finds, and how ``show`` shows one batch."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filled_outbox import NOW_NS, OVEN, PRESS, FilledOutbox

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.checksums import with_checksum
from edge_agent.buffer.folder_lock import is_held, only_one
from edge_agent.buffer.rows import StoredBatch
from edge_agent.buffer.sealing import Sealing, key_id_of

KEY = bytes(range(32))
KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FilledOutbox]:
    filled = FilledOutbox(tmp_path)
    yield filled
    filled.close()


@contextlib.contextmanager
def behind_its_back(box: FilledOutbox) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(box.path)) as connection, connection:
        yield connection


def problems(box: FilledOutbox, *words: str) -> list[str]:
    """What is wrong, without the word that begins each line; the exit code has to say the same."""
    said = box.run("verify", *words)
    found = [line.removeprefix("PROBLEM  ") for line in said.stdout.splitlines() if line.startswith("PROBLEM  ")]
    assert said.exit_code == bool(found), said.output
    assert json.loads(box.run("verify", "--json", *words).stdout)["problems"] == found
    return found


def test_an_outbox_with_something_in_every_table_is_whole(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    box.close()
    box.refuse(box.put(PRESS, [1.0]))
    box.acknowledge(box.put(OVEN, [2.0]))
    box.open_gap(OVEN)
    for _ in range(2):
        assert problems(box) == []
        assert "no problem found" in box.run("verify").stdout
        box.close()


def test_the_numbers_are_said_as_far_as_they_are_known_here(box: FilledOutbox) -> None:
    refused, acknowledged = box.put(PRESS, [1.0]), box.put(PRESS, [2.0])
    box.refuse(refused)
    box.acknowledge(acknowledged)
    box.put(PRESS, [3.0, 4.0])
    document = json.loads(box.run("verify", "--json").stdout)
    assert (document["whole"], document["batches"], document["samples"]) == (True, 4, 2)
    (epoch,) = document["epochs"]
    assert epoch == {
        "epoch": format_epoch(refused.epoch), "first_batch": 1, "last_batch": 6, "waiting": 4, "set_aside": 0,
        "explained_here": 1, "left": 1,
    }  # fmt: skip
    assert "only the cloud can say (cloud-ingest ledger)" in box.run("verify").stdout


def test_it_counts_which_keys_are_needed(tmp_path: Path) -> None:
    box = FilledOutbox(tmp_path)
    box.put(PRESS, [1.0])
    box.close()
    box.sealing = Sealing(KEY)
    box.put(PRESS, [1.0])
    box.close()
    (tmp_path / "key").write_text(KEY_TEXT)
    document = json.loads(box.run("verify", "--json", "--key-file", str(tmp_path / "key")).stdout)
    assert (document["whole"], document["keys"]) == (True, {"": 3, key_id_of(KEY): 2})
    said = box.run("verify", "--key-file", str(tmp_path / "key")).stdout
    assert f"  3 stored plain\n  2 sealed with the key {key_id_of(KEY)}\n" in said


def change_count(row: StoredBatch, connection: sqlite3.Connection) -> None:
    stored = connection.execute("SELECT * FROM outbox WHERE batch=?", (row.number,)).fetchone()
    changed = with_checksum((*stored[:6], 7, *stored[7:9]))
    connection.execute("UPDATE outbox SET sample_count=7, checksum=? WHERE batch=?", (changed[-1], row.number))


def flip_a_value(row: StoredBatch, connection: sqlite3.Connection) -> None:
    (payload,) = connection.execute("SELECT payload FROM outbox WHERE batch=?", (row.number,)).fetchone()
    changed = payload[:-1] + bytes([payload[-1] ^ 1])
    connection.execute("UPDATE outbox SET payload=? WHERE batch=?", (changed, row.number))


def forget_definition(row: StoredBatch, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM definition WHERE hash=?", (row.definition,))
    connection.execute("UPDATE device_state SET definition=''")


def another_definition(row: StoredBatch, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE definition SET body=x'12' || body WHERE hash=?", (row.definition,))


def forget_epoch(row: StoredBatch, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE epoch SET epoch=5")


def begin_epoch_later(row: StoredBatch, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE epoch SET first_batch=3")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_value, ["batch 3 of epoch E: the row is damaged: its checksum is wrong"]),
        (change_count, ["batch 3 of epoch E: it holds 1 samples, and its row says 7"]),
        (
            forget_definition,
            ["batches 3 to 4 of epoch E: its definition H is not in the outbox, or cannot be read"],
        ),
        (
            another_definition,
            [
                "batches 3 to 4 of epoch E: its definition H is not in the outbox, or cannot be read",
                "definition H: what is stored for definition H is no bytes",
            ],
        ),
        (forget_epoch, ["batches 1 to 4 of epoch E: its start of the agent is not known"]),
        (begin_epoch_later, ["batches 1 to 2 of epoch E: it is not among the numbers of its start of the agent"]),
    ],
)
def test_each_damage_is_a_line(
    box: FilledOutbox, damage: Callable[[StoredBatch, sqlite3.Connection], None], said: list[str]
) -> None:
    row = box.put(PRESS, [1.0])
    box.put(PRESS, [2.0])
    box.close()
    with behind_its_back(box) as connection:
        damage(row, connection)
    found = [line.replace(format_epoch(row.epoch), "E").replace(row.definition, "H") for line in problems(box)]
    assert found == said


def test_a_row_that_its_definition_cannot_name_is_a_problem(box: FilledOutbox) -> None:
    definition = box.define(PRESS, {"force": DataType.DOUBLE})
    alias = np.array([definition.metrics[0].alias], np.int32)
    box.commit(PRESS, definition, [SampleBatch(DataType.DOUBLE, alias + 9, np.array([NOW_NS]), np.array([1.0]))])
    box.commit(PRESS, definition, [SampleBatch(DataType.FLOAT, alias, np.array([NOW_NS]), np.array([1], "f4"))])
    found = [line.split(": ", 1)[1] for line in problems(box)]
    assert found == [
        "its definition has no Double with the alias 16393",
        "its definition has no Float with the alias 16384",
    ]


def test_rows_whose_key_is_not_there_are_one_line_and_where_keys_come_from_is_said(tmp_path: Path) -> None:
    box = FilledOutbox(tmp_path, Sealing(KEY))
    rows = [box.put(PRESS, [1.0]) for _ in range(5)]
    box.open_gap(OVEN)
    box.close()
    why = f"sealed with the key {key_id_of(KEY)}, which is not configured (outbox.encryption)"
    assert problems(box) == [
        f"batches 1 to 7 of epoch {format_epoch(rows[0].epoch)}: {why}",
        f"definition {rows[0].definition}: {why}",
        f"name of alias 16384: {why}",
        f"open gap of oven: {why}",
    ]
    assert "--key-file" in box.run("verify").stderr
    (tmp_path / "key").write_text(KEY_TEXT)
    assert problems(box, "--key-file", str(tmp_path / "key")) == []


def test_a_file_that_is_older_than_it_was_is_a_problem(box: FilledOutbox) -> None:
    """The mark beside the outbox remembers how far its numbers went."""
    box.put(PRESS, [1.0])
    earlier = box.path.with_name("earlier")
    with contextlib.closing(sqlite3.connect(earlier)) as copy, behind_its_back(box) as connection:
        connection.backup(copy)
    box.put(PRESS, [2.0])
    box.close()
    box.path.write_bytes(earlier.read_bytes())
    (problem,) = problems(box)
    assert problem.startswith("numbers: the outbox ends with batch 3, and 4 had been given: the file is older")


def test_pages_that_are_damaged_are_found(box: FilledOutbox) -> None:
    for number in range(200):
        box.put(PRESS, [float(number)] * 50)
    box.close()
    with box.path.open("r+b") as file:
        file.seek(20 * 8192)
        file.write(b"\xa5" * 8192)
    assert any(problem.startswith("file: ") for problem in problems(box))


def test_while_the_agent_runs_the_pages_are_checked_only_if_asked_for(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    assert not is_held(box.path.parent)
    with only_one(box.path.parent):
        assert is_held(box.path.parent)
        said = box.run("verify")
        assert (said.exit_code, "the agent runs: the pages of the file were not checked" in said.stdout) == (0, True)
        assert json.loads(box.run("verify", "--json").stdout)["file_checked"] is False
        assert json.loads(box.run("verify", "--json", "--whole-file").stdout)["file_checked"] is True
    assert json.loads(box.run("verify", "--json").stdout)["file_checked"] is True


def test_a_batch_is_shown_with_names_times_and_qualities(box: FilledOutbox) -> None:
    row = box.put(PRESS, [float(number) for number in range(60)], tag="ram/force")
    said = box.run("show", str(row.number))
    assert said.exit_code == 0
    first, second, heading, *table = said.stdout.splitlines()
    assert first == f"batch 3  samples of press, committed 2026-11-18 11:06:40.000 UTC, {row.size_bytes / 1000:.1f} kB"
    assert second == f"start {format_epoch(row.epoch)}, lane samples"
    assert heading.split() == ["tag", "time", "(UTC)", "value", "type", "quality"]
    assert table[1].split() == ["ram/force", "2026-11-18", "11:06:41.000", "1", "Double", "Good", "(0x00000000)"]
    assert (len(table), table[-1]) == (51, "… 10 more samples: --count shows more")
    (document,) = json.loads(box.run("show", str(row.number), "--json").stdout)
    assert len(document["samples"]) == document["sample_count"] == 60
    assert document["samples"][59]["time"] == "2026-11-18T11:07:39.000000000Z"


def test_records_are_shown_as_what_they_say(box: FilledOutbox) -> None:
    box.refuse(box.put(PRESS, [1.0], tag="ram/force"), "too large")
    kinds = {}
    for number in range(1, 5):
        (document,) = json.loads(box.run("show", str(number), "--json").stdout)
        kinds[document["kind"]] = document
        assert box.run("show", str(number)).exit_code == 0
    assert kinds["epoch_start"]["record"]["first"] == 1
    assert kinds["definition"]["record"]["tags"] == [
        {"tag": "ram/force", "alias": 16384, "type": "Double", "unit": "kN", "description": ""}
    ]
    assert kinds["gap"]["record"]["reason"] == "refused"
    assert (kinds["samples"]["refused"], kinds["samples"]["samples"][0]["value"]) == ("too large", 1.0)
    assert "set aside: too large" in box.run("show", "3").stdout


def test_a_batch_that_is_not_there_is_said_with_how_far_numbers_go(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    said = box.run("show", "12")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == f"no batch 12 waits in {box.path}, and none is set aside; the newest number is 3\n"
