"""The outbox that an ``edge-agent buffer`` command looks into: where it is, whose, and with which keys.

The agent's file says all of it. An outbox that is named by ``--outbox`` alone may be of another box: then its keys and
the name of its agent are only taken from a file that is named too, or that leads to the same outbox.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from connectors.configuration.saying import say
from connectors.model.errors import AlreadyRunning, ConfigInvalid, LinesideError, OutboxUnavailable
from edge_agent.buffer.contents import OutboxContents
from edge_agent.buffer.folder_lock import is_held, only_one
from edge_agent.buffer.sealing import PLAIN, Sealing

DEFAULT_CONFIG: Final = Path("/etc/lineside/agent.yaml")
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="LINESIDE_CONFIG", help="The agent's YAML file", readable=False)
]
PathOption = Annotated[
    Path | None, typer.Option("--outbox", help="The outbox itself; otherwise as the file says", readable=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
KeyFilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key-file",
        help="A file with a key of the outbox, the current one first; instead of those in the agent's file",
        readable=False,
    ),
]


@dataclass(frozen=True, slots=True)
class OutboxPlace:
    """Where an outbox is; ``config`` is the file that says more of it, if one does."""

    path: Path
    data_dir: Path
    config: Path | None

    @property
    def agent(self) -> str:
        """``group/name``; nothing when it is not known."""
        from edge_agent.config.places import agent_name

        return "" if self.config is None else agent_name(self.config)

    @property
    def agent_runs(self) -> bool:
        """Whether an agent holds the data folder now."""
        return is_held(self.data_dir)


def outbox_place(config: Path, outbox: Path | None) -> OutboxPlace:
    """The outbox that the command means; ends the command when there is none."""
    from edge_agent.config.places import data_dir, outbox_path

    try:
        if outbox is None:
            place = OutboxPlace(outbox_path(config), data_dir(config), config)
        elif config != DEFAULT_CONFIG or _leads_to(config, outbox):
            place = OutboxPlace(outbox, data_dir(config), config)
        else:
            place = OutboxPlace(outbox, outbox.parent, None)
    except ConfigInvalid as exc:
        fail(str(exc))
    try:
        place.path.open("rb").close()
    except FileNotFoundError:
        fail(f"there is no outbox at {place.path}; has the agent ever run?")
    except OSError as exc:
        fail(f"the outbox {place.path} cannot be read: {exc.strerror}; run the command as the agent's user, or as root")
    return place


def sealing_of(place: OutboxPlace, key_files: list[Path] | None) -> Sealing:
    """The keys of the outbox; ends the command when one that is named cannot be used."""
    from connectors.ports.secrets import SecretSource
    from edge_agent.config.encryption import parse_key
    from edge_agent.config.places import outbox_keys

    if key_files:
        keys: list[bytes] = []
        for file in key_files:
            try:
                keys.append(parse_key(SecretSource().resolve(f"${{file:{file.absolute()}}}").get_secret_value()))
            except ValueError as exc:
                said = str(exc).replace("what the reference leads to", f"what {str(file)!r} holds")
                fail(f"--key-file: {said}")
        return Sealing(keys[0], keys[1:])
    if place.config is None:
        return PLAIN
    try:
        settings = outbox_keys(place.config, os.environ)
    except ConfigInvalid as exc:
        fail(f"{exc}\nOr name the file that holds the key with --key-file.")
    return PLAIN if settings is None else Sealing(settings.key_bytes(), settings.previous_key_bytes())


@contextlib.contextmanager
def outbox_contents(place: OutboxPlace, sealing: Sealing) -> Iterator[OutboxContents]:
    """Read-only, for the length of a block; what cannot be read ends the command with a sentence."""
    with named_problems(place.path):
        contents = OutboxContents(place.path, sealing)
        try:
            yield contents
        finally:
            contents.close()


@contextlib.contextmanager
def while_the_agent_is_stopped(place: OutboxPlace, doing: str) -> Iterator[None]:
    """Hold the data folder, so that no agent starts meanwhile; ends the command when one runs."""
    try:
        with only_one(place.data_dir):
            yield
    except AlreadyRunning:
        fail(
            f"an agent runs on {place.data_dir}, and the outbox can only be {doing} while it is stopped: "
            "systemctl stop edge-agent, this command again, systemctl start edge-agent"
        )


@contextlib.contextmanager
def named_problems(path: Path) -> Iterator[None]:
    """End the command with a sentence where the outbox or its disk fails."""
    try:
        yield
    except (OutboxUnavailable, LinesideError) as exc:
        fail(str(exc))
    except sqlite3.Error as exc:
        fail(f"the outbox {path} cannot be used: {exc}")


def say_where_keys_come_from(problems: Iterable[str]) -> None:
    """What to do where a key is missing."""
    if any("which is not configured" in problem for problem in problems):
        say("Keys are those that the agent's file names (--config), or the files named with --key-file.", err=True)


def fail(message: str, code: int = EXIT_PROBLEM) -> NoReturn:
    """Say what is wrong, and end the command."""
    say(message, err=True)
    raise typer.Exit(code)


def _leads_to(config: Path, outbox: Path) -> bool:
    from edge_agent.config.places import outbox_path

    try:
        return outbox_path(config).resolve() == outbox.resolve()
    except ConfigInvalid:
        return False
