"""``edge-agent check --online``: what the devices themselves say of a configuration, before an agent runs with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from connectors.configuration.setting_names import counted
from connectors.model.quality import code_of, name_of
from connectors.ports.clock import SystemClock
from connectors.ports.settings import DeviceSettings, DriverType
from connectors.stopping import Tasks
from edge_agent.acquisition.probing import Probe, probe
from edge_agent.buffer.folder_lock import is_held
from edge_agent.cli.app import EXIT_CANNOT_START, EXIT_PROBLEM, fail
from edge_agent.cli.json_output import print_json
from edge_agent.cli.tags_table import TagsTable
from edge_agent.cli.terminal import Sentence, print_screen, without_logs
from edge_agent.config.models import AgentConfig
from edge_agent.local_api.json_values import json_value

DEVICES_AT_ONCE: Final = 16


def check_online(
    config: AgentConfig,
    drivers: Mapping[str, DriverType],
    device: str | None,
    within_s: float,
    *,
    anyway: bool,
    as_json: bool,
    places: Callable[[], Mapping[tuple[str, str], str]],
) -> None:
    """Look at each device, print what was found, and end the command with 1 when anything is wrong.

    ``places``: where the tags stand in the files, by device and tag.
    """
    chosen = [one for one in config.devices if device in (None, one.name)]
    if device is not None and not chosen:
        known = ", ".join(one.name for one in config.devices) or "none"
        fail(f"there is no device {device!r}; there are: {known}", EXIT_PROBLEM)
    if not anyway and is_held(config.agent.data_dir):
        fail(
            "the agent runs, and holds its connections: 'edge-agent tags' shows what it reads. Some devices take one "
            "connection only; --anyway makes a second one to each.",
            EXIT_CANNOT_START,
        )
    with without_logs():
        found = [said(probe) for probe in asyncio.run(_probed(chosen, drivers, within_s))]
    _put_places([tag for one in found for tag in one["tags"] if _is_doubted(tag)], places)
    wrong = [one for one in found if not one["reached"] or any(_is_wrong(tag) for tag in one["tags"])]
    if as_json:
        print_json({"valid": True, "online": not wrong, "devices": found})
    else:
        print_screen(screen(found))
    if wrong:
        raise typer.Exit(EXIT_PROBLEM)


async def _probed(devices: Sequence[DeviceSettings], drivers: Mapping[str, DriverType], within_s: float) -> list[Probe]:
    """What was found of each device, in their order; many are looked at together."""
    places, clock = asyncio.Semaphore(DEVICES_AT_ONCE), SystemClock()

    async def one(settings: DeviceSettings) -> Probe:
        async with places:
            return await probe(settings, drivers[settings.driver].create(settings, clock), clock, within_s)

    async with Tasks() as looking:
        tasks = [looking.create_task(one(settings), name=f"look at {settings.name}") for settings in devices]
    return [task.result() for task in tasks]


def said(found: Probe) -> dict[str, Any]:
    """What was found, for programs; tags as ``edge-agent tags --json`` has them."""
    reached = not found.reason and found.reached_s is not None
    tags = [_tag(found, index, name) for index, name in enumerate(found.tag_names)]
    tags += [_tag(found, -1, name) for name in found.problems if name not in found.tag_names]
    return {
        "device": found.device,
        "reached": reached,
        "reached_ms": round(found.reached_s * 1e3) if reached and found.reached_s is not None else None,
        "reason": found.reason,
        "tags": tags if reached else [],
    }


def _tag(found: Probe, index: int, name: str) -> dict[str, Any]:
    known, reading, problem = found.types.get(index), found.readings.get(index), found.problems.get(name)
    quality = None if reading is None else reading.quality
    if problem is not None and not problem.gives_values:
        quality = problem.quality
    value = None if reading is None else reading.value
    return {
        "device": found.device,
        "tag": name,
        "type": None if known is None else known.datatype.label,
        "unit": "" if known is None else known.unit,
        "value": json_value(value),
        "time_ns": None if reading is None else reading.time_ns,
        "quality": None if quality is None else name_of(quality),
        "quality_code": None if quality is None else code_of(quality),
        "stale": False,
        "problem": "" if problem is None else problem.reason,
    }


def _is_wrong(tag: Mapping[str, Any]) -> bool:
    return bool(tag["problem"]) or tag["quality"] != "Good"


def _is_doubted(tag: Mapping[str, Any]) -> bool:
    """Whether it has a good value, and is not as its file says."""
    return bool(tag["problem"]) and tag["quality"] == "Good"


def _put_places(doubted: Sequence[dict[str, Any]], places: Callable[[], Mapping[tuple[str, str], str]]) -> None:
    """Say of tags that are not as their files say where that is."""
    known = places() if doubted else {}
    for tag in doubted:
        if (place := known.get((tag["device"], tag["tag"]))) is not None:
            tag["problem"] = f"{place}: {tag['problem']}"


def screen(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The same for a person."""
    lines: list[RenderableType] = []
    for one in found:
        lines += [*_device_lines(one), Text()]
    tags = [tag for one in found for tag in one["tags"]]
    doubted = sum(map(_is_doubted, tags))
    wrong = sum(map(_is_wrong, tags)) - doubted
    away = sum(not one["reached"] for one in found)
    devices = counted(len(found), "device")
    summary = f"{devices}, {f'{away} NOT REACHED' if away else 'all reached'}; {counted(len(tags), 'tag')}"
    summary += f", {wrong} NOT GOOD" if wrong else ", all good" if tags and not doubted else ""
    summary += f", {doubted} NOT AS ITS FILE SAYS" if doubted else ""
    lines.append(Text(summary, "bold red" if away or wrong or doubted else "green"))
    return Group(*lines)


def _device_lines(one: Mapping[str, Any]) -> Iterator[RenderableType]:
    if one["reached"]:
        yield Text.assemble((one["device"], "bold"), f"  reached in {one['reached_ms']:,} ms")
        yield TagsTable(one["tags"])
        return
    yield Text.assemble((one["device"], "bold"), ("  NOT REACHED", "bold red"))
    yield Sentence("  ", one["reason"].removeprefix(f"{one['device']}: "), "red", indent=2)
