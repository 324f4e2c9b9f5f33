"""What ``edge-agent doctor`` has found: one sentence each, and what to do where something is to be done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import RenderableType
from rich.text import Text

from connectors.configuration.setting_names import counted
from edge_agent.cli.terminal import Sentence

State = Literal["ok", "look", "wrong"]
"""``look``: it works, and somebody should look at it before it does not."""
LABELS: Final = {"ok": "ok    ", "look": "LOOK  ", "wrong": "WRONG "}
STYLES: Final = {"ok": "", "look": "yellow", "wrong": "bold red"}
INDENT: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """``area`` is what it is about (clock, disk, …); ``todo`` is empty where nothing is to be done."""

    area: str
    state: State
    said: str
    todo: str = ""


def finding_lines(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """The screen, whose last line sums up; it says the same without colour."""
    for one in findings:
        yield Sentence(f"{LABELS[one.state]}{one.area:<14}", one.said, STYLES[one.state], indent=INDENT)
        if one.todo:
            yield Sentence(" " * (INDENT - 2) + "→ ", one.todo, indent=INDENT)
    wrong, look = (sum(one.state == state for one in findings) for state in ("wrong", "look"))
    yield Text()
    if not wrong and not look:
        yield Text("nothing is wrong", "green")
        return
    said = [f"{wrong} wrong"] if wrong else []
    said += [f"{counted(look, 'thing')} to look at"] if look else []
    yield Text(", ".join(said), "bold red" if wrong else "yellow")
