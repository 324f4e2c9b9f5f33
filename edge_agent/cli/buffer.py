"""``edge-agent buffer``: what is in the outbox; asks nobody, so it works while the agent is down, too."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.resealing import KEY_IN_META
from edge_agent.buffer.rows import Kind
from edge_agent.cli.buffer_export import export
from edge_agent.cli.buffer_look import show, verify
from edge_agent.cli.buffer_upkeep import compact, new_key, reseal
from edge_agent.cli.json_output import print_json
from edge_agent.cli.opened_outbox import DEFAULT_CONFIG, ConfigOption, JsonOption, PathOption, fail, outbox_place
from edge_agent.local_api.outbox_files import outbox_files

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS: Final = (
    "batch", "batches", "samples", "size", "first", "last", "waiting", "set aside", "explained", "left", "value",
)  # fmt: skip

app = typer.Typer(
    help="Look into the outbox, whether the agent runs or not, and take care of it.", no_args_is_help=True
)


@app.command("status")
def status(config: ConfigOption = DEFAULT_CONFIG, outbox: PathOption = None, as_json: JsonOption = False) -> None:
    """Say how much is waiting, since when (UTC), and from which starts of the agent."""
    with _open(config, outbox) as database:
        path = Path(_file(database))
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
        gaps = list(  # in an encrypted outbox, the detail is sealed
            database.query(
                "SELECT device, reason, first_ns, CASE typeof(detail) WHEN 'text' THEN detail END AS detail "
                "FROM gap ORDER BY device"
            )
        )
        key = next(iter(database.query("SELECT value FROM meta WHERE key=?", [KEY_IN_META])), {"value": ""})["value"]
        refused = next(iter(database.query("SELECT count(*) AS n FROM refused")))["n"]
        files = outbox_files(path)
    document = {
        "path": str(path),
        "waiting": [{**row, "kind": Kind(row["kind"]).name.lower()} for row in rows],
        "database_bytes": files.database_bytes,
        "wal_bytes": files.wal_bytes,
        "epochs": epochs,
        "open_gaps": gaps,
        "refused": refused,
        "sealed_with": key,
    }
    if as_json:
        print_json(document)
    else:
        _print_status(document)


def _print_status(document: dict[str, Any]) -> None:
    from rich.text import Text

    from connectors.configuration.setting_names import counted
    from edge_agent.cli.screens import files_sentence
    from edge_agent.cli.terminal import Sentence, console
    from edge_agent.cli.words import clock_time, size

    out = console()
    out.print(Sentence("outbox   ", document["path"]))
    out.print(Sentence("         ", files_sentence(document["database_bytes"], document["wal_bytes"]), "dim"))
    if document["sealed_with"]:
        text = f"encrypted at rest; new rows are sealed with the key {document['sealed_with']}"
        out.print(Sentence("         ", text, "dim"))
    table = plain_table(("device", "what", "batches", "samples", "size", "oldest (UTC)"))
    for row in document["waiting"]:
        device, kind = Text(row["device"] or "(agent)"), row["kind"].replace("_", " ")
        oldest = clock_time(row["oldest_ms"] * 1_000_000)
        table.add_row(device, kind, f"{row['batches']:,}", f"{row['samples']:,}", size(row["bytes"]), oldest)
    out.print(table if document["waiting"] else "nothing is waiting")
    for gap in document["open_gaps"]:
        since = f"gap open since {clock_time(gap['first_ns'])} UTC: {gap['reason'].replace('_', ' ')}"
        out.print(Sentence(f"{gap['device']}: ", since, indent=2))
    if document["refused"]:
        refused = (
            f"{counted(document['refused'], 'batch', 'batches')} refused by the cloud and set aside (table refused)"
        )
        out.print(Sentence("", refused, "yellow"))


@app.command("list")
def list_batches(
    config: ConfigOption = DEFAULT_CONFIG,
    outbox: PathOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many, oldest first")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the batches that wait for an acknowledgement, with the time of their commit (UTC)."""
    with _open(config, outbox) as database:
        rows = list(
            database.query(
                "SELECT batch, epoch, kind, device, definition, created_ms, sample_count, length(payload) AS bytes "
                "FROM outbox ORDER BY batch LIMIT ?",
                [count],
            )
        )
        waiting = next(iter(database.query("SELECT count(*) AS n FROM outbox")))["n"]
    found = [{**row, "epoch": format_epoch(row["epoch"]), "kind": Kind(row["kind"]).name.lower()} for row in rows]
    if as_json:
        print_json(found)
        return
    from rich.text import Text

    from connectors.configuration.setting_names import counted
    from edge_agent.cli.terminal import console
    from edge_agent.cli.words import clock_time, size

    table = plain_table(("batch", "start", "what", "device", "samples", "size", "committed (UTC)"))
    for row in found:
        table.add_row(
            str(row["batch"]), row["epoch"], row["kind"].replace("_", " "), Text(row["device"] or "(agent)"),
            f"{row['sample_count']:,}", size(row["bytes"]), clock_time(row["created_ms"] * 1_000_000),
        )  # fmt: skip
    out = console()
    out.print(table if found else "nothing is waiting")
    if waiting > len(found):
        out.print(f"… {counted(waiting - len(found), 'more batch', 'more batches')}: --count shows more")


app.command("show")(show)
app.command("export")(export)
app.command("verify")(verify)
app.command("compact")(compact)
app.command("reseal")(reseal)
app.command("new-key")(new_key)


def plain_table(headings: tuple[str, ...]) -> Table:
    """A table without lines, for ``headings``."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", overflow="fold")
    return table


class _open:  # noqa: N801  reads as a verb where it is used
    """The outbox, read-only, for the length of a block; says so and ends the command when there is none."""

    def __init__(self, config: Path, outbox: Path | None) -> None:
        self._path = outbox_place(config, outbox).path

    def __enter__(self) -> Any:
        from sqlite_utils import Database

        try:
            self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
            self._connection.execute("SELECT 1 FROM outbox LIMIT 1").fetchone()
        except sqlite3.Error as exc:
            fail(f"the outbox {self._path} cannot be read: {exc}")
        return Database(self._connection)

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


def _file(database: Any) -> str:
    return str(next(iter(database.query("PRAGMA database_list")))["file"])
