"""``edge-agent audit``: the log of all that was asked for and done; it works while the agent is down, too."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, fail
from edge_agent.cli.json_output import print_json

JournalOption = Annotated[
    Path | None, typer.Option("--journal", help="The command journal; otherwise taken from the agent's file")
]

app = typer.Typer(help="The log of who asked for what, and what was done: verify and export it.", no_args_is_help=True)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, journal: JournalOption = None, as_json: JsonOption = False) -> None:
    """Look whether any entry was changed, removed or moved. Exit code 1 when one was."""
    from edge_agent.commands.audit_log import chain_problems, last_entry

    with _opened(config, journal) as connection:
        problems = list(chain_problems(connection))
        last = last_entry(connection)
    number, hash_ = (0, "") if last is None else (last.number, last.hash)
    if as_json:
        print_json({"valid": not problems, "problems": problems, "last": number, "hash": hash_})
    else:
        for problem in problems:
            say(problem, err=True)
        if not problems:
            say(f"the audit log is whole, up to entry {number} with the hash {hash_ or '-'}")
            say("that nothing was cut off at its end, only the cloud can say: compare this hash with its own")
    if problems:
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def export(config: ConfigOption = DEFAULT_CONFIG, journal: JournalOption = None, as_json: JsonOption = False) -> None:
    """Write every entry to standard output, one JSON object a line, oldest first."""
    from edge_agent.commands.audit_log import entries

    del as_json  # it is JSON anyway
    with _opened(config, journal) as connection:
        for entry in entries(connection):
            typer.echo(json.dumps(entry.to_json(), ensure_ascii=False))


@contextlib.contextmanager
def _opened(config: Path, journal: Path | None) -> Iterator[sqlite3.Connection]:
    from connectors.model.errors import ConfigInvalid
    from edge_agent.commands.journal_file import open_journal_reader
    from edge_agent.config.places import journal_path

    try:
        path = journal_path(config) if journal is None else journal
    except ConfigInvalid as exc:
        fail(str(exc), EXIT_PROBLEM)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        fail(f"there is no command journal at {path}; has the agent ever run?", EXIT_PROBLEM)
    except OSError as exc:
        who = "run the command as the agent's user, or as root"
        fail(f"the command journal {path} cannot be read: {exc.strerror}; {who}", EXIT_PROBLEM)
    try:
        with contextlib.closing(open_journal_reader(path)) as connection:
            yield connection
    except sqlite3.Error as exc:
        fail(f"the command journal {path} cannot be read: {exc}", EXIT_PROBLEM)
