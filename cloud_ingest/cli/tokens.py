"""``cloud-ingest token``: who may send, approve and see commands through the API."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    print_json,
    show,
    user,
)

app = typer.Typer(help="Named tokens of the API: create, list, revoke.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: it stands as issuer or approver of commands")],
    config: ConfigOption = DEFAULT_CONFIG,
    role: Annotated[
        str,
        typer.Option(
            help="viewer (read), operator (and send, cancel), approver (and approve), engineer (and configure), "
            "planner (read; orders, work orders, stock)"
        ),
    ] = "operator",
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once: it is kept nowhere."""
    from cloud_ingest.commands import tokens
    from cloud_ingest.commands.rules import TokenRole
    from connectors.ports.clock import SystemClock

    if role not in get_args(TokenRole):
        raise typer.BadParameter(f"{role!r} is no role; they are {', '.join(get_args(TokenRole))}")
    given = cast("TokenRole", role)
    token = ask_of(
        config, tenant, lambda database, of: tokens.create(database, SystemClock(), of, name, given, by=user())
    )
    if as_json:
        print_json({"name": name, "role": role, "token": token})
    else:
        typer.echo(token)


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False) -> None:
    """List every token of a tenant that was ever made, without itself."""
    from cloud_ingest.cli.command_screens import tokens_screen
    from cloud_ingest.commands import tokens

    rows = ask_of(config, tenant, tokens.listed)
    if as_json:
        print_json(rows)
    else:
        show(tokens_screen(rows))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose it is")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Make a token worthless from now on."""
    from cloud_ingest.commands import tokens
    from connectors.ports.clock import SystemClock

    ask_of(config, tenant, lambda database, of: tokens.revoke(database, SystemClock(), of, name, by=user()))
    typer.echo(f"the token {name} is revoked")
