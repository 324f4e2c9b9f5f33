"""What ``release`` and ``rollout`` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.screens import plain, table_of, time_text

_STYLES = {"done": "green", "succeeded": "green", "halted": "bold red", "failed": "bold red", "stopped": "yellow"}


def releases_screen(releases: Sequence[dict[str, Any]]) -> RenderableType:
    """Packages, a line each."""
    if not releases:
        return Text("no release")
    table = table_of("version", "SHA-256", "python", "platform", "bytes", "signed with", "added (UTC)", "by")
    for one in releases:
        table.add_row(
            one["version"],
            one["sha256"][:16],
            one["python"],
            one["platform"],
            f"{one['bytes']:,}",
            Text(plain(one["key"])),
            time_text(one["added"]),
            Text(plain(one["by"])),
        )
    return table


def rollouts_screen(rollouts: Sequence[dict[str, Any]]) -> RenderableType:
    """Rollouts, a line each."""
    if not rollouts:
        return Text("no rollout")
    table = table_of("rollout", "version", "agents", "state", "started (UTC)", "by", "")
    for one in rollouts:
        table.add_row(
            str(one["rollout"]),
            one["version"],
            str(one["agents"]),
            _state(one["state"]),
            time_text(one["started"]),
            Text(plain(one["by"])),
            Text(plain(one["reason"])),
        )
    return table


def rollout_screen(rollout: dict[str, Any]) -> RenderableType:
    """A rollout with its agents."""
    table = table_of("group", "agent", "", "online with it", "command", "")
    for one in rollout["members"]:
        runs = "yes" if one["runs"] else "no"
        command = one["command"] or ""
        why = Text(plain(one["reason"]))
        table.add_row(str(one["group"]), Text(plain(one["agent"])), _state(one["progress"]), runs, command, why)
    return Group(rollouts_screen([rollout]), Text(), table)


def _state(state: str) -> Text:
    return Text(state, _STYLES.get(state, ""))
