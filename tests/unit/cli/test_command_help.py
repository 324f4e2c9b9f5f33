"""What ``--help`` says is what may be written: an option without a value is shown without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cloud_ingest.cli.app import app as cloud_app
from connectors.configuration.command_help import without_flag_types
from edge_agent.cli.app import whole_app


def below(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, each in getattr(command, "commands", {}).items():
        yield from below(each, (*words, name))


@pytest.mark.parametrize("program", ["edge-agent", "cloud-ingest"])
def test_no_help_shows_a_value_where_an_option_takes_none(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = without_flag_types(typer.main.get_command(whole_app() if program == "edge-agent" else cloud_app))
    for words in below(command):
        command.main([*words, "--help"], prog_name=program, standalone_mode=False)
        shown = capsys.readouterr().out
        assert "--help" in shown, words
        assert "bool" not in shown, words


@pytest.mark.parametrize("words", [["edge-agent", "run", "--help"], ["edge-agent", "status", "--help"]])
def test_the_program_shows_that_help(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_agent.cli.app import main

    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "bool" not in capsys.readouterr().out
