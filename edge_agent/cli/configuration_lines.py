"""What ``status`` shows of the agent's files: whether it runs with what they say, and what to do when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connectors.configuration.setting_names import listed
from edge_agent.cli.terminal import Sentence
from edge_agent.cli.words import clock_time

NAMES_MAX: Final = 5
REASONS_SHOWN_MAX: Final = 3
INDENT: Final = "         "


def configuration_lines(configuration: dict[str, Any] | None) -> Iterator[Sentence]:
    """In sync, out of sync or failed; nothing for an agent that was not started from files."""
    if configuration is None:
        return
    state, since = configuration["state"], f"since {clock_time(configuration['since_ns'])} UTC"
    if state == "failed":
        yield Sentence(
            "config   ", f"FAILED {since}: the files cannot be used, the agent goes on with what it had", "bold red"
        )
        reasons = configuration["reasons"]
        for reason in reasons[:REASONS_SHOWN_MAX]:
            yield Sentence(INDENT, reason, "red")
        if len(reasons) > REASONS_SHOWN_MAX:
            yield Sentence(INDENT, f"{len(reasons) - REASONS_SHOWN_MAX} more; 'edge-agent check' shows all", "red")
        return
    if state == "in_sync":
        yield Sentence("config   ", f"in sync {since}", "dim")
        return
    yield Sentence("config   ", f"OUT OF SYNC {since}", "bold yellow")
    if configuration["files"]:
        files = _several(configuration["files"])
        yield Sentence(INDENT, f"changed, and not in use: {files}; 'edge-agent reload' uses what is there", "yellow")
    if configuration["restart"]:
        settings = _several(configuration["restart"])
        yield Sentence(INDENT, f"takes effect with a restart of the agent only: {settings}", "yellow")


def _several(names: list[str]) -> str:
    more = len(names) - NAMES_MAX
    return listed([*names[:NAMES_MAX], f"{more} more"] if more > 0 else names, "and")
