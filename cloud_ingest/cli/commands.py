"""``cloud-ingest command``: commands to agents, straight from the database.

Who runs it is the issuer or approver, by the user of the operating system. Exit codes: 0 done (``send --wait``: it has
succeeded); 1 it was refused, or has not succeeded; 2 the command was used wrongly; 3 the database cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    AgentOption,
    ConfigOption,
    JsonOption,
    TenantOption,
    ask_of,
    load,
    print_json,
    show,
    user,
)
from connectors.configuration.negative_numbers import TakesNegativeNumbers

if TYPE_CHECKING:
    from cloud_ingest.commands.command_request import CommandRequest
    from cloud_ingest.commands.requests import Requests
    from connectors.ports.database import Database

app = typer.Typer(help="Commands to agents: send, list, show, approve, cancel.", no_args_is_help=True)
LOOK_S: Final = 0.05
CommandArgument = Annotated[str, typer.Argument(help="Id of the command")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; kept for ever")]


@app.command(cls=TakesNegativeNumbers)
def send(
    agent: Annotated[str, typer.Argument(help="group/name")],
    device: Annotated[str, typer.Argument(help="Its device")],
    name: Annotated[str, typer.Argument(help="The tag to write, or with --run the named command")],
    value: Annotated[str | None, typer.Argument(help="For the tag: a number, true, false, or a text")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    run: Annotated[bool, typer.Option("--run", help="NAME is a named command of the device")] = False,
    argument: Annotated[
        list[str] | None, typer.Option("--argument", "-A", help="Of the named command, as name=value; several times")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="VALUE is a text, also where it looks like a number")] = False,
    reason: WhyOption = "",
    precondition: Annotated[str, typer.Option(help="A condition that has to hold, such as 'press/state == idle'")] = "",
    expires: Annotated[str, typer.Option(help="It is not done later than that, such as 60s or 2h")] = "60s",
    approval: Annotated[bool, typer.Option("--approval", help="Wait for the approval of a second person")] = False,
    arm: Annotated[bool, typer.Option("--arm", help="Prepare it only; execute it with --armed")] = False,
    armed: Annotated[str | None, typer.Option(help="The command that has armed this one")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="For a node of another maker: unsigned, once")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: with the same one it is the same command")] = None,
    wait: Annotated[str | None, typer.Option(help="Wait so long for what becomes of it, such as 10s")] = None,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Ask for a command. It is taken when this ends, and done when its state says so ('show', or --wait)."""
    action: dict[str, Any] = {"do": "run", "device": device, "command": name, "arguments": _arguments(argument or [])}
    if not run:
        if value is None or argument:
            raise typer.BadParameter("a tag is written with a VALUE; arguments belong to a named command (--run)")
        action = {"do": "write", "device": device, "tag": name, "value": value if text else _value(value)}
    elif value is not None:
        raise typer.BadParameter("a named command has no VALUE; write --argument name=value")
    request = request_of(
        {
            "agent": agent,
            "action": action,
            "reason": reason,
            "precondition": precondition,
            "expires_s": seconds(expires, "--expires"),
            "approval": approval,
            "stage": "arm" if arm else "execute",
            "armed": armed,
            "plain": plain,
        }
    )
    wait_s = 0.0 if wait is None else seconds(wait, "--wait")
    patterns, key = load(config).commands.approve, key or secrets.token_hex(16)
    found = send_and_show(config, tenant, request, patterns, key, wait_s, as_json=as_json)
    if wait is not None and found["state"] != "succeeded":
        raise typer.Exit(EXIT_PROBLEM)


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    agent: AgentOption = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="At most so many")] = 50,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """List the commands of a tenant, the newest first."""
    from cloud_ingest.access.sight import Sight
    from cloud_ingest.cli.command_screens import commands_screen
    from cloud_ingest.commands.questions import CommandChoice, commands
    from connectors.commands.states import CommandState

    if state is not None and state not in set(CommandState):
        raise typer.BadParameter(f"{state!r} is no state; they are {', '.join(CommandState)}")

    async def work(database: Database, of: int) -> list[dict[str, Any]]:
        return await commands(database, CommandChoice(agent, state, count_max=count, sight=Sight(of)))

    rows = ask_of(config, tenant, work)
    if as_json:
        print_json(rows)
    else:
        show(commands_screen(rows))


