"""``edge-agent config`` where no agent runs: what is on the disk is shown, and the content before put back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from edge_agent.cli.device_files import app
from edge_agent.cli.screens import file_lines, file_sentence
from edge_agent.config.file_records import Trial
from edge_agent.config.file_store import FileStore

NAME = "devices/press.yaml"
OLD, NEW = "devices: [] # old\n", "devices: [] # new\n"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A box on which version 3 has replaced what an engineer had made."""
    path = tmp_path / "agent.yaml"
    path.write_text("agent: {group: plant, name: line, data_dir: data}\ninclude: [devices/*.yaml]\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "devices").mkdir()
    (tmp_path / NAME).write_text(OLD)
    store = FileStore(tmp_path, tmp_path / "data")
    trial = Trial(command="c", name=NAME, version=3, sha256=sha(NEW), before=sha(OLD), health_s=60, begun_ms=1)
    store.begin(trial, NEW.encode())
    store.before_start()
    store.keep(2)
    return path


def said(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "-c", str(config)])


def test_the_files_are_listed_with_their_versions(config: Path) -> None:
    assert said(config, "list").output == f"{NAME}: version 3 is in use\n"
    (config.parent / NAME).write_text("devices: [] # by hand\n")
    (file,) = json.loads(said(config, "list", "--json").output)
    assert (file["name"], file["state"], file["version"]) == (NAME, "changed", 0)


def test_a_file_is_shown_with_what_was_before(config: Path) -> None:
    answer = said(config, "show", NAME)
    assert answer.output.splitlines() == [
        f"{NAME}: version 3 is in use", f"before: {sha(OLD)[:12]}, made here",
    ]  # fmt: skip
    unknown = said(config, "show", "devices/oven.yaml")
    assert unknown.exit_code == 1
    assert "there is no device file 'devices/oven.yaml'" in unknown.output


def test_the_content_before_is_put_back_and_the_one_that_it_replaces_is_kept(config: Path) -> None:
    assert said(config, "rollback", NAME, "-r", "as it was").exit_code == 0
    assert (config.parent / NAME).read_text() == OLD
    assert said(config, "rollback", NAME, "-r", "no, after all").exit_code == 0
    assert (config.parent / NAME).read_text() == NEW
    (config.parent / NAME).write_text("devices: [] # by hand\n")
    assert said(config, "rollback", NAME, "-r", "to the first", "--to", sha(OLD)[:8]).exit_code == 0
    assert (config.parent / NAME).read_text() == OLD
    before = json.loads(said(config, "show", NAME, "--json").output)["before"]
    assert [one["sha256"] for one in before] == [sha("devices: [] # by hand\n"), sha(NEW)]


def test_what_is_not_kept_cannot_be_put_back(config: Path) -> None:
    answer = said(config, "rollback", NAME, "-r", "x", "--to", "ffff")
    assert answer.exit_code == 1
    assert "no other content" in answer.output
    assert (config.parent / NAME).read_text() == NEW


@pytest.mark.parametrize("state", ["in_use", "local", "trial", "changed", "failed"])
def test_every_state_of_a_file_has_a_sentence(state: str) -> None:
    file = {"name": NAME, "version": 2, "sha256": "ab" * 32, "state": state, "loaded": False, "message": "why"}
    text, _ = file_sentence(file)
    assert text.startswith(f"{NAME}: ")
    assert text.endswith("'edge-agent reload' uses it")
    assert f": {state};" not in text, "a word of the protocol is no sentence"


def test_of_very_many_files_the_status_shows_those_that_somebody_should_look_at() -> None:
    many = [
        {
            "name": f"devices/{at}.yaml",
            "version": 1,
            "sha256": "ab" * 32,
            "state": "in_use",
            "loaded": True,
            "message": "",
        }
        for at in range(50)
    ]
    many[7] |= {"state": "changed", "loaded": False}
    lines = [line.lines(200)[0].plain for line in file_lines(many)]
    assert len(lines) == 2
    assert "devices/7.yaml: changed here" in lines[0]
    assert "49 more" in lines[1]
    assert len(list(file_lines(many[:10]))) == 10
