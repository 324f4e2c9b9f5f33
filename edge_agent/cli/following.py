"""``edge-agent logs`` and ``trace``: what happens in the agent, and on the way of one tag's samples."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from connectors.configuration.saying import say
from connectors.configuration.setting_names import counted
from connectors.ports.setting_model import parse_duration
from edge_agent.cli.app import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    DeviceOption,
    JsonOption,
    SocketOption,
    fail,
    run_until_done,
    socket_of,
)
from edge_agent.cli.completing import tag_names
from edge_agent.cli.event_words import is_wanted, words_of
from edge_agent.cli.single_tags import EXIT_USED_WRONGLY, chosen_tags
from edge_agent.cli.words import clock_time, quality_text, value_text
from edge_agent.local_api.protocol import call, stream


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``edge-agent``."""
    for command in (logs, trace):
        app.command()(command)


def logs(
    level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option("--level", "-l", help="This level and above")
    ] = "info",
    device: DeviceOption = None,
    since: Annotated[str, typer.Option("--since", help="Only the last so long, such as 10m")] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="At most so many, the newest")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest events of the running agent in plain words. What is older is in its log (journalctl)."""
    since_ns = 0
    if since:
        try:
            since_ns = time.time_ns() - round(parse_duration(since) * 1e9)
        except ValueError as exc:
            fail(f"--since: {exc}", EXIT_USED_WRONGLY)

    def show(event: Mapping[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps(event, ensure_ascii=False))
        else:
            say(f"{clock_time(event['time_ns'])} {event['level']:<7} {words_of(event)}", indent=21)

    place = socket_of(config, socket)

    async def listen() -> None:
        is_first = True
        answers = stream(place, "logs", follow=follow)
        async with contextlib.aclosing(answers):
            async for events in answers:
                wanted = [one for one in events if one["time_ns"] >= since_ns and is_wanted(one, level, device)]
                for event in wanted[max(0, len(wanted) - count) :] if is_first else wanted:
                    show(event)
                if is_first and not wanted:
                    await _nothing_yet(place, device, len(events), as_json=as_json)
                is_first = False
                if not follow:
                    return

    _until_interrupted(listen())


async def _nothing_yet(place: Path, device: str | None, looked_at: int, *, as_json: bool) -> None:
    """Nothing is as it was asked for: say so, or that there is no such device, which ends the command."""
    from edge_agent.commands.journal_rows import AGENT_LINE

    if device is not None:
        devices = sorted(await call(place, "names"))
        if device not in (*devices, AGENT_LINE):
            fail(f"no device {device!r}; there are {', '.join(devices)}", EXIT_PROBLEM)
    if not as_json:
        say(f"none of the newest {counted(looked_at, 'event')} is one of these", err=True)


def trace(
    tag: Annotated[
        str, typer.Argument(metavar="TAG", help="Such as press/speed, or speed alone", autocompletion=tag_names)
    ],
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="So many samples, from wire to acknowledgement")
    ] = 1,
    within: Annotated[str, typer.Option("--within", help="How long to wait for all of it")] = "60s",
    config: ConfigOption = DEFAULT_CONFIG,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the next samples of a tag from the wire to the acknowledgement. Exit code 1 when that was not seen."""
    place = socket_of(config, socket)
    ((device, name),) = chosen_tags(place, [tag], patterns=False)
    try:
        within_s = parse_duration(within)
    except ValueError as exc:
        fail(f"--within: {exc}", EXIT_USED_WRONGLY)
    _until_interrupted(_trace(place, device, name, count, within_s, as_json=as_json))


async def _trace(socket: Path, device: str, tag: str, count: int, within_s: float, *, as_json: bool) -> None:
    followed = FollowedSamples(count)
    answers = stream(socket, "trace", device=device, tag=tag)
    try:
        async with asyncio.timeout(within_s), contextlib.aclosing(answers):
            async for answer in answers:
                for step in [answer] if isinstance(answer, dict) else answer:
                    if not followed.takes(step):
                        continue
                    if as_json:
                        typer.echo(json.dumps(step, ensure_ascii=False))
                    else:
                        for line in about_lines(step) if "step" not in step else [followed.line(step)]:
                            say(line, indent=4)
                if followed.is_done:
                    return
    except TimeoutError:
        fail(f"not seen within {within_s:g} s: {followed.missing()}", EXIT_PROBLEM)


