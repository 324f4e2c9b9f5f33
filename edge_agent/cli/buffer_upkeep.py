"""``edge-agent buffer compact``, ``reseal`` and ``new-key``: what is done to an outbox while its agent is stopped."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

from connectors.configuration.saying import say
from edge_agent.cli.buffer_export import progress
from edge_agent.cli.json_output import print_json
from edge_agent.cli.opened_outbox import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    KeyFilesOption,
    OutboxPlace,
    PathOption,
    fail,
    named_problems,
    outbox_place,
    sealing_of,
    while_the_agent_is_stopped,
)

if TYPE_CHECKING:
    from edge_agent.buffer.resealing import Resealed

HOW_TO_USE_A_KEY: Final = (
    "Keep it where a stolen disk does not bring it along, and a copy in another place: without it the rows are lost. "
    'In the agent\'s file: outbox: {encryption: {key: "${credential:outbox-key}"}}'
)


def compact(config: ConfigOption = DEFAULT_CONFIG, outbox: PathOption = None, as_json: JsonOption = False) -> None:
    """Give the disk back what the file does not need any more; only while the agent is stopped."""
    from edge_agent.cli.words import size

    place = outbox_place(config, outbox)
    before = _file_bytes(place)
    with _opened(place, "compacted") as connection:
        _vacuum(connection, place)
    after = _file_bytes(place)
    if as_json:
        print_json({"path": str(place.path), "before_bytes": before, "after_bytes": after})
    else:
        say(f"{place.path}: {size(before)} before, {size(after)} now")


def reseal(
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    key_file: KeyFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt everything anew with the current key (or decrypt it, without one); only while the agent is stopped.

    Afterwards no row needs a previous key, and no plain text is left in the file. Exit code 1 when a row could not be
    opened; it stays as it is.
    """
    from edge_agent.buffer.resealing import reseal_all
    from edge_agent.buffer.set_aside import damaged_files

    place = outbox_place(config, outbox)
    sealing = sealing_of(place, key_file)
    with _opened(place, "sealed anew") as connection:

        def count() -> int:
            query = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM refused)"
            return int(connection.execute(query).fetchone()[0])

        with progress(count) as advance:
            done = reseal_all(connection, sealing, advance)
        _vacuum(connection, place)
    others = [path.name for path in damaged_files(place.path)]
    if as_json:
        unreadable = [{"problem": problem, "count": count} for problem, count in done.unreadable.items()]
        print_json({"key": sealing.key_id, "changed": done.changed, "unreadable": unreadable, "not_touched": others})
    else:
        _say_resealed(place, done, sealing.key_id, others)
    if done.unreadable:
        raise typer.Exit(EXIT_PROBLEM)


def new_key(as_json: JsonOption = False) -> None:
    """Print a new key for the outbox: 32 random bytes in base64."""
    from edge_agent.buffer.sealing import new_key

    if as_json:
        print_json({"key": new_key()})
        return
    typer.echo(new_key())
    if sys.stderr.isatty():
        say(HOW_TO_USE_A_KEY, err=True)


def _say_resealed(place: OutboxPlace, done: Resealed, key_id: str, others: list[str]) -> None:
    from connectors.configuration.setting_names import counted

    how = f"sealed with the key {key_id}" if key_id else "stored plain"
    if done.changed:
        say(f"{place.path}: {counted(done.changed, 'row is', 'rows are')} {how} now")
    elif not done.unreadable:
        say(f"{place.path}: every row was {how} already")
    for problem, count in done.unreadable.items():
        say(f"{counted(count, 'row stays', 'rows stay')} as they were: {problem}", err=True)
    for name in others:
        say(f"{name} was set aside because of a damage, and is not changed: remove it if it may not be read", err=True)


@contextlib.contextmanager
def _opened(place: OutboxPlace, doing: str) -> Iterator[sqlite3.Connection]:
    """The outbox for writing, with the data folder held; what cannot be done ends the command with a sentence."""
    from edge_agent.buffer.schema import open_outbox_file

    with named_problems(place.path), while_the_agent_is_stopped(place, doing):
        connection = open_outbox_file(place.path, "full")
        try:
            yield connection
        finally:
            connection.close()


def _vacuum(connection: sqlite3.Connection, place: OutboxPlace) -> None:
    """Write the file anew, so that neither free pages nor the log hold anything."""
    try:
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
            raise
        fail(
            f"{place.path} cannot be written anew: there is no room for two copies of what is in it, one beside it and "
            "one in the folder for temporary files (another one: SQLITE_TMPDIR=/path)"
        )
    if busy:
        fail(f"another program has {place.path} open; end it, and run this command again")


def _file_bytes(place: OutboxPlace) -> int:
    from edge_agent.buffer.reading import file_bytes

    return file_bytes(place.path)
