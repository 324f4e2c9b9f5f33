"""Shells complete commands, tags and devices, set up as the documentation says."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import WAIT_S_MAX
from tests.system.edge_agent_steps import EDGE_AGENT
from tests.system.operator_line import OperatorLine, operator_line
from tests.system.sparkplug_host import until
from tests.system.terminal import Terminal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
TAB_S = 10.0
"""A shell waits a second for the agent and no longer: it offers nothing, and Tab is pressed again."""
SYSTEM_FOLDERS = ("/etc/bash_completion.d", "/usr/local/share/zsh/site-functions", "/etc/fish/completions")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorLine]:
    with operator_line(tmp_path_factory.mktemp("a")) as running:
        yield running


@pytest.fixture
def environment(line: OperatorLine, tmp_path: Path) -> dict[str, str]:
    """That of a shell in which the lines of the documentation were typed, with folders of its own."""
    (script,) = re.findall(r"```\n(_EDGE_AGENT_COMPLETE=.*?)```", PAGE.read_text(), re.DOTALL)
    for folder in SYSTEM_FOLDERS:
        assert folder in script
        own = tmp_path / Path(folder).parent.name / "completions"
        own.mkdir(parents=True)
        script = script.replace(folder, str(own))
    path = f"{Path(EDGE_AGENT).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LINESIDE_CONFIG": str(line.agent.config)}
    subprocess.run(["sh", "-e", "-c", script], env=environment, timeout=WAIT_S_MAX, check=True)
    return environment | {"XDG_CONFIG_HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "HOME": str(tmp_path)}


def test_bash_completes(environment: dict[str, str], tmp_path: Path) -> None:
    script = (
        f'source "{tmp_path}/etc/completions/edge-agent"; COMP_WORDS=(edge-agent read oven/); COMP_CWORD=2; '
        '_edge_agent_completion edge-agent; echo "${COMPREPLY[@]}"; complete -p edge-agent'
    )

    def lines() -> list[str]:
        said = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        return said.stdout.splitlines()

    until(lambda: lines()[0].split() == ["oven/zone", "oven/setpoint"])
    assert "_edge_agent_completion edge-agent" in lines()[-1]


def test_fish_completes(environment: dict[str, str]) -> None:
    def offered(typed: str) -> set[str]:
        said = subprocess.run(
            ["fish", "-c", f"complete -C '{typed}'"], env=environment, capture_output=True, text=True, check=True
        )
        return {each.split("\t")[0] for each in said.stdout.splitlines() if each}

    assert offered("edge-agent tr") == {"trace", "trust"}
    until(lambda: offered("edge-agent read press/s") == {"press/sensor", "press/speed", "press/state"})
    until(lambda: offered("edge-agent lock o") == {"oven"})


def test_zsh_completes(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(
        f"PROMPT='ready> '\nfpath=({tmp_path}/zsh/completions $fpath)\nautoload -Uz compinit; compinit -u\n"
    )
    with Terminal("zsh", "-i", env=environment) as terminal:
        terminal.shows("ready>")
        terminal.type("edge-agent read oven/z")
        terminal.until(lambda: completed(terminal, "read oven/zone"))
        terminal.type("\x15edge-agent tr\t")
        terminal.shows("trace", "trust")


def completed(terminal: Terminal, words: str) -> bool:
    """Whether the words are seen, once Tab was pressed for them: again, where nobody has answered in time."""
    terminal.type("\t")
    with contextlib.suppress(AssertionError):
        return bool(until(lambda: words in terminal.text, TAB_S))
    return False


def test_without_an_agent_nothing_is_offered_and_nothing_is_said(line: OperatorLine, tmp_path: Path) -> None:
    env = {**os.environ, "LINESIDE_CONFIG": str(tmp_path / "none.yaml"), "_EDGE_AGENT_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": "edge-agent read p", "COMP_CWORD": "2"}
    said = subprocess.run([EDGE_AGENT], env=env, capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)
    assert (said.stdout.strip(), said.stderr) == ("", "")
