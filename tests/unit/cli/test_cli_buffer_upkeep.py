"""``edge-agent buffer compact``, ``reseal`` and ``new-key``."""

from __future__ import annotations

import json
import os
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from filled_outbox import OVEN, PRESS, FilledOutbox, of
from typer.testing import CliRunner

from connectors.model.errors import AlreadyRunning
from edge_agent.buffer.folder_lock import only_one
from edge_agent.buffer.sealing import PLAIN, Sealing, key_id_of
from edge_agent.cli import buffer

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FilledOutbox]:
    filled = FilledOutbox(tmp_path)
    yield filled
    filled.close()


@pytest.fixture
def keys(tmp_path: Path) -> dict[bytes, str]:
    found = {}
    for name, key in (("key", KEY), ("other", OTHER)):
        (tmp_path / name).write_text(b64encode(key).decode() + "\n")
        found[key] = str(tmp_path / name)
    return found


def test_an_outbox_gives_back_what_it_does_not_need(box: FilledOutbox) -> None:
    rows = [box.put(PRESS, [1.0] * 2000) for _ in range(100)]
    box.acknowledge(*rows[:-1])
    before = box.export()
    box.close()
    large = box.path.stat().st_size
    said = box.run("compact", "--json")
    document = json.loads(said.stdout)
    assert (document["before_bytes"], document["after_bytes"]) == (large, box.path.stat().st_size)
    assert box.path.stat().st_size < large / 10
    assert not box.path.with_name("outbox.db-wal").exists()
    assert box.export()[1:] == before[1:]
    assert box.run("verify").exit_code == 0
    assert box.put(PRESS, [2.0]).number == rows[-1].number + 2, "numbers go on after the start of the agent"


def test_what_needs_the_agent_stopped_says_so_and_what_to_do(box: FilledOutbox, keys: dict[bytes, str]) -> None:
    box.put(PRESS, [1.0])
    with only_one(box.path.parent):
        for words in (["compact"], ["reseal", "--key-file", keys[KEY]]):
            said = box.run(*words)
            assert (said.exit_code, said.stdout) == (1, "")
            assert said.stderr.startswith(f"an agent runs on {box.path.parent}, and the outbox can only be ")
            assert "systemctl stop edge-agent, this command again" in said.stderr


