"""What the commands show: plain tables that read well at 80 columns, with and without colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.configuration.setting_names import counted

GAPS_SHOWN_MAX = 20


def ledger_screen(agents: list[dict[str, Any]], unassigned_dead_letters: int) -> RenderableType:
    """The delivery ledger for a person."""
    lines: list[RenderableType] = []
    for agent in agents:
        lines += [_ledger_head(agent), *_ledger_notes(agent), _epochs(agent["epochs"])]
        lines += [_undeclared_line(epoch) for epoch in agent["epochs"] if epoch["end"] == "undeclared"]
        lines += [_gap_line(gap) for gap in agent["gaps"][-GAPS_SHOWN_MAX:]]
        if (hidden := len(agent["gaps"]) - GAPS_SHOWN_MAX) > 0:
            lines.append(Text(f"  and {counted(hidden, 'earlier gap')} (--json shows all)", "dim"))
        if letters := agent["dead_letters"]:
            lines.append(Text(f"  {counted(letters, 'message')} in the dead letters", "yellow"))
        lines.append(Text())
    if unassigned_dead_letters:
        lines.append(Text(f"{counted(unassigned_dead_letters, 'dead letter')} of no known agent", "yellow"))
    return Group(*lines) if lines else Text("no agent has delivered anything yet")


def _ledger_head(agent: dict[str, Any]) -> Text:
    missing = agent["missing"]
    arrived = f"{counted(agent['arrived'], 'batch', 'batches')} with {counted(agent['samples'], 'sample')}, "
    head = Text.assemble((_plain(agent["agent"]), "bold"), f"  {arrived}")
    head.append(f"missing {missing:,}", "bold red" if missing else "bold green")
    return head.append(f", {counted(agent['duplicates'], 'duplicate')} refused")


def _ledger_notes(agent: dict[str, Any]) -> list[Text]:
    notes = []
    if given_up := agent["given_up"]:
        which = "; ".join(f"{_ranges(epoch['given_up'])} of {epoch['epoch']}" for epoch in agent["epochs"]
                          if epoch["given_up"])  # fmt: skip
        notes.append(Text(f"  {counted(given_up, 'batch', 'batches')} given up: {which}", "yellow"))
    if parked := agent["parked"]:
        waits = "waits for its definition" if parked == 1 else "wait for their definitions"
        notes.append(Text(f"  {counted(parked, 'batch', 'batches')} {waits}", "yellow"))
    return notes


def _epochs(epochs: list[dict[str, Any]]) -> Table:
    table = _table("epoch", "started (UTC)", "batches", "ends at", "missing", "samples")
    for epoch in epochs:
        table.add_row(
            epoch["epoch"],
            time_text(epoch["started"]),
            _ranges(epoch["arrived"]) or "none",
            _end(epoch),
            Text(_ranges(epoch["missing"]) or "none", "bold red" if epoch["missing"] else "dim"),
            f"{epoch['samples']:,}",
        )
    return table


def _end(epoch: dict[str, Any]) -> Text:
    """The last batch of an epoch, as far as anybody knows."""
    if epoch["end"] == "declared":
        return Text(str(epoch["last_batch"]))
    return Text("unknown", "bold yellow") if epoch["end"] == "undeclared" else Text("open", "dim")


def _undeclared_line(epoch: dict[str, Any]) -> Text:
    last = epoch["arrived"][-1][1] if epoch["arrived"] else 0
    after = f"after batch {last}" if last else "at all"
    return Text(
        f"  epoch {epoch['epoch']} never said how far it went, and a later start knew nothing of it: what it had taken "
        f"{after} and not sent is lost, and nobody can count it. Was the agent's disk replaced, or set back to an "
        "earlier state, or does a second agent use this name?",
        "yellow",
    )


def _gap_line(gap: dict[str, Any]) -> Text:
    count = "" if gap["samples"] is None else f", {counted(gap['samples'], 'sample')}"
    span = f"{time_text(gap['first'])} to {time_text(gap['last'])} UTC"
    return Text(f"  gap      {_plain(gap['device']) or '(agent)'}: {span}{count}: {_plain(gap['reason'])}", "yellow")


def agents_screen(agents: list[dict[str, Any]]) -> RenderableType:
    """Agents for a person."""
    if not agents:
        return Text("no agent has been seen yet")
    table = _table("agent", "state", "delivery", "tags", "last seen (UTC)")
    for agent in agents:
        table.add_row(
            Text(_plain(agent["agent"])),
            Text("online", "green") if agent["online"] else Text("offline", "bold red"),
            "acknowledged" if agent["acknowledges"] else "sparkplug",
            f"{agent['tags']:,}",
            time_text(agent["last_seen"]),
        )
        for device in agent["devices"]:
            state = Text("online", "green") if device["online"] else Text("offline", "red")
            table.add_row(Text(f"  {_plain(device['device'])}"), state, "", "", time_text(device["since"]))
    return table


def tags_screen(tags: list[dict[str, Any]]) -> RenderableType:
    """Tags for a person."""
    if not tags:
        return Text("no tag fits")
    table = _table("id", "agent", "device", "tag", "type", "unit")
    for tag in tags:
        table.add_row(
            str(tag["tag_id"]), *(Text(_plain(tag[key])) for key in ("agent", "device", "tag", "type", "unit"))
        )
    return table


def samples_screen(rows: list[dict[str, Any]]) -> RenderableType:
    """Samples or intervals for a person."""
    table = _table(*("time (UTC)" if key == "time" else key for key in rows[0]))
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


def _table(*headings: str) -> Table:
    """Names and values go in as ``Text``: in a plain string, ``[zone 1]`` would be taken for markup."""
    return Table(*headings, box=None, pad_edge=False, header_style="dim")


def _plain(text: str) -> str:
    """A name or a value without what a terminal could take for a command."""
    return "".join(char if char.isprintable() else "·" for char in text)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-")
    return Text(_plain(f"{value:.6g}" if isinstance(value, float) else str(value)))


def _ranges(ranges: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges[:4])
    return f"{shown}, … ({len(ranges)} ranges)" if len(ranges) > 4 else shown


def time_text(when: datetime | None) -> str:
    """A time in UTC, to the second; the heading says that it is UTC."""
    return "-" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def exact_time(when: datetime) -> str:
    """A time in UTC, to the microsecond, as ``--from`` and the API take it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
