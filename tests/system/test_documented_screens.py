"""The screens in docs/how-to/operate-an-agent.md are those of a real terminal, and current.

Numbers, times and paths differ from run to run: what is compared are the words. With ``WRITE_SCREENS=1`` the
page is written anew.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.operator_line import OperatorLine, operator_line
from tests.system.sparkplug_host import until
from tests.system.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate-an-agent.md"
BLOCK = r"(<!-- screen: {name} -->\n```\n)(.*?)(\n```\n)"


@pytest.fixture(scope="module")
def line() -> Iterator[OperatorLine]:
    """On a disk, whatever the tests write to: of a folder in memory 'doctor' warns."""
    with tempfile.TemporaryDirectory(prefix="a", dir="/var/tmp") as folder, operator_line(Path(folder)) as running:
        yield running


def status(line: OperatorLine) -> list[str]:
    until(lambda: line.agent.command("status", "--json").json["outbox"]["batches"] == 0)
    with line.terminal("status", lines=60) as terminal:
        terminal.end()
        return terminal.screen


def watch(line: OperatorLine) -> list[str]:
    with line.terminal("watch", "-n", "0.1", lines=18) as terminal:
        terminal.shows("press/force", "robot/x")
        for value in (12.5, 14.0, 19.0, 31.5, 22.0, 13.0):
            line.press.write("force", "Double", value)
            terminal.until(lambda value=value: f"{value:g} kN" in terminal.text)  # type: ignore[misc]
        return terminal.screen


def read(line: OperatorLine) -> list[str]:
    return ended(line.terminal("read", "zone", "press/s*", "robot/x", lines=60))


def write(line: OperatorLine) -> list[str]:
    with line.terminal("write", "press/speed", "55") as terminal:
        terminal.shows("why:")
        terminal.type("job 81\r")
        terminal.shows("write it?")
        terminal.type("y\r")
        terminal.end()
        return terminal.screen


def logs(line: OperatorLine) -> list[str]:
    return ended(line.terminal("logs", "--device", "press", lines=60))


def trace(line: OperatorLine) -> list[str]:
    with line.terminal("trace", "press/force") as terminal:
        terminal.shows("every value is reported")
        line.press.write("force", "Double", 21.0)
        terminal.end()
        return terminal.screen


def ended(terminal: Terminal) -> list[str]:
    with terminal:
        terminal.end()
        return terminal.screen


def doctor(line: OperatorLine) -> list[str]:
    until(lambda: line.agent.command("status", "--json").json["outbox"]["batches"] == 0)
    return ended(line.terminal("doctor", lines=60))


SCREENS: dict[str, Callable[[OperatorLine], list[str]]] = {
    "status": status, "read": read, "logs": logs, "trace": trace, "write": write, "watch": watch,
    "doctor": doctor,
}  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_in_the_documentation_is_what_a_terminal_shows(line: OperatorLine, name: str) -> None:
    shown = "\n".join(SCREENS[name](line)).strip("\n")
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(BLOCK.format(name=name), re.DOTALL)
    block = pattern.search(page)
    assert block is not None, f"the page has no screen {name!r}"
    if os.environ.get("WRITE_SCREENS"):
        PAGE.write_text(pattern.sub(lambda found: found[1] + shown + found[3], page), encoding="utf-8")
        return
    assert max(len(one) for one in block[2].splitlines()) <= 80
    assert shape(block[2]) == shape(shown), "another one now: WRITE_SCREENS=1 with this test writes it anew"


def shape(screen: str) -> list[str]:
    """Its words, without what differs from run to run."""
    text = re.sub(r"[▁-█]+", "", screen)
    text = re.sub(r"(ok|LOOK|WRONG) +clock.*?(?=(ok|LOOK|WRONG) +permissions)", "", text, flags=re.DOTALL)
    text = text.replace("thing to look", "things to look")
    text = re.sub(r"drained .*?measured\)|drained [^;]*; by the rates of the last \S+ \S+", "", text)
    text = re.sub(r"(/var)?/tmp/\S+", "/…", text)
    text = re.sub(r"[+-]?\d[\d.,:]*", "#", text)
    text = re.sub(r"# (ms|s|min|h|d)\b", "# t", text)
    return re.sub(r"# (B|kB|MB|GB)\b", "# b", text).split()
