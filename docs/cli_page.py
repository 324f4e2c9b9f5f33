"""The reference of the ``edge-agent`` command, made from the command itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer

from edge_agent.cli.app import EXIT_CODES, whole_app

CLI_PAGE: Final = Path(__file__).parent / "reference" / "cli.md"
_HEAD: Final = """\
# The command `edge-agent`

Made from the command itself by `make generated`. What its screens look like:
[operate an agent](../how-to/operate-an-agent.md).

- `--config` (or `LINESIDE_CONFIG`) names the agent's file; `--socket` (or `LINESIDE_SOCKET`) the socket of an agent
  whose file is elsewhere.
- `--json` prints JSON for programs: one document, or one a line where a command goes on. Keys are added, never renamed.
- Screens are for 80 columns and more. `NO_COLOR=1` switches colour off; a pipe or a file gets none. Times are UTC.
- Nothing is asked of a script: a command asks only at a terminal.

## Exit codes

| code | meaning |
|---|---|
"""
_COMPLETION: Final = """
## Completion in bash, zsh and fish

`edge-agent --install-completion` sets it up for the shell that it is called from; it counts in the next one. It knows
commands and options, and, while the agent runs, names of devices and tags: `edge-agent read press/s<Tab>`. For every
user of a box, with the shell's own folders:

```
_EDGE_AGENT_COMPLETE=source_bash edge-agent > /etc/bash_completion.d/edge-agent
_EDGE_AGENT_COMPLETE=source_fish edge-agent > /etc/fish/completions/edge-agent.fish
(echo '#compdef edge-agent'; _EDGE_AGENT_COMPLETE=source_zsh edge-agent; echo '_edge_agent_completion') \\
    > /usr/local/share/zsh/site-functions/_edge-agent
```
"""


def page() -> str:
    """The page, as Markdown."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return _HEAD + codes + _COMPLETION + "".join(_sections(commands()))


def commands() -> list[tuple[str, Any]]:
    """Every command with all of its words, in the order of ``--help``."""
    return list(_walk("edge-agent", typer.main.get_command(whole_app())))


def _walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, each in below.items():
        if not each.hidden:
            yield from _walk(f"{words} {name}", each)


def _sections(found: list[tuple[str, Any]]) -> Iterator[str]:
    for words, command in found:
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = " ".join([words, *(_usage(each) for each in arguments)])
        yield f"\n## `{usage}`\n\n{_prose(command.help)}\n\n| | |\n|---|---|\n"
        for each in [*arguments, *options]:
            yield f"| {_name(each)} | {_meaning(each)} |\n"


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return str(name if argument.required or name.startswith("[") else f"[{name}]")


def _name(each: Any) -> str:
    if each.param_type_name == "argument":
        return f"`{_usage(each)}`"
    return ", ".join(f"`{opt}`" for opt in [*each.opts, *each.secondary_opts])


def _meaning(each: Any) -> str:
    annotation = each.type_descriptor.annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    parts = [_prose(each.help or "").replace("|", "\\|")]
    parts += [f"One of {', '.join(f'`{one}`' for one in choices)}."] if choices else []
    shown = each.default not in (None, "", False, ()) and not callable(each.default)
    parts += [f"Default: `{each.default}`."] if shown else []
    return " ".join(f"{part}." if part and part[-1] not in ".;:" else part for part in parts if part)


def _prose(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
