"""Commands for people: a table of many, and all of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge_agent.cli.terminal import Sentence
from edge_agent.cli.words import clock_time, value_text

WIDE_COLUMNS: Final = 120
TIME_COLUMNS: Final = len("00:09:06.566")
WHAT_COLUMNS_MAX: Final = 36
"""An id of a command has 26."""
COLOURS: Final = {"succeeded": "green", "received": "", "executing": "", "unknown": "bold red", "failed": "red"}


def commands_table(commands: Sequence[dict[str, Any]]) -> RenderableType:
    """The answer to ``commands``."""
    return CommandsTable(commands) if commands else Text("the journal has no commands")


class CommandsTable:
    """One row a command; where there is no room for that, what was asked for stands below the id. Nothing is cut."""

    def __init__(self, commands: Sequence[dict[str, Any]]) -> None:
        self._commands = commands

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= WIDE_COLUMNS
        rows = [self._row(command, wide=wide) for command in self._commands]
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        longest = max(len(line) for row in rows for line in row[1].plain.splitlines())
        table.add_column("time (UTC)", width=max(len(row[0]) for row in rows) if wide else TIME_COLUMNS)
        table.add_column("id" if wide else "id, and what was asked for", width=min(longest, WHAT_COLUMNS_MAX))
        for heading in ("target", "asked for", "by", "state") if wide else ("by", "state"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*row)
        yield table

    def _row(self, command: dict[str, Any], *, wide: bool) -> list[Text]:
        state = Text(_state(command), COLOURS.get(command["state"], "yellow"))
        time, id_ = clock_time(command["received_ms"] * 1_000_000), command["id"]
        what = (command["target"], asked(command))
        first = (time, id_, *what) if wide else (time, f"{id_}\n{' '.join(what).strip()}")
        return [Text(cell, overflow="fold") for cell in (*first, command["issuer"])] + [state]


def command_screen(command: dict[str, Any]) -> RenderableType:
    """The answer to ``command``."""
    lines: list[RenderableType] = [
        Text.assemble((command["target"], "bold"), f"  {asked(command)}  {_state(command)}"),
        Sentence("asked by ", f"{command['issuer']} ({command['source']}): {command['reason'] or '-'}"),
    ]
    if command["approvers"]:
        lines.append(Sentence("approved ", ", ".join(command["approvers"])))
    if command["meaning"]:
        lines.append(Sentence("meaning  ", command["meaning"], "yellow"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("time (UTC)", "step", "by", "before", "after", "detail"):
        table.add_column(heading)
    for step in command["steps"]:
        name = step["state"] if step["step"] else "writing"
        values = (value_text(step["before"]), value_text(step["after"]))
        table.add_row(clock_time(step["time_ms"] * 1_000_000), name, step["actor"], *values, _detail(step))
    return Group(*lines, Text(), table)


def end_sentence(command: dict[str, Any]) -> str:
    """What came of a command that somebody has just given."""
    target, state = command["target"], command["state"]
    if command["waits_for_approval"]:
        return f"{target} waits until somebody else agrees: edge-agent commands approve {command['id']}"
    if command["stage"] == "arm" and state == "succeeded":
        within = f" within {command['arm_s']:g} s" if command["arm_s"] else ""
        return f"{target} is armed: do it{within} with the same value and --armed {command['id']}"
    held = f", and holds {value_text(command['after'])}" if command["after"] is not None else ""
    if state == "succeeded":
        return f"{target}: done{held}"
    why = str(command["meaning"])
    if command["detail"]:
        why = f"{why.removesuffix('.')}: {command['detail']}" if why else str(command["detail"])
    return f"{target}: {state}{held}. {why}"


def asked(command: dict[str, Any]) -> str:
    """What is to be done, in a few words."""
    action = command["action"]
    if action["do"] == "write":
        return f":= {value_text(action['value'])}"
    if action["do"] == "apply_file":
        return f"version {action['version']}" if action["version"] else action["sha256"][:12]
    if action["do"] == "log_level":
        return f"for {action['for_s']} s"
    if action["do"] != "run":
        return ""
    return ", ".join(f"{name} = {value_text(value)}" for name, value in action["arguments"].items())


def _state(command: dict[str, Any]) -> str:
    return f"{command['state']} ({command['code']})" if command["code"] else str(command["state"])


def _detail(step: dict[str, Any]) -> str:
    return f"{step['code']}: {step['detail']}" if step["code"] else str(step["detail"])
