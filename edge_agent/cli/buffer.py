"""``edge-agent buffer``: what is in the outbox; asks nobody, so it works while the agent is down, too."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.model.errors import ConfigInvalid
from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.rows import Kind

DEFAULT_CONFIG = Path("/etc/lineside/agent.yaml")
EXIT_PROBLEM = 1

app = typer.Typer(help="Look into the outbox, whether the agent runs or not.", no_args_is_help=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", envvar="LINESIDE_CONFIG", help="The agent's YAML file")]
PathOption = Annotated[Path | None, typer.Option("--outbox", help="The outbox itself; otherwise as the file says")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]


@app.command("status")
def status(config: ConfigOption = DEFAULT_CONFIG, outbox: PathOption = None, as_json: JsonOption = False) -> None:
    """Say how much is waiting, since when, and from which starts of the agent."""
    with _open(config, outbox) as database:
        path = _file(database)
        rows = list(
            database.query(
                "SELECT device, kind, count(*) AS batches, sum(sample_count) AS samples, min(created_ms) AS oldest_ms, "
                "max(created_ms) AS newest_ms, sum(length(payload)) AS bytes FROM outbox GROUP BY device, kind"
            )
        )
        epochs = [
            {"epoch": format_epoch(row["epoch"]), "first_batch": row["first_batch"], "declared": bool(row["declared"])}
            for row in database.query("SELECT * FROM epoch ORDER BY first_batch")
        ]
        gaps = list(database.query("SELECT * FROM gap ORDER BY device"))
        refused = next(iter(database.query("SELECT count(*) AS n FROM refused")))["n"]
    waiting = [{**row, "kind": Kind(row["kind"]).name.lower()} for row in rows]
    document = {"path": str(path), "waiting": waiting, "epochs": epochs, "open_gaps": gaps, "refused": refused}
    if as_json:
        _print_json(document)
        return
    from rich.console import Console
    from rich.table import Table

    from edge_agent.cli.screens import clock_time, size

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, justify in (("device", "left"), ("what", "left"), ("batches", "right"), ("samples", "right"),
                             ("size", "right"), ("oldest", "left")):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in waiting:
        oldest = clock_time(row["oldest_ms"] * 1_000_000)
        table.add_row(
            row["device"] or "(agent)", row["kind"].replace("_", " "), f"{row['batches']:,}", f"{row['samples']:,}",
            size(row["bytes"]), oldest,
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(f"{path}")
    console.print(table if waiting else "nothing is waiting")
    for gap in gaps:
        console.print(f"gap open on {gap['device']} since {clock_time(gap['first_ns'])}: {gap['reason']}")
    if refused:
        console.print(f"{refused} batches were refused by the cloud and set aside (table refused)")


@app.command("list")
def list_batches(
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many, oldest first")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the batches that wait for an acknowledgement."""
    with _open(config, outbox) as database:
        rows = list(
            database.query(
                "SELECT batch, epoch, kind, device, definition, created_ms, sample_count, length(payload) AS bytes "
                "FROM outbox ORDER BY batch LIMIT ?",
                [count],
            )
        )
    found = [{**row, "epoch": format_epoch(row["epoch"]), "kind": Kind(row["kind"]).name.lower()} for row in rows]
    if as_json:
        _print_json(found)
        return
    from edge_agent.cli.screens import clock_time, size

    for row in found:
        typer.echo(
            f"{row['batch']:>10}  {row['epoch']}  {row['kind']:<11}  {row['device'] or '(agent)':<16}  "
            f"{row['sample_count']:>7,} samples  {size(row['bytes']):>9}  {clock_time(row['created_ms'] * 1_000_000)}"
        )


class _open:  # noqa: N801  reads as a verb where it is used
    """The outbox, read-only, for the length of a block; says so and ends the command when there is none."""

    def __init__(self, config: Path, outbox: Path | None) -> None:
        from edge_agent.config.places import outbox_path

        try:
            self._path = outbox or outbox_path(config)
        except ConfigInvalid as exc:
            typer.echo(str(exc), err=True)
            raise typer.Exit(EXIT_PROBLEM) from exc

    def __enter__(self) -> Any:
        from sqlite_utils import Database

        if not self._path.exists():
            typer.echo(f"there is no outbox at {self._path}; has the agent ever run?", err=True)
            raise typer.Exit(EXIT_PROBLEM)
        try:
            self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
            self._connection.execute("SELECT 1 FROM outbox LIMIT 1").fetchone()
        except sqlite3.Error as exc:
            typer.echo(f"the outbox {self._path} cannot be read: {exc}", err=True)
            raise typer.Exit(EXIT_PROBLEM) from exc
        return Database(self._connection)

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


def _file(database: Any) -> str:
    return str(next(iter(database.query("PRAGMA database_list")))["file"])


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
