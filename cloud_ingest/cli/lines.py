"""``cloud-ingest lines``: describe plants and their lines by files, and look at how lines stand."""

from __future__ import annotations

from pathlib import Path
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
    user,
)
from connectors.configuration.saying import say

if TYPE_CHECKING:
    from cloud_ingest.lines.plant_file import Change, PlantFile
    from connectors.ports.database import Database

app = typer.Typer(help="Plants and their lines: check and apply files, see how lines stand.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help="The plant file", readable=False)]


@app.command()
def check(file: FileArgument) -> None:
    """Check a plant file and say everything that is wrong with it, by line and column."""
    from cloud_ingest.lines.plant_file import parts_of

    typer.echo(f"{file}: valid, {len(parts_of(_read(file)))} parts")


@app.command()
def apply(
    file: FileArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove parts of its sites that the file does not have")
    ] = False,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Have the plant as the file says. The same file again changes nothing."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.lines.catching_up import catch_up
    from cloud_ingest.lines.plant_file import apply_plant

    plant = _read(file)

    async def change(database: Database, of: int) -> list[Change]:
        for site in plant.sites:
            await catch_up(database, of, site.site)
        async with tenant_transaction(database, of) as session:
            return await apply_plant(session, of, plant, user(), prune=prune)

    changes = ask_of(config, tenant, change)
    if as_json:
        print_json([{"site": one.key.site, "kind": one.key.kind, "code": one.key.code, "deed": one.deed}
                    for one in changes])  # fmt: skip
        return
    for one in changes:
        typer.echo(f"{one.deed} {one.key}")
    if not changes:
        typer.echo("nothing to do: the plant is as the file says")


@app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False) -> None:
    """List lines, and how they stand."""
    from cloud_ingest.access.tenancy import tenant_transaction
    from cloud_ingest.lines.standing import LineStanding, standings

    async def question(database: Database, of: int) -> list[LineStanding]:
        async with tenant_transaction(database, of) as session:
            return list(await standings(session, of))

    rows = [_row(one) for one in ask_of(config, tenant, question)]
    if as_json:
        print_json(rows)
        return
    from cloud_ingest.cli.listing import Listing

    table = Listing("line", "state", "since (UTC)", "good", "reject", "work order")
    for row in rows:
        table.add_row(
            f"{row['site']}/{row['line']}",
            row["state"],
            row["since"].removesuffix("Z"),
            row["good"],
            row["reject"],
            row["work_order"] or "",
        )
    show(table)


def _row(one: Any) -> dict[str, Any]:
    from cloud_ingest.lines.line_reading import time_of
    from cloud_ingest.lines.work_order_events import exact

    return {
        "site": one.site,
        "line": one.line,
        "state": one.state.value,
        "since": f"{time_of(one.since_ns):%Y-%m-%d %H:%M:%S}Z" if one.since_ns else "",
        "good": exact(one.good),
        "reject": exact(one.reject),
        "work_order": one.work_order,
        "product": one.product,
    }


def _read(file: Path) -> PlantFile:
    from cloud_ingest.lines.plant_file import read_plant
    from connectors.model.errors import ConfigInvalid

    try:
        return read_plant(file)
    except ConfigInvalid as exc:
        for problem in exc.problems:
            say(str(problem), indent=2, err=True)
        raise typer.Exit(EXIT_PROBLEM) from exc
