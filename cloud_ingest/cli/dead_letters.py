"""``cloud-ingest dead-letters``: messages that could not be stored: look at them, store them after all, close them.

Exit codes: 0 done; 1 there is no such message, or one cannot be stored yet; 2 the command was used wrongly; 3 the
database cannot be reached, or does not let us in.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    AgentOption,
    ConfigOption,
    JsonOption,
    OutputOption,
    ReasonOption,
    ask,
    asked_reason,
    load,
    print_json,
    show,
    user,
    write_lines,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud_ingest.historian.dead_letters import Letter
    from cloud_ingest.historian.replaying import Replayed
    from connectors.ports.database import Database

Number = Annotated[int, typer.Argument(min=1, max=(1 << 63) - 1, help="As 'dead-letters list' shows it")]
Numbers = Annotated[list[int], typer.Argument(min=1, max=(1 << 63) - 1, help="As 'dead-letters list' shows them")]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that were closed or stored again")]

app = typer.Typer(help="Messages that could not be stored. They count as missing until they are.", no_args_is_help=True)


@app.command("list")
def list_letters(
    config: ConfigOption = DEFAULT_CONFIG,
    agent: AgentOption = None,
    with_closed: AllOption = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="At most so many")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List them, the oldest first."""
    from cloud_ingest.cli.ledger_screens import letters_screen
    from cloud_ingest.historian.dead_letters import letters

    rows = ask(config, lambda database: letters(database, agent=agent, with_closed=with_closed, count_max=count + 1))
    documents = [row.document() for row in rows[:count]]
    if as_json:
        print_json(documents)
    else:
        show(letters_screen(documents))
    if len(rows) > count:
        typer.echo(f"more follow: --count {10 * count}", err=True)


@app.command("show")
def show_letter(number: Number, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one with its bytes."""
    from cloud_ingest.cli.ledger_screens import letter_screen
    from cloud_ingest.historian.dead_letters import letter

    found = ask(config, lambda database: letter(database, number))
    if as_json:
        print_json(_exported(found))
    else:
        show(letter_screen(found.document(), found.payload))


@app.command()
def export(
    config: ConfigOption = DEFAULT_CONFIG,
    agent: AgentOption = None,
    with_closed: AllOption = False,
    output: OutputOption = None,
) -> None:
    """Write all of them as JSON Lines, the bytes of each in base64."""
    from cloud_ingest.historian.dead_letters import exported

    async def rows(database: Database) -> AsyncIterator[dict[str, object]]:
        async for one in exported(database, agent=agent, with_closed=with_closed):
            yield _exported(one)

    write_lines(config, output, rows)


@app.command()
def replay(numbers: Numbers, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Store them after all, each exactly once: after a fix. Exit code 1 when one cannot be stored yet."""
    from cloud_ingest.opened import replayer

    settings, by = load(config), user()

    async def work(database: Database) -> list[Replayed]:
        async with replayer(settings, database) as replaying:
            return [await replaying.replay(number, by) for number in numbers]

    results = ask(config, work)
    if as_json:
        print_json([{"number": r.number, "outcome": r.outcome, "samples": r.samples, "reason": r.reason}
                    for r in results])  # fmt: skip
    for result in () if as_json else results:
        typer.echo(f"{result.number}: {_told(result)}")
    if any(result.outcome == "failed" for result in results):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def close(numbers: Numbers, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Close them: they are lost, for this reason; kept for ever, with your user name and the time."""
    from cloud_ingest.historian.dead_letters import close_letter

    why, by = asked_reason(reason), user()

    async def work(database: Database) -> list[tuple[int, bool]]:
        return [(number, await close_letter(database, number, reason=why, by=by)) for number in numbers]

    for number, is_new in ask(config, work):
        typer.echo(f"{number}: closed" if is_new else f"{number}: has been closed before")


def _told(result: Replayed) -> str:
    if result.outcome == "stored":
        return f"stored, with {result.samples:,} samples"
    if result.outcome == "arrived":
        return "had arrived already; closed"
    if result.outcome == "closed":
        return f"has been closed before ({result.reason})"
    return f"cannot be stored: {result.reason}"


def _exported(found: Letter) -> dict[str, object]:
    return {**found.document(), "payload": base64.b64encode(found.payload).decode()}
