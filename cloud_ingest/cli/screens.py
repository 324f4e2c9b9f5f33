"""What the commands show: plain tables that read well at 80 columns, with and without colour."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

GAPS_SHOWN_MAX = 20


def ledger_screen(agents: list[dict[str, Any]], unassigned_dead_letters: int) -> RenderableType:
    """The delivery ledger for a person."""
    lines: list[RenderableType] = []
    for agent in agents:
        missing = agent["missing"]
        head = Text.assemble(
            (agent["agent"], "bold"), f"  {agent['arrived']:,} batches with {agent['samples']:,} samples, "
        )
        head.append(f"missing {missing:,}", "bold red" if missing else "bold green")
        head.append(f", {agent['duplicates']:,} duplicates refused")
        lines.append(head)
        if agent["given_up"]:
            lines.append(Text(f"  {agent['given_up']:,} batches given up: {_given_up(agent['epochs'])}", "yellow"))
        if agent["parked"]:
            lines.append(Text(f"  {agent['parked']:,} batches wait for their definition", "yellow"))
        table = Table("epoch", "started", "batches", "missing", "samples", box=None, pad_edge=False, header_style="dim")
        for epoch in agent["epochs"]:
            table.add_row(
                epoch["epoch"],
                time_text(epoch["started"]),
                _ranges(epoch["arrived"]),
                Text(_ranges(epoch["missing"]) or "none", "bold red" if epoch["missing"] else "dim"),
                f"{epoch['samples']:,}",
            )
        lines.append(table)
        lines += [_gap_line(gap) for gap in agent["gaps"][-GAPS_SHOWN_MAX:]]
        if len(agent["gaps"]) > GAPS_SHOWN_MAX:
            lines.append(Text(f"  and {len(agent['gaps']) - GAPS_SHOWN_MAX} earlier gaps (--json shows all)", "dim"))
        if agent["dead_letters"]:
            lines.append(Text(f"  {agent['dead_letters']} messages in the dead letters", "yellow"))
        lines.append(Text())
    if unassigned_dead_letters:
        lines.append(Text(f"{unassigned_dead_letters} dead letters of no known agent", "yellow"))
    return Group(*lines) if lines else Text("no agent has delivered anything yet")


def _given_up(epochs: list[dict[str, Any]]) -> str:
    return "; ".join(f"{_ranges(epoch['given_up'])} of {epoch['epoch']}" for epoch in epochs if epoch["given_up"])


def _gap_line(gap: dict[str, Any]) -> Text:
    count = "" if gap["samples"] is None else f", {gap['samples']:,} samples"
    span = f"{time_text(gap['first'])} to {time_text(gap['last'])}"
    return Text(f"  gap      {gap['device'] or '(agent)'}: {span}{count}: {gap['reason']}", "yellow")


def agents_screen(agents: list[dict[str, Any]]) -> RenderableType:
    """Agents for a person."""
    if not agents:
        return Text("no agent has been seen yet")
    table = Table("agent", "state", "delivery", "tags", "last seen", box=None, pad_edge=False, header_style="dim")
    for agent in agents:
        table.add_row(
            agent["agent"],
            Text("online", "green") if agent["online"] else Text("offline", "bold red"),
            "acknowledged" if agent["acknowledges"] else "sparkplug",
            str(agent["tags"]),
            time_text(agent["last_seen"]),
        )
        for device in agent["devices"]:
            state = Text("online", "green") if device["online"] else Text("offline", "red")
            table.add_row(f"  {device['device']}", state, "", "", time_text(device["since"]))
    return table


def tags_screen(tags: list[dict[str, Any]]) -> RenderableType:
    """Tags for a person."""
    if not tags:
        return Text("no tag fits")
    table = Table("id", "agent", "device", "tag", "type", "unit", box=None, pad_edge=False, header_style="dim")
    for tag in tags:
        table.add_row(str(tag["tag_id"]), tag["agent"], tag["device"], tag["tag"], tag["type"], tag["unit"])
    return table


def samples_screen(rows: list[dict[str, Any]]) -> RenderableType:
    """Samples or intervals for a person."""
    if not rows:
        return Text("nothing in that time")
    table = Table(*rows[0].keys(), box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*(time_text(value, precise=True) if isinstance(value, datetime) else _cell(value)
                        for value in row.values()))  # fmt: skip
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _ranges(ranges: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges[:4])
    return f"{shown}, … ({len(ranges)} ranges)" if len(ranges) > 4 else shown


def time_text(when: datetime | None, *, precise: bool = False) -> str:
    """A time in UTC, to the second or the microsecond."""
    if when is None:
        return "-"
    return when.strftime("%Y-%m-%d %H:%M:%S.%f" if precise else "%Y-%m-%d %H:%M:%S")
