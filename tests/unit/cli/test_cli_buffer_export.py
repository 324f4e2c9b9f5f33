"""What ``edge-agent buffer export`` writes: every sample and every gap, in each of its formats."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filled_outbox import NOW_NS, OVEN, PRESS, SECOND_NS, FilledOutbox, lines, of
from typer.testing import CliRunner

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.rows import Gap
from edge_agent.buffer.sealing import Sealing, key_id_of
from edge_agent.cli import buffer

KEY = bytes(range(32))
TIME = "2026-11-18T11:06:40.000000000Z"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FilledOutbox]:
    filled = FilledOutbox(tmp_path)
    yield filled
    filled.close()


def test_a_sample_has_all_that_says_what_it_is(box: FilledOutbox) -> None:
    definition = box.define(PRESS, {"ram/force": DataType.DOUBLE, "state": DataType.STRING})
    alias = {metric.name: metric.alias for metric in definition.metrics}
    force = SampleBatch(
        DataType.DOUBLE, np.array([alias["ram/force"]] * 2, np.int32), NOW_NS + np.array([0, 123_456_700]),
        np.array([1.5, 0.0]), np.array([0, 0x800A], np.uint16), np.array([False, True]),
    )  # fmt: skip
    state = SampleBatch(
        DataType.STRING, np.array([alias["state"]], np.int32), np.array([NOW_NS]), np.array(['say "no"\n'], object)
    )
    row = box.commit(PRESS, definition, [force, state])
    own = {"epoch": format_epoch(row.epoch), "batch": row.number}
    good, bad = (
        {"quality": "Good", "quality_code": "0x00000000"},
        {"quality": "BadTimeout", "quality_code": "0x800A0000"},
    )
    what = {"record": "sample", "agent": "plant/line", "device": "press"}
    assert of(box.export("--agent", "plant/line"), "sample") == [
        {**what, "tag": "ram/force", "time": TIME, "time_ns": NOW_NS, "type": "Double", "value": 1.5, **good, **own,
         "index": 0},
        {**what, "tag": "ram/force", "time": "2026-11-18T11:06:40.123456700Z", "time_ns": NOW_NS + 123_456_700,
         "type": "Double", "value": None, **bad, **own, "index": 1},
        {**what, "tag": "state", "time": TIME, "time_ns": NOW_NS, "type": "String", "value": 'say "no"\n', **good,
         **own, "index": 2},
    ]  # fmt: skip


def test_the_first_line_says_what_it_is_and_the_last_that_it_is_complete(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0, 2.0])
    first, *_, last = box.export()
    assert (first["record"], first["format"], first["what"], first["selection"]) == ("export", 1, "waiting", None)
    assert (first["agent"], first["last_batch"], first["outbox"]) == (None, 3, str(box.path))
    assert last == {"record": "end", "batches": 1, "samples": 2, "gaps": 0, "open_gaps": 0, "unreadable": 0}


def test_a_program_is_told_what_was_written_to_a_file(box: FilledOutbox, tmp_path: Path) -> None:
    box.put(PRESS, [1.0, 2.0])
    words = ["export", "--outbox", str(box.path), "--json"]
    said = CliRunner().invoke(buffer.app, [*words, "-o", str(tmp_path / "all.csv")])
    assert (said.exit_code, said.stderr) == (0, "")
    told = json.loads(said.stdout)
    assert told["file"] == str(tmp_path / "all.csv")
    assert (told["format"], told["samples"], told["batches"], told["problems"]) == ("csv", 2, 1, {})
    without = CliRunner().invoke(buffer.app, words)
    assert (without.exit_code, without.stdout) == (2, "")
    assert "name one with --output" in without.stderr


def test_every_row_and_every_start_has_a_line(box: FilledOutbox) -> None:
    """So that whoever compares them with the ledger knows each number that still waits here."""
    box.put(PRESS, [1.0])
    box.close()
    acknowledged = box.put(OVEN, [1.0])
    box.acknowledge(acknowledged)
    found = box.export()
    epochs = [(epoch["first_batch"], epoch["last_batch"], epoch["declared"]) for epoch in of(found, "epoch")]
    assert epochs == [(1, 3, False), (4, 6, False)]
    rows = {record["batch"]: record["record"] for record in found if "batch" in record}
    assert rows == {1: "epoch_start", 2: "definition", 3: "sample", 4: "epoch_start", 5: "definition"}
    assert {record["epoch"] for record in of(found, "epoch_start")} == {epoch["epoch"] for epoch in of(found, "epoch")}


def test_gaps_are_told_with_the_batches_that_they_explain(box: FilledOutbox) -> None:
    refused = box.put(PRESS, [1.0, 2.0])
    box.refuse(refused)
    box.open_gap(OVEN)
    found = box.export()
    (gap,) = of(found, "gap")
    assert (gap["device"], gap["reason"], gap["count"], gap["tags"]) == ("press", "refused", 2, None)
    assert (gap["first"], gap["first_ns"], gap["last_ns"]) == (TIME, NOW_NS, NOW_NS + SECOND_NS)
    assert (gap["explains_epoch"], gap["explains_batches"]) == (format_epoch(refused.epoch), [[3, 3]])
    assert (gap["epoch"], gap["batch"]) == (format_epoch(refused.epoch), 4)
    (open_gap,) = of(found, "open_gap")
    assert (open_gap["device"], open_gap["reason"]) == ("oven", "device_unavailable")
    assert (open_gap["first"], open_gap["detail"]) == (TIME, "it was switched off")
    assert "batch" not in open_gap
    assert found[-1]["gaps"] == found[-1]["open_gaps"] == 1


def test_what_was_set_aside_is_exported_when_it_is_asked_for(box: FilledOutbox) -> None:
    box.put(OVEN, [9.0])
    box.refuse(box.put(PRESS, [1.0, 2.0]), "larger than the log allows")
    found = box.export("--refused")
    assert [sample["value"] for sample in of(found, "sample")] == [1.0, 2.0]
    (refused,) = of(found, "refused")
    assert (refused["device"], refused["count"], refused["reason"]) == ("press", 2, "larger than the log allows")
    assert refused["refused"] == "2026-11-18T11:06:40.000Z"
    assert found[0]["what"] == "refused"


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--device", "press"], [0.0, 1.0, 2.0, 20.0]),
        (["-d", "pre*", "-d", "dryer"], [0.0, 1.0, 2.0, 20.0]),
        (["-d", "PRESS"], []),
        (["--tag", "force"], [0.0, 1.0, 2.0, 10.0]),
        (["--tag", "zone*/temp*"], [20.0]),
        (["--tag", "zone"], []),
        (["--from", "2026-11-18T11:06:41"], [1.0, 2.0]),
        (["--to", "2026-11-18T11:06:41Z"], [0.0, 10.0, 20.0]),
        (["--from", "2026-11-18T12:06:41+01:00", "--to", "2026-11-18T11:06:42.000000001Z"], [1.0, 2.0]),
        (["--from", "2026-11-18T11:06:42.000000001"], []),
        (["--from", "2026-11-18", "--to", "2026-11-19", "-d", "oven"], [10.0]),
    ],
)
def test_devices_tags_and_times_are_chosen(box: FilledOutbox, words: list[str], values: list[float]) -> None:
    box.put(PRESS, [0.0, 1.0, 2.0])
    box.put(OVEN, [10.0])
    box.put(PRESS, [20.0], tag="zone[1]/temperature")
    found = box.export(*words)
    assert [sample["value"] for sample in of(found, "sample")] == values
    assert found[-1]["samples"] == len(values)
    assert found[0]["selection"] is not None


def test_gaps_are_chosen_like_samples(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    box.declare(Gap(PRESS, "thinned", NOW_NS, NOW_NS + SECOND_NS, 5, ("force",)))
    box.declare(Gap(OVEN, "thinned", NOW_NS + 60 * SECOND_NS, NOW_NS + 61 * SECOND_NS))
    box.open_gap(OVEN)

    def chosen(*words: str) -> list[tuple[str, str]]:
        return [(r["record"], r["device"]) for r in box.export(*words) if r["record"] in ("gap", "open_gap")]

    assert chosen("-d", "press") == [("gap", "press")]
    assert chosen("-t", "state") == [("gap", "oven"), ("open_gap", "oven")], "of all tags, where it names none"
    assert chosen("--from", "2026-11-18T11:07:00") == [("gap", "oven"), ("open_gap", "oven")]
    assert chosen("--to", "2026-11-18T11:07:00") == [("gap", "press"), ("open_gap", "oven")]
    assert chosen("--to", "2026-11-18T11:06:40") == []


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-11-18 25:00", "1795000000"])
def test_a_time_that_is_none_is_named_with_how_to_write_it(box: FilledOutbox, text: str) -> None:
    box.put(PRESS, [1.0])
    said = box.run("export", "--from", text)
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith(f"--from: {text!r} is not a time; write it as 2026-11-23")


def test_batches_that_cannot_be_read_are_told_of_and_the_exit_code_says_so(tmp_path: Path) -> None:
    box = FilledOutbox(tmp_path, Sealing(KEY))
    box.put(PRESS, [1.0, 2.0])
    box.close()
    said = box.run("export")
    assert said.exit_code == 1
    reason = f"sealed with the key {key_id_of(KEY)}, which is not configured (outbox.encryption)"
    assert said.stderr.splitlines()[0] == f"3 batches could not be read: {reason}"
    assert "--key-file" in said.stderr
    found = lines(said.stdout)
    samples = next(record for record in of(found, "unreadable") if record["kind"] == "samples")
    assert (samples["device"], samples["count"], samples["batch"], samples["reason"]) == ("press", 2, 3, reason)
    assert found[-1]["unreadable"] == 3


def test_a_tag_whose_name_is_lost_has_its_alias(box: FilledOutbox) -> None:
    row = box.put(PRESS, [1.0])
    box.close()
    with contextlib.closing(sqlite3.connect(box.path)) as connection, connection:
        connection.execute("UPDATE definition SET body=x''")
    (sample,) = of(box.export(), "sample")
    assert sample["tag"] == "force", "the table of aliases knows it"
    with contextlib.closing(sqlite3.connect(box.path)) as connection, connection:
        connection.execute("DELETE FROM alias")
    (sample,) = of(box.export(), "sample")
    assert (sample["tag"], sample["alias"], sample["batch"]) == (None, 16384, row.number)


def test_what_comes_while_it_is_written_does_not_keep_it_from_its_end(box: FilledOutbox) -> None:
    """And between two reads the agent can fold its write-ahead log into the file."""
    from edge_agent.buffer.contents import ROWS_AT_ONCE, OutboxContents

    rows = [box.put(PRESS, [float(number)]) for number in range(3 * ROWS_AT_ONCE)]
    contents = OutboxContents(box.path)
    found: list[int] = []
    for batch in contents.batches():
        found.append(batch.number)
        if batch.number % 10 == 0:
            box.put(PRESS, [0.0])
        if batch.number == rows[ROWS_AT_ONCE].number:
            box.acknowledge(rows[-1])
            busy, in_log, folded = box.outbox._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            assert (busy, in_log) == (0, folded), "a read that lasts would hold it"
    contents.close()
    assert found == list(range(1, rows[-1].number))


def test_the_file_of_the_agent_says_its_name_and_its_keys(tmp_path: Path) -> None:
    box = FilledOutbox(tmp_path, Sealing(KEY))
    box.put(PRESS, [1.0])
    box.close()
    (tmp_path / "key").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    config = tmp_path / "agent.yaml"
    config.write_text(
        "agent: {group: plant-7, name: line-3, data_dir: .}\n"
        "outbox: {encryption: {key: '${file:key}'}}\n"
        "uplink: wrong\n"
    )
    said = CliRunner().invoke(buffer.app, ["export", "-c", str(config)])
    assert (said.exit_code, said.stderr) == (0, ""), "whatever else is wrong with the file"
    assert {record["agent"] for record in lines(said.stdout)[1:-1]} == {"plant-7/line-3"}
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "outbox.db").write_bytes(box.path.read_bytes())
    for words in (["-c", str(config)], []):
        said = CliRunner().invoke(buffer.app, ["export", "--outbox", str(copy / "outbox.db"), *words])
        assert (said.exit_code == 0) == bool(words), "a copy may be of another box, unless a file is named"
    config.write_text(config.read_text().replace("${file:key}", "${credential:outbox-key}"))
    said = CliRunner(env={"CREDENTIALS_DIRECTORY": None}).invoke(buffer.app, ["export", "-c", str(config)])
    assert said.exit_code == 1
    assert said.stderr.startswith(f"{config}:2:28: 'key' of 'encryption' of 'outbox': this process has no credentials")
    assert said.stderr.endswith("Or name the file that holds the key with --key-file.\n")


def test_an_outbox_of_another_version_is_not_guessed_at(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    box.close()
    with contextlib.closing(sqlite3.connect(box.path)) as connection:
        connection.execute("PRAGMA user_version=1")
    said = box.run("export")
    assert (said.exit_code, said.stdout) == (1, "")
    assert "written by another version of Lineside (schema 1" in said.stderr


def test_acknowledged_batches_are_not_in_an_export(box: FilledOutbox) -> None:
    rows = [box.put(PRESS, [float(number)]) for number in range(3)]
    box.outbox.commit(Commit(acknowledged={rows[0].epoch: BatchRanges([(1, rows[1].number)])}, now_ns=NOW_NS))
    assert [sample["value"] for sample in of(box.export(), "sample")] == [2.0]


def test_the_lines_of_an_export_are_json_by_the_standard(box: FilledOutbox) -> None:
    box.put(PRESS, [math.nan, math.inf, -math.inf, -0.0])

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    said = box.run("export")
    found = [json.loads(line, parse_constant=no_constant) for line in said.stdout.splitlines()]
    assert [sample["value"] for sample in of(found, "sample")][:3] == ["NaN", "Infinity", "-Infinity"]


def test_batches_that_were_given_up_for_their_key_can_be_exported_when_it_is_found(tmp_path: Path) -> None:
    box = FilledOutbox(tmp_path, Sealing(KEY))
    lost = box.put(PRESS, [1.0, 2.0], tag="ram/force")
    box.close()
    box.sealing = Sealing(bytes(range(1, 33)))
    box.refuse(lost, "no key")
    box.close()
    (tmp_path / "key").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    assert box.run("export", "--refused").exit_code == 1
    samples = of(box.export("--refused", "--key-file", str(tmp_path / "key")), "sample")
    assert [(sample["value"], sample["batch"]) for sample in samples] == [(1.0, lost.number), (2.0, lost.number)]
