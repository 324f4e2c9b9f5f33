"""``edge-agent read`` and ``write``: what a device holds now, and to change it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.configuration.negative_numbers import TakesNegativeNumbers
from connectors.configuration.saying import say
from connectors.model.json_differences import NOTHING, differences, read_json
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    SocketOption,
    ask,
    fail,
    socket_of,
)
from edge_agent.cli.completing import tag_names
from edge_agent.cli.json_output import print_json
from edge_agent.cli.operate import ArmedOption, ArmOption, print_end
from edge_agent.cli.tag_names import UnknownTag, tags_named
from edge_agent.cli.words import clock_time, quality_text, value_text

EXIT_USED_WRONGLY = 2
CHANGES_SHOWN_MAX = 50
PATH_COLUMNS = 30


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``edge-agent``."""
    app.command()(read)
    app.command(cls=TakesNegativeNumbers)(write)


def read(
    tags: Annotated[
        list[str],
        typer.Argument(metavar="TAG…", help="Such as press/speed, speed, or 'press/*'", autocompletion=tag_names),
    ],
    cached: Annotated[
        bool, typer.Option("--cached", help="What the agent has of them, without asking their devices")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read tags from their devices now, before the next poll. Exit code 1 when one cannot be read, or is not good."""
    place = socket_of(config, socket)
    wanted = chosen_tags(place, tags)
    answers = ask(place, "read", tags=wanted, cached=cached)
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            say(reading_sentence(answer), indent=2)
    if any(answer["error"] or answer["quality"] != "Good" for answer in answers):
        raise typer.Exit(EXIT_PROBLEM)


def write(
    target: Annotated[
        str, typer.Argument(metavar="TAG", help="Such as press/speed, or speed alone", autocompletion=tag_names)
    ],
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="Read by the type of the tag: true or false, a number, a text, or JSON"),
    ],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; asked for at a terminal without it")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask whether to write; scripts are never asked")
    ] = False,
    arm: ArmOption = False,
    armed: ArmedOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a tag: checked, journalled and read back like a command of the cloud. Exit code 1 when it was not done.

    At a terminal, what the device holds now and the limits of the tag are shown before, and nothing is written unless
    somebody says yes.
    """
    place = socket_of(config, socket)
    ((device, tag),) = chosen_tags(place, [target], patterns=False)
    about = ask(place, "writable", device=device, tag=tag)
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    if asks and not about["writable"]:
        fail(f"{device}/{tag} is not writable: its entry in the device file has to say so ('writable')", EXIT_PROBLEM)
    if asks and not yes:
        _show(place, about, value)
    if not reason:
        if not asks:
            fail("say why with --reason, for whoever looks at the journal later", EXIT_USED_WRONGLY)
        reason = typer.prompt("why", err=True)
    if asks and not yes and not typer.confirm("write it?", err=True):
        fail("nothing was written", EXIT_PROBLEM)
    answer = ask(place, "write", device=device, tag=tag, text=value, reason=reason, arm=arm, armed=armed)
    print_end(answer, as_json)


def chosen_tags(socket: Path, written: Sequence[str], *, patterns: bool = True) -> list[tuple[str, str]]:
    """The tags that a person means, each once; ends the command with near names when there is no such tag."""
    names = ask(socket, "names")
    found: dict[tuple[str, str], None] = {}
    for name in written:
        try:
            found |= dict.fromkeys(tags_named(name, names, patterns=patterns))
        except UnknownTag as exc:
            fail(str(exc), EXIT_USED_WRONGLY)
    return list(found)


def reading_sentence(answer: dict[str, Any]) -> str:
    """One tag in one line."""
    name = f"{answer['device']}/{answer['tag']}"
    if answer["error"]:
        return f"{name}: {answer['error']}"
    value = f"{value_text(answer['value'], answer.get('type'))} {answer['unit']}".rstrip()
    quality = "Good"
    if answer["quality"] != "Good":
        said = f": {answer['problem']}" if answer["problem"] else ""
        quality = quality_text(answer["quality"], answer["quality_code"]) + said
    how = "cached" if answer["cached"] else f"read in {answer['took_ms']:g} ms"
    if answer["cached"] and answer["stale"]:
        how += ", and its device is away"
    datatype = answer["type"] or "no type yet"
    return f"{name} = {value}  {quality}  {datatype}  {clock_time(answer['time_ns'])} UTC ({how})"


def about_sentences(about: dict[str, Any], now: dict[str, Any], value: str) -> list[str]:
    """What somebody should know before ``value`` is written: what is there, what may be, and what else is asked for."""
    unit = f" {about['unit']}" if about["unit"] else ""
    held = now["error"] or f"{value_text(now['value'])}{unit}"
    if not now["error"] and now["quality"] != "Good":
        held += f" ({now['quality']})"
    lines = [f"{about['device']}/{about['tag']}: {held} → {value}{unit}"]
    if (changed := changes(now["value"], value)) is not None:
        lines = [f"{about['device']}/{about['tag']}: {'this changes' if changed else 'nothing changes'}", *changed]
    if about["description"]:
        lines.append(f"  {about['description']}")
    if about["limits"]:
        low, high = about["limits"]
        lines.append(f"  limits    {low:g} to {high:g}{unit}{_beyond(value, low, high)}")
    lines.append(f"  type      {about['type'] or 'not known yet'}")
    if about["pulse"]:
        pulse = about["pulse"]
        lines.append(f"  pulse     goes back to {value_text(pulse['back_to'])} after {pulse['s']:g} s")
    if about["interlock"]:
        lines.append(f"  interlock {about['interlock']}")
    if about["approve"]:
        lines.append("  a second person has to agree")
    if about["arm_s"]:
        lines.append(f"  it has to be armed before (--arm), at most {about['arm_s']:g} s earlier")
    if about["locked"]:
        lines.append(f"  LOCKED by {about['locked']}: it will be refused")
    if about["commissioning"]:
        lines.append("  COMMISSIONING: it will be refused, as nothing is written to any device")
    return lines


def changes(held: Any, value: str) -> list[str] | None:
    """Of an array or a structure each field that changes, old and new; ``None`` where one of the two is none."""
    before, after = read_json(held), read_json(value)
    if before is NOTHING or after is NOTHING or type(before) is not type(after):
        return None
    found = list(islice(differences(before, after), CHANGES_SHOWN_MAX + 1))
    width = min(PATH_COLUMNS, max((len(one.path) for one in found), default=0))
    lines = [f"  {one.path:<{width}}  {one.texts[0]} → {one.texts[1]}" for one in found[:CHANGES_SHOWN_MAX]]
    return [*lines, "  and more"] if len(found) > CHANGES_SHOWN_MAX else lines


def _beyond(value: str, low: float, high: float) -> str:
    """What comes of a number outside of the limits; of what is no number, the agent says what is wrong with it."""
    try:
        return "" if low <= float(value) <= high else f": {value} WILL BE REFUSED"
    except ValueError:
        return ""


def _show(socket: Path, about: dict[str, Any], value: str) -> None:
    (now,) = ask(socket, "read", tags=[(about["device"], about["tag"])])
    for line in about_sentences(about, now, value):
        say(line, indent=12, err=True)