class FollowedSamples:
    """The first ``count`` samples that are reported, and how far each has come. Without I/O."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun_ns: dict[int, int] = {}
        self._ended: set[int] = set()
        self._last: dict[int, str] = {}
        self._reported: set[int] = set()
        self._why_none = "; does the value change? 'edge-agent read' asks the device now"

    @property
    def is_done(self) -> bool:
        """Whether all of them have been acknowledged, or refused."""
        return len(self._ended) >= self._count

    def takes(self, step: Mapping[str, Any]) -> bool:
        """Whether the step belongs to one of them, or is none at all; those that are not reported are shown too."""
        number = step.get("sample")
        if number is None:
            if not step.get("online", True):
                self._why_none = f", as {step['device']} is away"
            elif step.get("problem") and not step.get("in_doubt"):
                self._why_none = ", as the tag has a problem"
            return True
        if number not in self._begun_ns:
            if len(self._reported) >= self._count:
                return False
            self._begun_ns[number] = step["at_ns"]
        self._last[number] = step["step"]
        if step["step"] == "reported":
            self._reported.add(number)
        if step["step"] in ("acknowledged", "refused"):
            self._ended.add(number)
        return True

    def line(self, step: Mapping[str, Any]) -> str:
        """A step in one line: when, how long after the sample was received, what."""
        after_ms = (step["at_ns"] - self._begun_ns[step["sample"]]) / 1e6
        return f"{clock_time(step['at_ns'])} {after_ms:+9.1f} ms  {step['step']:<13} {_detail(step)}".rstrip()

    def missing(self) -> str:
        """How far it came, for whoever waits in vain."""
        if not self._begun_ns:
            return f"no sample came{self._why_none}"
        if not self._reported:
            return "samples came, and none was reported: none moved enough (deadband, min_interval)"
        return (
            f"the newest was {next(reversed(self._last.values()))}; 'edge-agent status' says what the uplink waits for"
        )


def _detail(step: Mapping[str, Any]) -> str:
    match step["step"]:
        case "received" | "released":
            quality = "" if step["quality"] == "Good" else f" {quality_text(step['quality'], step['quality_code'])}"
            others = f", with {counted(step['with_others'], 'other')}" if step["with_others"] else ""
            return f"{value_text(step['value'])}{quality} of {clock_time(step['source_ns'])}{others}"
        case "committed":
            held = f"{counted(step['samples'], 'sample')}, {counted(step['bytes'], 'byte')}"
            return f"to disk in batch {step['batch']}, {held}"
        case "sent" | "sent again" | "acknowledged":
            return f"batch {step['batch']}"
        case "refused":
            return f"batch {step['batch']}: {step['reason']}"
        case _:
            return ""


def about_lines(about: Mapping[str, Any]) -> list[str]:
    """What is known of the tag before a sample comes."""
    unit = f" {about['unit']}" if about["unit"] else ""
    alias = f", alias {about['alias']}" if about["alias"] >= 0 else ""
    known = f"type {about['type'] or 'not known yet'}{unit}{alias}, lane {about['lane']}"
    where = f"= {about['at']}, by" if about["derived"] else f"{about['at']} of"
    lines = [
        f"{about['device']}/{about['tag']}: {where} {about['endpoint']} ({about['driver']})",
        f"  {known}; {about['rule']}",
    ]
    if not about["online"]:
        lines.append(f"  {about['device']} is away: {about['reason']}")
    if about["problem"]:
        lines.append(f"  problem: {about['problem']}")
    return lines


def _until_interrupted(work: Any) -> None:
    try:
        run_until_done(work)
    except KeyboardInterrupt:
        raise typer.Exit from None
