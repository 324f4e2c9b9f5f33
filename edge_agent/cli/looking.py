"""What an operator looks at: the whole agent on one screen, tags with their values, values as they change."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    DeviceOption,
    JsonOption,
    SearchOption,
    SocketOption,
    ask,
    run_until_done,
    socket_of,
)
from edge_agent.cli.json_output import print_json

IntervalOption = Annotated[float, typer.Option("--interval", "-n", min=0.1, help="Seconds between two looks")]


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``edge-agent``."""
    for command in (status, tags, watch):
        app.command()(command)


def status(
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it, until q or Ctrl-C")] = False,
    interval: IntervalOption = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show devices, uplink and outbox. Exit code 1 when one is not connected, or nothing is acknowledged."""
    if watch and not as_json:
        from edge_agent.cli.screens import status_screen
        from edge_agent.cli.watching import watch_answer

        try:
            run_until_done(watch_answer(socket_of(config, socket), "status", status_screen, interval))
        except KeyboardInterrupt:
            raise typer.Exit from None
        return
    answer = ask(socket_of(config, socket), "status")
    if as_json:
        print_json(answer)
    else:
        from edge_agent.cli.screens import status_screen
        from edge_agent.cli.terminal import print_screen

        print_screen(status_screen(answer))
    if not is_well(answer):
        raise typer.Exit(EXIT_PROBLEM)


def is_well(status: dict[str, Any]) -> bool:
    """Whether every device is connected, and what comes is delivered."""
    if status["waiting_for_outbox"]:
        return False
    delivers = status["uplink"]["phase"] == "born" and not status["uplink"]["unanswered"]
    return delivers and all(device["online"] for device in status["devices"])


def tags(
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    device: DeviceOption = None,
    search: SearchOption = "",
    as_json: JsonOption = False,
) -> None:
    """List every tag with its newest value, quality and time (UTC), and below them what is wrong."""
    answer = ask(socket_of(config, socket), "tags", device=device, search=search)
    if as_json:
        print_json(answer)
    elif not answer and search:
        say(f"no tag has {search!r} in its name")
    else:
        from edge_agent.cli.tags_table import TagsTable
        from edge_agent.cli.terminal import print_screen

        print_screen(TagsTable(answer))


def watch(
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    device: DeviceOption = None,
    search: SearchOption = "",
    bad: Annotated[bool, typer.Option("--bad", help="Begin with those only that are bad or stale")] = False,
    sort: Annotated[Literal["name", "age", "rate", "value"], typer.Option(help="What they are sorted by")] = "name",
    interval: IntervalOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show values as they change, until q or Ctrl-C. With --json, or into a pipe or file: one line of JSON a change.

    Keys: / filters by a part of the name or a pattern such as press/*, b shows bad and stale tags only, s sorts by the
    next of name, age, rate and value, r the other way round, space pauses, arrows and page keys scroll.
    """
    from edge_agent.cli.watching import watch_forever

    watching = watch_forever(
        socket_of(config, socket), device, search, interval, as_json=as_json, sort=sort, only_bad=bad
    )
    try:
        run_until_done(watching)
    except KeyboardInterrupt:
        raise typer.Exit from None
