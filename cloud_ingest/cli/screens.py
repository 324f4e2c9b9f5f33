"""What the commands show: plain tables that read well at 80 columns, with and without colour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.listing import Listing
from connectors.configuration.setting_names import counted

CLOCK_ERROR_S_MAX = 2.0
"""A clock error up to this is not told: a message may have been under way for so long."""


def agents_screen(agents: list[dict[str, Any]]) -> RenderableType:
    """Agents for a person."""
    if not agents:
        return Text("no agent has been seen yet")
    table = table_of("agent", "state", "delivery", "tags", "last seen (UTC)")
    for agent in agents:
        table.add_row(
            Text(plain(agent["agent"])),
            Text("online", "green") if agent["online"] else Text("offline", "bold red"),
            "acknowledged" if agent["acknowledges"] else "sparkplug",
            f"{agent['tags']:,}",
            time_text(agent["last_seen"]),
        )
        if abs(error_s := agent["clock_error_s"] or 0.0) > CLOCK_ERROR_S_MAX:
            where = "ahead" if error_s > 0 else "behind"
            table.add_row(Text(f"  its clock is {duration(abs(error_s))} {where}", "bold red"), "", "", "", "")
        for sentence in standing_sentences(agent):
            table.add_row(Text(f"  {plain(sentence)}", "bold red"), "", "", "", "")
        for lock in agent["locked"]:
            table.add_row(Text(f"  {plain(lock_sentence(lock))}", "yellow"), "", "", "", time_text(lock["since"]))
        for device in agent["devices"]:
            state = Text("online", "green") if device["online"] else Text("offline", "red")
            table.add_row(Text(f"  {plain(device['device'])}"), state, "", "", time_text(device["since"]))
    return table


def lock_sentence(lock: dict[str, Any]) -> str:
    """Who has locked what, and why."""
    return f"{lock['line']} is locked" + (f" by {lock['actor']}: {lock['reason']}" if lock["actor"] else "")


def standing_sentences(agent: dict[str, Any]) -> list[str]:
    """Why not all that comes under the name of an agent is to be believed; nothing when it is."""
    found = [f"its audit log: {reason}" for reason in agent["audit_alarms"]]
    if agent["forged"]:
        found.append(f"{counted(agent['forged'], 'message')} under its name not believed: {agent['forged_reason']}")
    return found


def status_screen(status: dict[str, Any]) -> RenderableType:
    """The chain for a person, stage by stage in the order in which a sample goes through it."""
    table = table_of("stage", "state", "")
    for stage in status["stages"]:
        state = Text("ok", "green") if stage["ok"] else Text("not ok", "bold red")
        first, *more = stage["reasons"] or [stage["state"]]
        table.add_row(stage["stage"], state, Text(plain(first)))
        for reason in more:
            table.add_row("", "", Text(plain(reason)))
    parts = table_of("partition", "stored by", "not stored yet", "behind")
    for part in status["partitions"]:
        by = Text(plain(part["historian"])) if part["historian"] else Text("nobody who says so", "bold red")
        parts.add_row(str(part["partition"]), by, counted(part["records"], "record"), f"{part['behind_s']:,.1f} s")
    return Group(table, Text(), parts) if status["partitions"] else table


def tags_screen(tags: list[dict[str, Any]]) -> RenderableType:
    """Tags for a person."""
    if not tags:
        return Text("no tag fits")
    table = table_of("id", "agent", "device", "tag", "type", "unit")
    for tag in tags:
        table.add_row(
            str(tag["tag_id"]), *(Text(plain(tag[key])) for key in ("agent", "device", "tag", "type", "unit"))
        )
    return table


def samples_screen(rows: list[dict[str, Any]]) -> RenderableType:
    """Samples or intervals for a person."""
    table = table_of(*("time (UTC)" if key == "time" else key for key in rows[0]))
    for row in rows:
        table.add_row(*(exact_time(value) if isinstance(value, datetime) else _cell(value) for value in row.values()))
    return table


def more_follow(shown: int, following: datetime, *, gathered: bool) -> str:
    """The sentence below a table that is not all."""
    noun = counted(shown, "interval" if gathered else "sample")
    are = "is the first" if shown == 1 else "are the first"
    return (
        f"{noun} shown, which {are}; more follow. The next: --from {exact_time(following)}   "
        f"more at once: --count {10 * max(shown, 100)}{'' if gathered else '   gathered: --bucket 1m'}"
    )


def table_of(*headings: str) -> Listing:
    """See ``Listing``."""
    return Listing(*headings)


def plain(text: str) -> str:
    """A name or a value without what a terminal could take for a command."""
    return "".join(char if char.isprintable() else "·" for char in text)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-")
    return Text(plain(f"{value:.6g}" if isinstance(value, float) else str(value)))


def time_text(when: datetime | None) -> str:
    """A time in UTC, to the second; the heading says that it is UTC."""
    return "-" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def exact_time(when: datetime) -> str:
    """A time in UTC, to the microsecond, as ``--from`` and the API take it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration(seconds: float) -> str:
    """The largest unit of which there are two."""
    for name, size_s in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size_s:
            return counted(int(seconds // size_s), name)
    return counted(int(seconds), "second")
