"""``cloud-ingest event-letters``: what parts of the platform could not take: look at it, have it taken, close it.

Exit codes: 0 done; 1 there is no such letter, or one cannot be taken yet; 2 the command was used wrongly; 3 the
database cannot be reached, or does not let us in.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    OutputOption,
    ReasonOption,
    ask,
    asked_reason,
    print_json,
    show,
    user,
    write_lines,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud_ingest.event_log.letters import EventLetter
    from connectors.ports.database import Database

LOOK_S: Final = 0.2
Number = Annotated[int, typer.Argument(min=1, max=(1 << 63) - 1, help="As 'event-letters list' shows it")]
Numbers = Annotated[list[int], typer.Argument(min=1, max=(1 << 63) - 1, help="As 'event-letters list' shows them")]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that were taken after all, or closed")]
PartOption = Annotated[str | None, typer.Option("--part", "-p", help="Only of this part, as 'list' shows it")]

app = typer.Typer(
    help="Events that a part of the platform could not take. What they tell of is missing there until it takes them.",
    no_args_is_help=True,
)


@app.command("list")
def list_letters(
    config: ConfigOption = DEFAULT_CONFIG,
    part: PartOption = None,
    with_closed: AllOption = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="At most so many")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List them, the oldest first."""
    from cloud_ingest.cli.event_letter_screens import event_letters_screen
    from cloud_ingest.event_log.letters import event_letters

    rows = ask(
        config,
        lambda database: event_letters(database, projection=part, with_closed=with_closed, count_max=count + 1),
    )
    documents = [row.document() for row in rows[:count]]
    if as_json:
        print_json(documents)
    else:
        show(event_letters_screen(documents))
    if len(rows) > count:
        typer.echo(f"more follow: --count {10 * count}", err=True)


@app.command("show")
def show_letter(number: Number, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one with its event."""
    from cloud_ingest.cli.event_letter_screens import event_letter_screen
    from cloud_ingest.event_log.letters import event_letter

    found = ask(config, lambda database: event_letter(database, number))
    if as_json:
        print_json(_exported(found))
    else:
        show(event_letter_screen(found.document(), found.value))


@app.command()
def export(
    config: ConfigOption = DEFAULT_CONFIG,
    part: PartOption = None,
    with_closed: AllOption = False,
    output: OutputOption = None,
) -> None:
    """Write all of them as JSON Lines, the event of each in base64."""
    from cloud_ingest.event_log.letters import exported_letters

    async def rows(database: Database) -> AsyncIterator[dict[str, object]]:
        async for one in exported_letters(database, projection=part, with_closed=with_closed):
            yield _exported(one)

    write_lines(config, output, rows)


@app.command()
def retry(
    numbers: Numbers,
    config: ConfigOption = DEFAULT_CONFIG,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, max=3600, help="So many seconds, until it is known what came of it")
    ] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Have them taken after all, each exactly once: after a fix. The process that has the part does it.

    Exit code 1 when one cannot be taken, or nobody has taken it within the time: it is taken as soon as somebody can.
    """
    from cloud_ingest.event_log.letters import ask_again, event_letter

    by = user()

    async def work(database: Database) -> list[EventLetter]:
        for number in numbers:
            await ask_again(database, number, by=by)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            found = [await event_letter(database, number) for number in numbers]
            if all(one.retry_asked is None or one.closed for one in found) or loop.time() >= until:
                return found
            await asyncio.sleep(LOOK_S)

    results = ask(config, work)
    if as_json:
        print_json([one.document() for one in results])
    for one in () if as_json else results:
        typer.echo(f"{one.number}: {_told(one)}")
    if any(not one.closed for one in results):
        raise typer.Exit(EXIT_PROBLEM)


@app.command()
def close(numbers: Numbers, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Close them: what they tell of is lost there, for this reason; kept with your user name and the time."""
    from cloud_ingest.event_log.letters import close_event_letter

    why, by = asked_reason(reason), user()

    async def work(database: Database) -> list[tuple[int, bool]]:
        return [(number, await close_event_letter(database, number, reason=why, by=by)) for number in numbers]

    for number, is_new in ask(config, work):
        typer.echo(f"{number}: closed" if is_new else f"{number}: has been closed before")


def _told(letter: EventLetter) -> str:
    from cloud_ingest.event_log.letters import TAKEN

    if letter.closed:
        return "taken" if letter.closed_reason == TAKEN else f"has been closed before ({letter.closed_reason})"
    if letter.retry_asked:
        return (
            f"nobody has taken it yet: does a process with the part {letter.projection} run? (`cloud-ingest status`) "
            "It is taken as soon as one does"
        )
    return f"cannot be taken: {letter.retry_failure}"


def _exported(found: EventLetter) -> dict[str, object]:
    return {**found.document(), "value": base64.b64encode(found.value).decode()}
