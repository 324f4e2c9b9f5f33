"""``cloud-ingest inventory``: stock, straight from the database.

Exit codes: 0 done; 1 the ledger does not prove the stock, or a file has rows that are no items; 2 the command was used
wrongly; 3 the database cannot be reached.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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
    show,
)

if TYPE_CHECKING:
    from cloud_ingest.inventory.item_files import Imported
    from cloud_ingest.inventory.verifying import Finding
    from connectors.ports.database import Database

app = typer.Typer(
    help="Stock: what is where, whether the ledger proves it, items from spreadsheets.", no_args_is_help=True
)
FILE_BYTES_MAX: Final = 64 * 1024 * 1024


@app.command()
def stock(
    config: ConfigOption = DEFAULT_CONFIG,
    item: Annotated[str | None, typer.Option("--item", "-i", help="Only of this item")] = None,
    location: Annotated[str | None, typer.Option("--location", "-l", help="Only there, and below")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="At most so many lines")] = 1000,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show what is where, by item, location and lot."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.cli.inventory_screens import stock_screen
    from cloud_ingest.inventory.questions import StockChoice, listed_stock

    async def question(database: Database, of: int) -> list[dict[str, Any]]:
        async with tenant_transaction(database, of) as session:
            return [dict(row) for row in await listed_stock(session, of, StockChoice(item, location, count=count))]

    rows = ask_of(config, tenant, question)
    if as_json:
        print_json(rows)
    else:
        show(stock_screen(rows))


@app.command()
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this one; of all unless said")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove the stock from the ledger: each balance, each reservation, and that all of it adds up to nothing.

    Exit code 1 when anything does not fit.
    """
    from cloud_ingest.cli.inventory_screens import findings_screen
    from cloud_ingest.inventory.verifying import CHECKS
    from cloud_ingest.inventory.verifying import verify as findings_of

    async def question(database: Database, of: int | None = None) -> list[Finding]:
        async with database.session() as session:
            return await findings_of(session, of)

    findings = ask(config, question) if tenant is None else ask_of(config, tenant, question)
    if as_json:
        print_json([asdict(one) for one in findings])
    elif findings:
        show(findings_screen(findings))
    else:
        typer.echo(f"the ledger proves the stock: {len(CHECKS)} checks, nothing found")
    if findings:
        raise typer.Exit(EXIT_PROBLEM)


@app.command("import-items")
def import_items(
    file: Annotated[Path, typer.Argument(help="CSV; its first line has the names of the columns", dir_okay=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of it")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add and change items by a file: all of them, or none when anything in it is wrong.

    Columns: code, kind (raw, component, product), and any of name, unit, tracking, is_phantom, quarantine,
    shelf_life_days, reorder_point, reorder_quantity, supplier.
    """
    from cloud_ingest.event_log.announcing import unit_of_work
    from cloud_ingest.inventory import item_files

    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            fail(f"{file}: a file has at most {FILE_BYTES_MAX // 1024**2} MiB", EXIT_PROBLEM)
        wanted = item_files.read_items(file.read_text("utf-8"))
    except OSError as exc:
        fail(f"{file}: {exc.strerror}", EXIT_PROBLEM)
    except UnicodeDecodeError:
        fail(f"{file}: it is not UTF-8; save it as 'CSV UTF-8'", EXIT_PROBLEM)
    except item_files.ItemsInvalid as exc:
        fail("\n".join(f"{file}: {problem}" for problem in exc.problems), EXIT_PROBLEM)

    async def work_on(database: Database, of: int) -> Imported:
        try:
            async with unit_of_work(database, of) as work:
                done = await item_files.import_items(work, of, wanted, datetime.now(UTC))
                if dry_run:
                    raise _OnlyLooked(done)
                return done
        except _OnlyLooked as looked:
            return looked.done
        except item_files.ItemsInvalid as exc:
            fail("\n".join(f"{file}: {problem}" for problem in exc.problems), EXIT_PROBLEM)

    done = ask_of(config, tenant, work_on)
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
    else:
        would = "would be " if dry_run else ""
        typer.echo(f"{done.added} items {would}added, {done.changed} {would}changed, {done.same} as they were")


class _OnlyLooked(Exception):
    """Takes the transaction back."""

    def __init__(self, done: Imported) -> None:
        super().__init__()
        self.done = done
