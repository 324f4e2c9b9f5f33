"""``edge-agent config``: which version of which device file is in use, and back to the one before.

Asks the agent; where none runs, it looks at the disk itself, and a rollback is used by the next start.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    SocketOption,
    ask,
    fail,
    print_problems,
    socket_of,
)
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from edge_agent.config.device_files import DeviceFiles

app = typer.Typer(help="Device files as versions: list, show, and back to the one before.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="Path from the folder of the agent's file, as 'list' shows it")
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why, for whoever looks at it later")]


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, socket: SocketOption = None, as_json: JsonOption = False) -> None:
    """List the device files: which version each is, and whether somebody has changed it here."""
    here = _here(config)
    answer = ask(socket_of(config, socket), "files") if here is None else [asdict(file) for file in here.now()]
    if as_json:
        print_json(answer)
        return
    from edge_agent.cli.screens import file_sentence

    for file in answer:
        say(file_sentence(file)[0])
    if not answer:
        say("the agent's file includes no device files, so none comes as a version")


@app.command()
def show(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """Show a device file: what it is now, what it was before, and why its newest version could not be used."""
    from connectors.model.errors import LinesideError

    here = _here(config)
    try:
        answer = ask(socket_of(config, socket), "file", file=name) if here is None else _described(here, name)
    except LinesideError as exc:
        fail(str(exc), EXIT_PROBLEM)
    if as_json:
        print_json(answer)
        return
    from edge_agent.cli.screens import file_sentence

    if answer["now"] is not None:
        say(file_sentence(answer["now"])[0])
    for content in answer["before"]:
        say(f"before: {_called(content)}")
    if answer["failure"] is not None:
        say(f"version {answer['failure']['version']} could not be used: {answer['failure']['message']}")


@app.command()
def rollback(
    name: NameArgument,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    to: Annotated[str, typer.Option("--to", help="The first characters of the SHA-256 of the content to use")] = "",
    health: Annotated[
        int, typer.Option("--health", min=5, max=600, help="Seconds to read again what was read before")
    ] = 60,
    as_json: JsonOption = False,
) -> None:
    """Go back to the content before. A running agent begins anew with it, and puts it back when it is no good."""
    here = _here(config)
    if here is not None:
        _use(here, name, to)
        say(f"{name} is as it was: the agent begins with it")
        return
    answer = ask(socket_of(config, socket), "file_rollback", file=name, to=to, reason=reason, health_s=health)
    if as_json:
        print_json(answer)
    elif answer["state"] in ("executing", "succeeded"):
        say(f"the agent begins anew with it; 'edge-agent commands show {answer['id']}' says what came of it")
    else:
        say(f"{name}: {answer['state']}. {answer['meaning']} {answer['detail']}")
    if answer["state"] not in ("executing", "succeeded"):
        raise typer.Exit(EXIT_PROBLEM)


def _here(config: Path) -> DeviceFiles | None:
    """The files on the disk, where no agent runs that could be asked."""
    from connectors.model.errors import ConfigInvalid
    from edge_agent.buffer.folder_lock import is_held
    from edge_agent.config.device_files import DeviceFiles
    from edge_agent.config.places import data_dir

    try:
        folder = data_dir(config)
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    if is_held(folder):
        return None
    try:
        is_there = folder.exists()
    except PermissionError:
        is_there = True
    if not is_there:
        fail(f"there is no {folder}: the agent has never run, or its data_dir is another", EXIT_PROBLEM)
    if not os.access(folder, os.R_OK | os.X_OK):
        fail(f"no agent runs, and you may not look into {folder}", EXIT_PROBLEM)
    return DeviceFiles(config, folder, {})


def _described(files: DeviceFiles, name: str) -> dict[str, Any]:
    from edge_agent.local_api.file_calls import described

    return described(files, name)


def _use(files: DeviceFiles, name: str, to: str) -> None:
    try:
        content = files.store.records().earlier(name, files.store.sha256(name), to)
        if content is None:
            fail(f"no other content of {name} is kept; 'edge-agent config show {name}' lists them", EXIT_PROBLEM)
        files.store.use(name, content, time.time_ns() // 1_000_000)
    except OSError as exc:
        fail(f"{name} cannot be put back: {exc}", EXIT_PROBLEM)


def _called(content: dict[str, Any]) -> str:
    version = f"version {content['version']}" if content["version"] else "made here"
    return f"{content['sha256'][:12]}, {version}"
