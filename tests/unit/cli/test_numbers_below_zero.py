"""Whoever writes a number below zero writes it as it is: it is no option."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cloud_ingest.cli.app import app as cloud_app
from edge_agent.cli.app import whole_app


def parsed(app: typer.Typer, path: list[str], words: list[str]) -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return dict(command.make_context(path[-1], words).params)


@pytest.mark.parametrize("number", ["-5", "-0.5", "-.5", "-1e-3", "-2.5E+7", "-inf"])
@pytest.mark.parametrize("before", [[], ["--reason", "-1", "-y"]])
def test_an_edge_agent_is_told_to_write_a_number_below_zero(number: str, before: list[str]) -> None:
    found = parsed(whole_app(), ["write"], [*before, "press/offset", number, "-c", "agent.yaml"])
    assert (found["target"], found["value"], str(found["config"])) == ("press/offset", number, "agent.yaml")
    assert (found["reason"], found["yes"]) == (("-1", True) if before else ("", False))


def test_a_command_to_an_agent_takes_a_number_below_zero() -> None:
    found = parsed(cloud_app, ["command", "send"], ["plant/line", "press", "offset", "-5", "--wait", "10s"])
    assert (found["name"], found["value"], found["wait"]) == ("offset", "-5", "10s")


@pytest.mark.parametrize("words", [["press/offset", "5", "-q"], ["press/offset", "-5", "--reson", "x"], ["-5"]])
def test_what_is_no_number_is_still_an_option(words: list[str]) -> None:
    done = CliRunner().invoke(whole_app(), ["write", *words])
    assert done.exit_code == 2
