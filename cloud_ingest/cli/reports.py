"""``cloud-ingest reports``: reports that were made, and sending them again; mails, and trying them again.

Exit codes: 0 done; 1 a mail was given up, or there is no such report or mail; 2 the command was used wrongly; 3 the
database cannot be reached, or does not let us in.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    print_json,
    show,
)

if TYPE_CHECKING:
    from connectors.ports.database import Database

CountOption = Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="At most so many")]
ReportArgument = Annotated[str, typer.Argument(help="As 'reports list' shows it")]

app = typer.Typer(help="Reports by schedule, and the mails that bring them.", no_args_is_help=True)


@app.command("list")
def list_reports(
    config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """List reports: of what, when, and who gets them."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.analytics import reports
    from cloud_ingest.cli.report_screens import reports_screen

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return [dict(row) for row in await reports.plans(session, of, "", reports.PLANS_MAX)]

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows)
    else:
        show(reports_screen(rows))


@app.command()
def made(
    report: ReportArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    count: CountOption = 30,
    as_json: JsonOption = False,
) -> None:
    """List for which periods a report was made, the newest first."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.analytics import reports
    from cloud_ingest.cli.report_screens import made_screen

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            await reports.plan(session, of, report)
            return [*await reports.made_reports(session, of, report, count)]

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows)
    else:
        show(made_screen(rows))


@app.command()
def send(
    report: ReportArgument,
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The first day of its period")],
    to: Annotated[list[str] | None, typer.Option("--to", help="To this address, and not to its recipients")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Send a report that was made once more."""
    from datetime import UTC

    from cloud_ingest.analytics import reports
    from cloud_ingest.event_log.announcing import unit_of_work

    async def work(database: Database, of: int) -> list[str]:
        async with unit_of_work(database, of) as work:
            wanted = reports.plan_of(await reports.plan(work.session, of, report))
            return await reports.send_again(work, wanted, day.date(), to or (), datetime.now(UTC))

    recipients = ask_of(config, tenant, work)
    typer.echo(f"{report} of {day.date()} is sent to {', '.join(recipients)}; 'reports mails' shows how that goes")


@app.command()
def mails(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[str, typer.Option(help="waiting, sent, dead; all of them unless said")] = "",
    tenant: TenantOption = "default",
    count: CountOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List mails of reports and to customers, the newest first. Exit code 1 when one of them was given up."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.report_screens import mails_screen
    from cloud_ingest.notifications import mail_questions

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return [dict(row) for row in await mail_questions.mails(session, of, state or None, "", count)]

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows)
    else:
        show(mails_screen(rows))
    if any(row["state"] == "dead" for row in rows):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def retry(
    mail: Annotated[list[str], typer.Argument(help="As 'reports mails' shows them")],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
) -> None:
    """Try mails again that were given up, or at once those that wait."""
    from datetime import UTC

    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.notifications import mail_questions

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return [await mail_questions.send_again(session, of, one, datetime.now(UTC)) for one in mail]

    for row in ask_of(config, tenant, work):
        typer.echo(f"{row['id']}: the mail to {row['recipient']} is tried again")
