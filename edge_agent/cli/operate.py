"""What an operator does with the running agent: lock and unlock lines, look at commands and approve them.

Who it was, the agent learns from the Unix socket.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    SocketOption,
    ask,
    fail,
    run_until_done,
    socket_of,
)
from edge_agent.cli.completing import device_names
from edge_agent.cli.json_output import print_json

WATCH_S: Final = 1.0
LineArgument = Annotated[
    str,
    typer.Argument(metavar="LINE", help="A device, or 'agent' for all of them", autocompletion=device_names),
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why, for whoever looks at it later")]
ArmOption = Annotated[bool, typer.Option("--arm", help="Arm it only; then do it with --armed ID, while that holds")]
ArmedOption = Annotated[str | None, typer.Option("--armed", metavar="ID", help="The command that has armed this one")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a command; 'edge-agent commands list' shows them")]

commands = typer.Typer(
    help="Commands of the cloud and of people here: list, show and approve them.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``edge-agent``."""
    for command in (lock, unlock, run_command):
        app.command("command" if command is run_command else None)(command)
    app.add_typer(commands, name="commands")


def lock(
    line: LineArgument,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lock a line: no command is done there until it is unlocked, also after a restart. It is no safety function."""
    answer = ask(socket_of(config, socket), "lock", line=line, reason=reason)
    if as_json:
        print_json(answer)
    else:
        say(f"{line} is locked by {answer['actor']}: {answer['reason']}")


def unlock(
    line: LineArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Unlock a line."""
    answer = ask(socket_of(config, socket), "unlock", line=line)
    if as_json:
        print_json(answer)
    else:
        say(f"{line} is unlocked")


def run_command(
    target: Annotated[str, typer.Argument(metavar="DEVICE/COMMAND", help="Such as press/start")],
    reason: ReasonOption,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", metavar="NAME=VALUE", help="Read by the type of the argument"),
    ] = None,
    arm: ArmOption = False,
    armed: ArmedOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a named command of the device file. Exit code 1 when it was not done."""
    device, _, command = target.partition("/")
    named = dict(each.split("=", 1) for each in arguments or [] if "=" in each)
    if not command or len(named) != len(arguments or []):
        fail("write DEVICE/COMMAND, and each argument as --argument NAME=VALUE", 2)
    answer = ask(
        socket_of(config, socket),
        "run",
        device=device,
        command=command,
        arguments=named,
        reason=reason,
        texts=True,
        arm=arm,
        armed=armed,
    )
    print_end(answer, as_json)


@commands.command("list")
def list_commands(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many, newest first")] = 20,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing them, until q or Ctrl-C")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest commands: what was asked for, by whom, and what came of it."""
    from edge_agent.cli.command_screens import commands_table

    place = socket_of(config, socket)
    if watch and not as_json:
        from edge_agent.cli.watching import watch_answer

        try:
            run_until_done(watch_answer(place, "commands", commands_table, WATCH_S, count=count))
        except KeyboardInterrupt:
            raise typer.Exit from None
        return
    answer = ask(place, "commands", count=count)
    if as_json:
        print_json(answer)
    else:
        from edge_agent.cli.terminal import print_screen

        print_screen(commands_table(answer))


@commands.command()
def show(
    id_: IdArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one command with every step."""
    answer = ask(socket_of(config, socket), "command", id=id_)
    if as_json:
        print_json(answer)
    else:
        from edge_agent.cli.command_screens import command_screen
        from edge_agent.cli.terminal import print_screen

        print_screen(command_screen(answer))


@commands.command()
def approve(
    id_: IdArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Agree to a command that somebody else has asked for, where the device file wants that."""
    answer = ask(socket_of(config, socket), "approve", id=id_)
    if as_json:
        print_json(answer)
    else:
        say(f"{answer['target']} is approved; 'edge-agent commands show {id_}' says what comes of it")


def print_end(answer: dict[str, Any], as_json: bool) -> None:
    """Say what came of a command; exit code 1 when it was not done."""
    if as_json:
        print_json(answer)
    else:
        from edge_agent.cli.command_screens import end_sentence

        say(end_sentence(answer))
    if answer["state"] != "succeeded":
        raise typer.Exit(EXIT_PROBLEM)