@app.command("show")
def show_(
    command: CommandArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Show a command with all that has become of it."""
    _print(ask_of(config, tenant, lambda database, of: _shown(database, of, command)), as_json)


@app.command()
def agents(
    config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """List the agents of a tenant that take commands, with what operators have locked."""
    from cloud_ingest.access.sight import Sight
    from cloud_ingest.cli.command_screens import commanded_agents_screen
    from cloud_ingest.commands import questions

    rows = ask_of(config, tenant, lambda database, of: questions.agents(database, Sight(of)))
    if as_json:
        print_json(rows)
    else:
        show(commanded_agents_screen(rows))


@app.command()
def approve(
    command: CommandArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: WhyOption = "",
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Agree to a command that somebody else has asked for."""

    async def work(database: Database, of: int) -> dict[str, Any]:
        await _requests(database).approve(command, tenant_id=of, approver=user(), reason=reason)
        return await _shown(database, of, command)

    _print(ask_of(config, tenant, work), as_json)


@app.command()
def cancel(
    command: CommandArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: WhyOption = "",
    tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Take a command back: at once while it was not sent, else by its agent, which tells what became of it."""

    async def work(database: Database, of: int) -> dict[str, Any]:
        await _requests(database).cancel(command, tenant_id=of, actor=user(), reason=reason)
        return await _shown(database, of, command)

    _print(ask_of(config, tenant, work), as_json)


def send_and_show(
    config: Path,
    tenant: str,
    request: CommandRequest,
    approve: tuple[str, ...],
    key: str,
    wait_s: float,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Ask for a command as one of ``tenant``, wait for its end at most so long, and show it as it is then."""

    async def work(database: Database, of: int) -> dict[str, Any]:
        taken = await _requests(database, approve).take(request, tenant_id=of, issuer=user(), key=key)
        return await _settled(database, of, taken.command, wait_s)

    found = ask_of(config, tenant, work)
    _print(found, as_json)
    return found


def _requests(database: Database, approve: tuple[str, ...] = ()) -> Requests:
    from cloud_ingest.commands.requests import Requests
    from connectors.ports.clock import SystemClock

    return Requests(database, SystemClock(), approve, tell=lambda _changes: None)  # standard output is the answer's


async def _shown(database: Database, tenant_id: int, command: str) -> dict[str, Any]:
    from cloud_ingest.access.sight import Sight
    from cloud_ingest.commands import questions

    return await questions.command(database, command, Sight(tenant_id))


async def _settled(database: Database, tenant_id: int, command: str, wait_s: float) -> dict[str, Any]:
    """The command as soon as it has ended, or as it is after ``wait_s``."""
    from connectors.commands.states import ENDED

    deadline_s = time.monotonic() + wait_s
    while (found := await _shown(database, tenant_id, command))["state"] not in ENDED:
        if time.monotonic() >= deadline_s:
            break
        await asyncio.sleep(LOOK_S)
    return found


def request_of(document: dict[str, Any]) -> CommandRequest:
    """The request in ``document``; ends the command with what is wrong with it."""
    from pydantic import ValidationError

    from cloud_ingest.commands.command_request import CommandRequest

    try:
        return CommandRequest.model_validate(document)
    except ValidationError as exc:
        said = "; ".join(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors())
        raise typer.BadParameter(said) from exc


def _arguments(given: list[str]) -> dict[str, Any]:
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, sign, _ in pairs if not sign or not name]:
        raise typer.BadParameter(f"{wrong[0]!r}: write arguments as name=value")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    """A number or a truth value where it is one, as JSON writes it; else a text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float) else text


def seconds(text: str, option: str) -> float:
    """A length of time that somebody has typed."""
    from connectors.ports.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{option}: {text!r} is not a length of time; write it as 60s or 2h") from exc


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        from cloud_ingest.cli.command_screens import command_screen

        show(command_screen(found))
