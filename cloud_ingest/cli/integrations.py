"""``cloud-ingest integrations``: calls to vendors: how it goes, what was given up, and to try it again.

Exit codes: 0 done; 1 something was given up, or there is no such call; 2 the command was used wrongly; 3 the database
cannot be reached, or does not let us in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask,
    ask_of,
    print_json,
    show,
)

if TYPE_CHECKING:
    from connectors.ports.database import Database

Calls = Annotated[list[str], typer.Argument(help="As 'integrations list' shows them")]

app = typer.Typer(help="Calls to payment, shipping and CRM: neither lost nor doubled.", no_args_is_help=True)


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show how it goes with each vendor. Exit code 1 when calls were given up."""
    from cloud_ingest.cli.integration_screens import status_screen
    from cloud_ingest.integrations import questions

    async def work(database: Database) -> list[dict[str, Any]]:
        async with database.session() as session:
            return await questions.status(session)

    rows = ask(config, work)
    if as_json:
        print_json(rows)
    else:
        show(status_screen(rows))
    if any(row["dead"] for row in rows):
        raise typer.Exit(EXIT_PROBLEM)


@app.command("list")
def list_calls(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="waiting, done, refused, dead, dropped; all of them unless said")] = "",
    about: Annotated[str, typer.Option(help="Only about this payment, refund, shipment or order")] = "",
    tenant: TenantOption = "default",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="At most so many")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List calls, the oldest first."""
    from cloud_ingest.cli.integration_screens import calls_screen
    from cloud_ingest.integrations import questions

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        choice = questions.CallChoice(state or None, None, about or None, "", count + 1)
        async with database.session() as session:
            return await questions.calls(session, of, choice)

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows[:count])
    else:
        show(calls_screen(rows[:count]))
    if len(rows) > count:
        typer.echo(f"more follow: --count {10 * count}", err=True)


@app.command()
def retry(
    calls: Calls, config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """Try calls again that were given up, or at once those that wait. None is done twice."""
    from cloud_ingest.integrations import questions

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        async with database.transaction() as session:
            return [await questions.retry(session, of, call) for call in calls]

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        typer.echo(f"{row['call']}: {row['kind']} about {row['about']} is tried again")
