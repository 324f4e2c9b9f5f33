"""A file that may not be read is one sentence with exit code 1, as one that is missing; never a box of the library."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cloud_ingest.cli.app import app as cloud
from edge_agent.cli import app as agent
from edge_agent.cli.buffer import app as buffer

RUNNER = CliRunner()


@pytest.fixture
def forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that an ordinary user may not read; also where the tests run as root."""
    path = tmp_path / "there.yaml"
    path.write_text("agent: {group: a, name: b}\n")
    really_access = os.access

    def unless_forbidden(really: Any) -> Any:
        def opened(name: Any, *args: Any, **more: Any) -> Any:
            if str(name) == str(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return really(name, *args, **more)

        return opened

    monkeypatch.setattr(os, "open", unless_forbidden(os.open))
    monkeypatch.setattr(io, "open", unless_forbidden(open))
    monkeypatch.setattr(os, "access", lambda name, *args, **more: str(name) != str(path) and really_access(name, *args))
    return path


def test_where_no_file_is_named_and_none_is_in_its_usual_place_it_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "etc" / "agent.yaml"
    monkeypatch.setattr(agent, "DEFAULT_CONFIG", usual)
    monkeypatch.chdir(tmp_path)
    said = RUNNER.invoke(agent.whole_app(), ["check", "-c", str(usual)]).stderr
    assert said.endswith("Name the agent's file with -c FILE or LINESIDE_CONFIG, or begin one: edge-agent init\n")
    (tmp_path / "agent.yaml").touch()
    said = RUNNER.invoke(agent.whole_app(), ["check", "-c", str(usual)]).stderr
    assert said.endswith("agent.yaml is in this folder: add -c agent.yaml, or set LINESIDE_CONFIG=agent.yaml\n")
    said = RUNNER.invoke(agent.whole_app(), ["check", "-c", "none.yaml"]).stderr
    assert said.endswith("1 problem\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("buffer", "status"), "there is no outbox at {data}/outbox.db; has the agent ever run?"),
        (("audit", "verify"), "there is no command journal at {data}/commands.db; has the agent ever run?"),
        (("audit", "export"), "there is no command journal at {data}/commands.db; has the agent ever run?"),
        (("config", "list"), "there is no {data}: the agent has never run, or its data_dir is another"),
    ],
)
def test_where_no_agent_has_ever_run_that_is_said(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    config, data = tmp_path / "agent.yaml", tmp_path / "data"
    config.write_text(f"agent: {{group: plant, name: line, data_dir: {data}}}\nuplink: {{brokers: ['mqtts://x']}}\n")
    done = RUNNER.invoke(agent.whole_app(), [*words, "-c", str(config)])
    assert (done.exit_code, " ".join(done.stderr.split())) == (1, said.format(data=data))


@pytest.mark.parametrize("words", [("--device", "press"), ("--anyway",)])
def test_what_is_about_devices_is_not_passed_over_where_only_files_are_checked(words: tuple[str, ...]) -> None:
    done = RUNNER.invoke(agent.whole_app(), ["check", *words])
    assert (done.exit_code, "go with --online" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (agent.whole_app(), ["check", "-c"]),
        (agent.whole_app(), ["status", "-c"]),
        (buffer, ["list", "-c"]),
        (buffer, ["list", "--outbox"]),
        (cloud, ["check", "-c"]),
    ],
)
def test_a_file_that_may_not_be_read_is_one_sentence(app: typer.Typer, words: list[str], forbidden: Path) -> None:
    said = RUNNER.invoke(app, [*words, str(forbidden)])
    assert said.exit_code == 1, said.output
    first = said.stderr.splitlines()[0]
    assert str(forbidden) in first
    assert "cannot be read: Permission denied" in first


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an agent whose data folder belongs to somebody else, who lets nobody look into it."""
    config, data = tmp_path / "agent.yaml", tmp_path / "data"
    data.mkdir()
    config.write_text(f"agent: {{group: plant, name: line, data_dir: {data}}}\nuplink: {{brokers: ['mqtts://x']}}\n")
    really_access = os.access

    def unless_inside(really: Any, *, itself: bool) -> Any:
        def asked(name: Any, *args: Any, **more: Any) -> Any:
            if str(name).startswith(f"{data}/") or (itself and str(name) == str(data)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))
            return really(name, *args, **more)

        return asked

    monkeypatch.setattr(os, "stat", unless_inside(os.stat, itself=False))
    for name in ("open", "scandir", "listdir"):
        monkeypatch.setattr(os, name, unless_inside(getattr(os, name), itself=True))
    monkeypatch.setattr(io, "open", unless_inside(io.open, itself=True))
    monkeypatch.setattr(os, "access", lambda name, mode: str(name) != str(data) and really_access(name, mode))
    owner = data.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    return config


def test_doctor_says_to_whoever_may_not_look_into_the_data_folder_what_to_do(closed: Path) -> None:
    done = RUNNER.invoke(agent.whole_app(), ["doctor", "--json", "-c", str(closed)])
    assert done.exit_code == 1
    (said,) = [one for one in json.loads(done.stdout) if one["area"] == "permissions"]
    assert "belongs to" in said["said"]
    assert said["said"].endswith("; what is in it was not looked at")
    assert said["todo"].startswith("call it as its user: sudo -u ")


@pytest.mark.parametrize("words", [("trust", "list"), ("trust", "accept", "abcdef")])
def test_a_trust_list_that_may_not_be_read_is_one_sentence(closed: Path, words: tuple[str, ...]) -> None:
    done = RUNNER.invoke(agent.whole_app(), [*words, "-c", str(closed)])
    assert (done.exit_code, "run the command as the agent's user, or as root" in " ".join(done.stderr.split())) == (
        1,
        True,
    ), done.output


def test_wherever_a_command_comes_to_what_it_may_not_read_it_says_as_whom_to_call_it(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (closed.parent / "data" / "releases").mkdir()
    monkeypatch.setattr("sys.argv", ["edge-agent", "releases", "-c", str(closed)])
    with pytest.raises(SystemExit) as ended:
        agent.main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 1
    assert said.endswith("Permission denied; run the command as the agent's user, or as root")
