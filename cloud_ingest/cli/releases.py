"""``cloud-ingest release`` and ``rollout``: packages, and agents that are brought to them group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    ReasonOption,
    TenantOption,
    ask_of,
    asked_reason,
    load,
    print_json,
    show,
    user,
)

release = typer.Typer(help="Packages of releases: add, list.", no_args_is_help=True)
rollout = typer.Typer(
    help="Agents brought to a release, group by group: start, list, show, stop.", no_args_is_help=True
)
RolloutArgument = Annotated[int, typer.Argument(help="Its number, as 'rollout list' shows it")]


@release.command()
def add(
    package: Annotated[Path, typer.Argument(help="A package that 'lineside release build' has made")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Take a package, for agents to fetch. Whose signature counts is up to each agent."""
    from cloud_ingest.releases import packages
    from connectors.ports.clock import SystemClock

    found = ask_of(config, tenant, lambda database, of: packages.add(database, SystemClock(), of, package, by=user()))
    if as_json:
        print_json({"version": found.version, "sha256": found.sha256, "bytes": found.size_bytes})
    else:
        typer.echo(f"Lineside {found.version}, {found.size_bytes:,} bytes, SHA-256 {found.sha256}")


@release.command("list")
def list_releases(
    config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """List the packages of a tenant, the newest first."""
    from cloud_ingest.cli.release_screens import releases_screen
    from cloud_ingest.releases import packages

    rows = ask_of(config, tenant, packages.listed)
    if as_json:
        print_json(rows)
    else:
        show(releases_screen(rows))


@rollout.command()
def start(
    release: Annotated[str, typer.Argument(help="Its version, or the beginning of its SHA-256")],
    group: Annotated[
        list[str],
        typer.Option(
            "--group", "-g", help="Agents as group/name with * and ?, separated by commas; the canaries first"
        ),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    soak: Annotated[
        str, typer.Option(help="So long a group has to be well before the next, such as 30m or 24h")
    ] = "1h",
    failures: Annotated[int, typer.Option(min=0, max=1000, help="So many agents may fail before it halts")] = 0,
    health: Annotated[str, typer.Option(help="An agent has so long to be well, or it goes back")] = "5m",
    expires: Annotated[str, typer.Option(help="An agent that is away for longer has failed")] = "1h",
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Bring agents of a tenant to a release, group by group. It halts by itself when one fails.

    A group's turn comes when every agent of the group before runs the release, has done so for the time to soak, and is
    still online.
    """
    from cloud_ingest.commands.command_request import EXPIRES_S_MAX
    from cloud_ingest.releases import rollouts
    from connectors.commands.envelope import HEALTH_S_MAX, HEALTH_S_MIN
    from connectors.ports.clock import SystemClock

    groups = [[part.strip() for part in each.split(",") if part.strip()] for each in group]
    asked = rollouts.Asked(
        release,
        groups,
        soak_s=_seconds(soak, "--soak", 0, 30 * 86_400),
        failures_max=failures,
        health_s=round(_seconds(health, "--health", HEALTH_S_MIN, HEALTH_S_MAX)),
        expires_s=round(_seconds(expires, "--expires", 1, EXPIRES_S_MAX)),
    )
    number = ask_of(config, tenant, lambda database, of: rollouts.start(database, SystemClock(), of, asked, by=user()))
    if as_json:
        print_json({"rollout": number})
    else:
        typer.echo(f"rollout {number} runs; 'cloud-ingest rollout show {number}' says how far it is")


@rollout.command("list")
def list_rollouts(
    config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """List the rollouts of a tenant, the newest first."""
    from cloud_ingest.cli.release_screens import rollouts_screen
    from cloud_ingest.releases import rollouts

    rows = ask_of(config, tenant, rollouts.listed)
    if as_json:
        print_json(rows)
    else:
        show(rollouts_screen(rows))


@rollout.command("show")
def show_rollout(
    number: RolloutArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show a rollout with its agents. Exit code 1 when it has halted."""
    from cloud_ingest.cli.release_screens import rollout_screen
    from cloud_ingest.releases import rollouts
    from connectors.ports.clock import SystemClock

    found: dict[str, Any] = ask_of(
        config, tenant, lambda database, of: rollouts.shown(database, SystemClock(), of, number)
    )
    if as_json:
        print_json(found)
    else:
        show(rollout_screen(found))
    if found["state"] == "halted":
        raise typer.Exit(EXIT_PROBLEM)


@rollout.command()
def stop(
    number: RolloutArgument,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Send the release to no further agent. Agents that run it keep it, and who is installing it goes on."""
    from cloud_ingest.commands.requests import Requests
    from cloud_ingest.releases import ending
    from connectors.ports.clock import SystemClock

    why, patterns = asked_reason(reason), load(config).commands.approve

    def work(database: Any, of: int) -> Any:
        requests = Requests(database, SystemClock(), patterns)
        return ending.stop(database, SystemClock(), requests, of, number, by=user(), reason=why)

    taken_back = ask_of(config, tenant, work)
    told = f", and {taken_back.told} agents that may have one are told to leave it" if taken_back.told else ""
    typer.echo(f"rollout {number} is stopped; {taken_back.unsent} commands that nobody had are taken back{told}")


def _seconds(text: str, option: str, least_s: float, most_s: float) -> float:
    from connectors.ports.settings import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{option}: {text!r} is not a length of time; write it as 30m or 24h") from exc
    if not least_s <= seconds <= most_s:
        raise typer.BadParameter(f"{option}: {text!r} is not from {least_s:g} s to {most_s:g} s")
    return seconds