def test_no_agent_starts_while_its_outbox_is_changed(box: FilledOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_agent.cli import buffer_upkeep

    box.put(PRESS, [1.0])
    box.close()
    tried = []

    def try_to_start(*_: object) -> None:
        with pytest.raises(AlreadyRunning), only_one(box.path.parent):
            pass
        tried.append(True)

    monkeypatch.setattr(buffer_upkeep, "_vacuum", try_to_start)
    assert box.run("compact").exit_code == 0
    assert tried == [True]
    with only_one(box.path.parent):
        pass


def test_a_disk_without_room_for_a_copy_is_said_in_words(box: FilledOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_agent.buffer import schema

    box.put(PRESS, [1.0] * 50_000)
    box.close()

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            if sql == "VACUUM":
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(
        schema, "open_outbox_file", lambda path, durability: sqlite3.connect(path, factory=Full, isolation_level=None)
    )
    said = box.run("compact")
    assert (said.exit_code, said.stdout) == (1, "")
    assert "there is no room for two copies of what is in it" in said.stderr
    assert "SQLITE_TMPDIR" in said.stderr


def test_encryption_is_turned_on_changed_and_off_again(box: FilledOutbox, keys: dict[bytes, str]) -> None:
    box.refuse(box.put(PRESS, [1.0], tag="ram/force"))
    box.put(PRESS, [2.0], tag="ram/force")
    box.open_gap(OVEN, "10.0.0.5 does not answer")
    before = box.export()
    box.close()
    secrets = (b"ram/force", b"10.0.0.5 does not answer")
    assert all(secret in box.path.read_bytes() for secret in secrets)
    said = box.run("reseal", "--key-file", keys[KEY])
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.endswith(f"rows are sealed with the key {key_id_of(KEY)} now\n")
    assert not any(secret in file.read_bytes() for file in box.path.parent.glob("outbox.db*") for secret in secrets), (
        "also not in pages that are free"
    )
    assert box.export("--key-file", keys[KEY])[1:] == before[1:]
    document = json.loads(box.run("reseal", "--key-file", keys[OTHER], "--key-file", keys[KEY], "--json").stdout)
    assert (document["key"], document["unreadable"], document["changed"]) == (key_id_of(OTHER), [], 8)
    assert box.export("--key-file", keys[OTHER])[1:] == before[1:]
    config = box.path.with_name("agent.yaml")
    config.write_text(
        "agent: {group: a, name: b, data_dir: .}\noutbox: {encryption: {previous_keys: ['${file:other}']}}\n"
    )
    said = CliRunner().invoke(buffer.app, ["reseal", "-c", str(config)])
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.endswith("rows are stored plain now\n")
    assert box.export()[1:] == before[1:]
    assert box.run("reseal").stdout.endswith("every row was stored plain already\n")


def test_rows_whose_key_is_missing_stay_as_they_are_and_are_told_of(tmp_path: Path, keys: dict[bytes, str]) -> None:
    box = FilledOutbox(tmp_path, Sealing(KEY))
    box.put(PRESS, [1.0])
    box.close()
    said = box.run("reseal", "--key-file", keys[OTHER])
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"5 rows stay as they were: sealed with the key {key_id_of(KEY)}, which is not")
    assert [s["value"] for s in of(box.export("--key-file", keys[KEY]), "sample")] == [1.0]


def test_files_that_were_set_aside_are_named_for_they_are_not_changed(
    box: FilledOutbox, keys: dict[bytes, str]
) -> None:
    box.put(PRESS, [1.0])
    box.close()
    name = "outbox.db.damaged-20261118T110640Z"
    box.path.with_name(name).write_bytes(b"as it was")
    said = box.run("reseal", "--key-file", keys[KEY])
    assert said.exit_code == 0
    assert said.stderr.startswith(f"{name} was set aside because of a damage, and is not changed")
    assert box.path.with_name(name).read_bytes() == b"as it was"


def test_a_new_key_goes_alone_to_standard_output() -> None:
    said = CliRunner().invoke(buffer.app, ["new-key"])
    assert (said.exit_code, said.stderr, len(b64decode(said.stdout))) == (0, "", 32)
    assert CliRunner().invoke(buffer.app, ["new-key"]).stdout != said.stdout
    told = CliRunner().invoke(buffer.app, ["new-key", "--json"])
    assert (told.exit_code, len(b64decode(json.loads(told.stdout)["key"]))) == (0, 32)


def test_a_key_file_that_holds_none_is_named(box: FilledOutbox) -> None:
    box.put(PRESS, [1.0])
    for content, said in (("open sesame", "is not base64"), ("AAAA", "is 3 bytes in base64, and a key has 32")):
        file = box.path.with_name("wrong")
        file.write_text(content)
        found = box.run("verify", "--key-file", str(file))
        assert (found.exit_code, found.stderr) == (1, f"--key-file: what '{file}' holds {said}\n")
        assert content not in found.output


@pytest.mark.parametrize("sealing", [PLAIN, Sealing(KEY)], ids=["plain", "encrypted"])
def test_status_says_whether_an_outbox_is_encrypted_and_needs_no_key(tmp_path: Path, sealing: Sealing) -> None:
    box = FilledOutbox(tmp_path, sealing)
    box.put(PRESS, [1.0])
    box.open_gap(OVEN, "it was switched off")
    document = json.loads(box.run("status", "--json").stdout)
    assert document["sealed_with"] == sealing.key_id
    (gap,) = document["open_gaps"]
    assert (gap["device"], gap["detail"]) == ("oven", None if sealing.key_id else "it was switched off")
    people = box.run("status").stdout
    assert (f"sealed with the key {key_id_of(KEY)}" in people) == bool(sealing.key_id)
    assert "oven: gap open since" in people
    box.close()


def test_a_lock_file_that_root_makes_belongs_to_the_owner_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the agent, who is not root, could not start afterwards."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda descriptor, user, group: given.append((user, group)))
    with only_one(tmp_path):
        pass
    assert given == [(tmp_path.stat().st_uid, tmp_path.stat().st_gid)]
