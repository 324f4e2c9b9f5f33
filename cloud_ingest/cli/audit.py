"""``cloud-ingest audit``: the hash-chained log of what was done with commands, keys and tokens.

Exit codes of ``verify``: 0 the chain is whole; 1 an entry was changed, is missing, or was moved, or the audit log of an
agent is not the one that was known of it (until ``close-alarm``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask,
    ask_of,
    fail,
    print_json,
    user,
)

if TYPE_CHECKING:
    from connectors.ports.database import Database

app = typer.Typer(help="The audit log of commands, keys and tokens: verify, export.", no_args_is_help=True)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Find any changed, missing or reordered entry, here and in what agents tell of theirs. Exit code 1 for one."""
    from cloud_ingest.commands import audit, audit_heads

    async def work(database: Database) -> tuple[int, list[str], list[dict[str, Any]]]:
        count, found = 0, []
        for tenant_id, name in await audit.tenants(database):
            entries, problems = await audit.verify(database, tenant_id)
            count += entries
            found += problems if tenant_id == audit.TENANT else [f"tenant {name}: {problem}" for problem in problems]
        return count, found, await audit_heads.alarms(database)

    count, found, alarms = ask(config, work)
    if as_json:
        print_json({"entries": count, "problems": found, "agents": alarms})
    else:
        for alarm in alarms:
            typer.echo(f"the audit log of {alarm['agent']}, on {alarm['time']:%Y-%m-%d %H:%M}: {alarm['reason']}")
        for problem in found:
            typer.echo(problem)
        typer.echo(f"{count} entries, " + ("the chain is whole" if not found else f"{len(found)} problems"))
    if found or alarms:
        raise typer.Exit(EXIT_PROBLEM)


@app.command("close-alarm")
def close_alarm(
    agent: Annotated[str, typer.Argument(metavar="GROUP/NAME", help="The agent whose audit log was looked at")],
    reason: Annotated[str, typer.Option("--reason", help="What was found; kept for ever")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Say that somebody has looked at the alarms of an agent's audit log: they are shown no more."""
    from cloud_ingest.commands import audit_heads
    from connectors.ports.clock import SystemClock

    count = ask_of(
        config,
        tenant,
        lambda database, of: audit_heads.close(database, SystemClock(), of, agent, reason=reason, by=user()),
    )
    typer.echo(f"closed {count} of {agent}")


@app.command()
def export(
    config: ConfigOption = DEFAULT_CONFIG,
    to: Annotated[Path | None, typer.Option("--to", help="Into this file instead of standard output")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose chain: each tenant has one")] = "default",
) -> None:
    """Print every entry as JSON Lines, in order, with its hash."""
    if to is None:
        _export(config, sys.stdout, tenant)
        return
    try:
        with to.open("w", encoding="utf-8") as file:
            _export(config, file, tenant)
    except OSError as exc:
        fail(f"{to} cannot be written: {exc.strerror}", EXIT_PROBLEM)


def _export(config: Path, file: TextIO, tenant: str) -> None:
    from cloud_ingest.commands import audit
    from connectors.commands.audit_chain import canonical

    async def work(database: Database) -> None:
        ids = {name: tenant_id for tenant_id, name in await audit.tenants(database)}
        if tenant not in ids:
            fail(f"there is no tenant {tenant!r}; there are {', '.join(ids)}", EXIT_PROBLEM)
        async for entry in audit.entries(database, tenant_id=ids[tenant]):
            file.write(canonical(entry.to_json()).decode() + "\n")

    ask(config, work)
