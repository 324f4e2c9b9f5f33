"""``cloud-ingest keys``: what commands are signed with; private keys stand in files, public ones in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ask,
    load,
    print_json,
    show,
    user,
)

app = typer.Typer(help="Keys that commands are signed with: create, list, retire.", no_args_is_help=True)


@app.command()
def create(
    config: ConfigOption = DEFAULT_CONFIG,
    to: Annotated[
        Path | None, typer.Option("--to", help="Another file than commands.signing_key names; it must not exist")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. If one holds already, the new one is signed with that, which commands.signing_key names.

    To change keys, make one --to another file, have the agents trust it, name that file as commands.signing_key, and
    retire the old one. Two hold at a time.
    """
    from cloud_ingest.commands import keys
    from connectors.ports.clock import SystemClock

    current = load(config).commands.signing_key
    path = to or current
    if path is None:
        raise typer.BadParameter("name the file: --to FILE, or commands.signing_key in the configuration")
    voucher = None if path == current else current
    key_id = ask(config, lambda database: keys.create(database, SystemClock(), path, by=user(), voucher=voucher))
    if as_json:
        print_json({"key": key_id, "file": str(path)})
    else:
        typer.echo(f"made the key {key_id}; its private half is in {path}, and nowhere else")


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List every key that was ever made; with --json its public half, as agents are to trust it."""
    from cloud_ingest.cli.command_screens import keys_screen
    from cloud_ingest.commands import keys

    rows = ask(config, keys.listed)
    if as_json:
        print_json(rows)
    else:
        show(keys_screen(rows))


@app.command()
def export(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the public halves of the keys that hold, as the file of trusted keys of an agent has them."""
    from cloud_ingest.commands import keys

    rows = ask(config, keys.listed)
    print_json({"keys": {row["key_id"]: row["public_key"] for row in rows if row["retired"] is None}})


@app.command()
def retire(
    key: Annotated[str, typer.Argument(help="Its id, as 'keys list' shows it")],
    anyway: Annotated[bool, typer.Option("--anyway", help="Also while agents trust no other key that holds")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Have a key not hold any more: nothing is signed with it from now on.

    Refused while agents trust that key alone and another one holds: they would have to be enrolled anew.
    """
    from cloud_ingest.commands import keys
    from connectors.ports.clock import SystemClock

    ask(config, lambda database: keys.retire(database, SystemClock(), key, by=user(), anyway=anyway))
    typer.echo(f"the key {key} holds no more")
