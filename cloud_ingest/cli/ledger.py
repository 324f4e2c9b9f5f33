"""``cloud-ingest ledger``: the delivery ledger, what people close in it, and its proof against an exported outbox.

Exit codes: 0 nothing is missing (``close``: it is closed); 1 something is missing, differs, or cannot be closed; 2 the
command was used wrongly; 3 the database cannot be reached, or does not let us in.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    AgentOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    ask,
    asked_reason,
    fail,
    print_json,
    show,
    user,
)

if TYPE_CHECKING:
    from connectors.model.delivery import BatchRanges, Epoch
    from connectors.ports.database import Database

app = typer.Typer(
    help="What arrived of each agent, what was given up and why, and what is missing. Exit code 1 when something is "
    "missing that nothing explains."
)


@app.callback(invoke_without_command=True)
def show_ledger(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the delivery ledger. Exit code 1 when something is missing that nothing explains and nobody has closed."""
    if context.invoked_subcommand is not None:
        context.default_map = {context.invoked_subcommand: {"config": str(config), "as_json": as_json}}
        return
    from cloud_ingest.cli.ledger_screens import ledger_screen
    from cloud_ingest.event_log.letters import open_letters
    from cloud_ingest.gateway import ledger

    rows = ask(config, lambda database: ledger.ledger(database, agent))
    if agent is not None and not rows:
        fail(f"no agent {agent} has delivered anything; `cloud-ingest agents` lists those that are known", EXIT_PROBLEM)
    unassigned = ask(config, ledger.unassigned_dead_letters)
    set_aside = ask(config, open_letters)
    if as_json:
        print_json({"agents": rows, "unassigned_dead_letters": unassigned, "event_letters": set_aside})
    else:
        show(ledger_screen(rows, unassigned, set_aside))
    if not ledger.is_settled(rows, unassigned + set_aside if agent is None else 0):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def close(
    agent: Annotated[str, typer.Argument(help="group/name")],
    epoch: Annotated[str, typer.Argument(help="16 hexadecimal digits, as 'cloud-ingest ledger' shows them")],
    reason: ReasonOption,
    batches: Annotated[
        str | None,
        typer.Option(help="Which, as 5-9,12; else all that is missing of the epoch, its unknown end included"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Close what will never come of an epoch, with the reason; kept for ever, with your user name and the time.

    What arrives all the same counts as arrived. What may still arrive is not closed.
    """
    from cloud_ingest.cli.ledger_screens import ranges_text
    from cloud_ingest.historian.closing import Closed, close_epoch

    number, ranges, why, by = (
        _epoch(epoch),
        None if batches is None else _batches(batches),
        asked_reason(reason),
        user(),
    )

    async def work(database: Database) -> Closed:
        return await close_epoch(database, agent, number, ranges, reason=why, by=by)

    closed = ask(config, work)
    if as_json:
        print_json({"batches": list(closed.batches), "end": closed.end, "dead_letters": closed.dead_letters})
    elif not closed:
        typer.echo("nothing to close: nothing of it is missing, or it has been closed before")
    else:
        what = [f"batches {ranges_text(list(closed.batches))}"] if closed.batches else []
        what += ["the unknown end"] if closed.end else []
        typer.echo(f"closed {' and '.join(what)} of epoch {epoch} of {agent}")


@app.command()
def verify(
    exports: Annotated[
        list[Path], typer.Argument(help="JSON Lines of 'edge-agent buffer export'; - is standard input", readable=False)
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Whose, where the export does not say")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="Show at most so many differences")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Compare exported outboxes with what is stored, sample by sample. Exit code 1 when anything differs.

    Missing: exported and not stored. Different: stored with another value or quality. Doubled: stored more often than
    exported. Extra: something else is stored of the same tag at the same time.
    """
    from cloud_ingest.historian.outbox_export import Contents, ExportedRecord, ExportUnreadable, read_export
    from cloud_ingest.historian.verifying import Verdict, verify

    contents = Contents()

    def read() -> Iterator[ExportedRecord]:
        for path in exports:
            try:
                yield from read_export(_lines(path), contents, agent)
            except (ExportUnreadable, UnicodeDecodeError) as exc:
                raise ExportUnreadable(f"{path}: {exc}") from exc

    async def work(database: Database) -> Verdict:
        return await verify(database, read(), contents, lines_max=count)

    try:
        verdict = ask(config, work)
    except OSError as exc:
        fail(f"{exc.filename} cannot be read: {exc.strerror}", EXIT_PROBLEM)
    kinds = ("missing", "different", "doubled", "extra", "missing_gaps", "not_arrived")
    facts = {"samples": contents.samples, "gaps": contents.gaps, "batches": sum(map(len, contents.batches.values())),
             **{kind: getattr(verdict, kind) for kind in kinds}, "unnamed": contents.unnamed}  # fmt: skip
    if as_json:
        print_json({**facts, "equal": verdict.is_equal, "lines": verdict.lines})
    else:
        for line in verdict.lines:
            typer.echo(line)
        typer.echo(", ".join(f"{kind.replace('_', ' ')} {number:,}" for kind, number in facts.items()))
    if not verdict.is_equal:
        raise typer.Exit(EXIT_PROBLEM)


def _lines(path: Path) -> Iterator[str]:
    if str(path) == "-":
        yield from sys.stdin
        return
    with path.open(encoding="utf-8") as file:
        yield from file


def _epoch(text: str) -> Epoch:
    from connectors.sparkplug.delivery import parse_epoch

    if not re.fullmatch(r"[0-9a-fA-F]{16}", text):
        raise typer.BadParameter(f"{text!r} is not an epoch: it has 16 hexadecimal digits")
    return parse_epoch(text)


def _batches(text: str) -> BatchRanges:
    from connectors.model.delivery import BatchRanges

    try:
        spans = [part.strip().partition("-") for part in text.split(",")]
        ranges = BatchRanges((int(first), int(last or first)) for first, _, last in spans)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} are no batches; write them as 5-9,12") from exc
    highest = ranges.highest
    if highest is None or highest >= (1 << 63) - 1 or min(first for first, _ in ranges) < 1:
        raise typer.BadParameter(f"{text!r} are no batches: they are numbered from 1 on")
    return ranges
