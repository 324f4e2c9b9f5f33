"""What the commands show: plain tables that read well at 80 columns, with and without colour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def status_screen(status: dict[str, Any]) -> RenderableType:
    """The answer to ``status`` for a person."""
    uplink, outbox = status["uplink"], status["outbox"]
    head = Text.assemble(
        (status["agent"], "bold"), f"  lineside {status['version']}, up {duration(status['uptime_s'])}"
    )
    if status["commissioning"]:
        head.append("  COMMISSIONING: nothing is written to any device", "bold yellow")
    devices = Table("device", "state", "tags", "bad", "samples/s", box=None, pad_edge=False, header_style="dim")
    for device in status["devices"]:
        bad = device["bad"]
        devices.add_row(
            f"{device['device']} ({device['driver']})",
            Text("online", "green") if device["online"] else Text("offline", "bold red"),
            str(device["tags"]),
            Text(str(bad), "bold red" if bad else "dim"),
            f"{device['samples_per_s']:,.1f}",
        )
    lines: list[RenderableType] = [head, Text(), devices]
    for device in status["devices"]:
        if not device["online"]:
            lines.append(Text(f"  {device['reason']}", "red"))
        lines += [
            Text(f"  {device['device']}: {item['tag']}: {item['reason']}", "yellow") for item in device["problems"][:10]
        ]
    lines += [Text(), *_uplink_lines(uplink), *_outbox_lines(outbox), Text(f"promise  {status['promise']}", "dim")]
    lines += [Text(f"insecure {item}: not encrypted, allowed by the configuration", "yellow")
              for item in status["insecure"]]  # fmt: skip
    return Group(*lines)


def _uplink_lines(uplink: dict[str, Any]) -> list[RenderableType]:
    born = uplink["phase"] == "born"
    state = Text.assemble(("uplink   "), ("online" if born else uplink["phase"], "green" if born else "bold red"))
    state.append(f"  {uplink['broker']}" if uplink["broker"] else "")
    if uplink["host_online"] is False:
        state.append(f"  host {uplink['host']!r} is offline", "yellow")
    lines: list[RenderableType] = [state]
    if uplink["reason"]:
        lines.append(Text(f"         {uplink['reason']}", "red"))
    if uplink["unanswered"]:
        lines.append(Text("         NOTHING IS ACKNOWLEDGED: is cloud-ingest running, and on this broker?", "bold red"))
    lines.append(
        Text(
            f"         {uplink['acknowledged']:,} batches acknowledged, {uplink['in_flight']:,} in flight, "
            f"{uplink['resent']:,} sent again, {uplink['refused']:,} refused"
        )
    )
    return lines


def _outbox_lines(outbox: dict[str, Any]) -> list[RenderableType]:
    waiting = f"{outbox['samples']:,} samples in {outbox['batches']:,} batches waiting"
    if outbox["oldest_s"] is not None:
        waiting += f", the oldest for {duration(outbox['oldest_s'])}"
    lines: list[RenderableType] = [Text(f"outbox   {waiting}; {size(outbox['file_bytes'])} on disk")]
    if outbox["blocked"]:
        lines.append(Text(f"         BLOCKED: {outbox['blocked']}", "bold red"))
    return lines


def tags_screen(tags: list[dict[str, Any]]) -> RenderableType:
    """The answer to ``tags`` for a person."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("tag", overflow="fold", ratio=3)
    table.add_column("value", justify="right", overflow="ellipsis", max_width=24, no_wrap=True)
    table.add_column("unit", max_width=8, no_wrap=True)
    table.add_column("quality", overflow="fold")
    table.add_column("time", no_wrap=True)
    for tag in tags:
        good = tag["quality"] == "Good" and not tag["stale"]
        quality = "stale" if tag["stale"] and tag["quality"] == "Good" else tag["quality"] or "no value yet"
        table.add_row(
            f"{tag['device']}/{tag['tag']}",
            value_text(tag["value"]),
            tag["unit"],
            Text(quality, "green" if good else "yellow"),
            clock_time(tag["time_ns"]),
        )
        if tag["problem"]:
            table.add_row(Text(f"  {tag['problem']}", "yellow"))
    return table


def value_text(value: Any) -> str:
    """A value for a narrow column."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def clock_time(time_ns: int | None) -> str:
    """A time of today as hours to milliseconds, UTC; another day with its date."""
    if time_ns is None:
        return "-"
    try:
        when = datetime.fromtimestamp(time_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return "out of range"
    text = when.strftime("%H:%M:%S.") + f"{when.microsecond // 1000:03d}"
    return text if when.date() == datetime.now(UTC).date() else f"{when:%Y-%m-%d} {text}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 3 min, 5 h, 2 d."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} d"


def size(count: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
