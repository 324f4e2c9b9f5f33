"""``cloud-ingest enrol`` and ``agent-keys``: one-time tokens for agents, and the keys of agents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

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

agent_keys = typer.Typer(help="Keys of agents that were enrolled: list, revoke.", no_args_is_help=True)


def enrol(
    agent: Annotated[str, typer.Argument(metavar="GROUP/NAME", help="The agent that the token is for")],
    config: ConfigOption = DEFAULT_CONFIG,
    valid: Annotated[str, typer.Option(help="How long it can be used, such as 30m, 24h or 7d")] = "24h",
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Make a one-time token with which an agent of a tenant is enrolled, and print it, once: it is kept nowhere.

    One that was made for the agent before and not used holds no more.
    """
    from cloud_ingest.commands import enrolment
    from connectors.ports.clock import SystemClock
    from connectors.ports.settings import parse_duration

    try:
        valid_s = parse_duration(valid)
    except ValueError as exc:
        raise typer.BadParameter(f"--valid: {valid!r} is not a length of time; write it as 30m, 24h or 7d") from exc
    made = ask_of(
        config,
        tenant,
        lambda database, of: enrolment.create_token(database, SystemClock(), of, agent, valid_s=valid_s, by=user()),
    )
    until = datetime.fromtimestamp(made.expires_ms / 1000, UTC).isoformat(timespec="seconds")
    if as_json:
        print_json({"agent": agent, "token": made.token, "expires": until})
    else:
        typer.echo(made.token)
        typer.echo(
            f"once, until {until}; on the box of {agent}: edge-agent enrol https://… --token-file -",
            err=True,
        )


@agent_keys.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False) -> None:
    """List every key of every agent of a tenant, and which of the cloud's keys the agent trusts."""
    from cloud_ingest.cli.command_screens import agent_keys_screen
    from cloud_ingest.commands import agent_keys as keys

    rows = ask_of(config, tenant, keys.listed)
    if as_json:
        print_json(rows)
    else:
        show(agent_keys_screen(rows))


@agent_keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as 'agent-keys list' shows it")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Have a key be none of its agent any more; the agent can be enrolled anew."""
    from cloud_ingest.commands import agent_keys as keys
    from connectors.ports.clock import SystemClock

    agent = ask_of(config, tenant, lambda database, of: keys.revoke(database, SystemClock(), of, key, by=user()))
    typer.echo(f"the key {key} of {agent} is revoked")
