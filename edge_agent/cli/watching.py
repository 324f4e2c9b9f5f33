"""``edge-agent watch``: values as they change."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from edge_agent.local_api.protocol import stream


async def watch_forever(socket: Path, device: str | None, search: str, interval_s: float, *, as_json: bool) -> None:
    """Show changes until the caller is cancelled. Raises ``AgentNotRunning`` when the agent stops."""
    answers = stream(socket, "watch", device=device, search=search, interval_s=interval_s)
    async with contextlib.aclosing(answers):
        if as_json or not sys.stdout.isatty():
            async for changed in answers:
                for tag in changed:
                    print(json.dumps(tag, ensure_ascii=False), flush=True)
            return
        await _live(answers)


async def _live(answers: Any) -> None:
    from rich.live import Live

    from edge_agent.cli.tags_table import TagsTable
    from edge_agent.cli.terminal import console

    tags: dict[tuple[str, str], dict[str, Any]] = {}
    screen = console()
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        async for changed in answers:
            for tag in changed:
                tags[tag["device"], tag["tag"]] = tag
            live.update(TagsTable(list(tags.values()), screen.height), refresh=True)
