"""``edge-agent watch``, ``status --watch`` and ``commands list --watch``: what changes, as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from edge_agent.local_api.protocol import call, stream


async def watch_forever(
    socket: Path,
    device: str | None,
    search: str,
    interval_s: float,
    *,
    as_json: bool,
    sort: str = "name",
    only_bad: bool = False,
) -> None:
    """Show changes until the caller is cancelled, or somebody leaves. Raises ``AgentNotRunning`` when the agent stops.

    A person at a terminal gets a table with keys; a pipe or a file, and ``as_json``, one line of JSON a change; a
    terminal that cannot place its cursor, a line of text a change.
    """
    from edge_agent.cli.live_terminal import is_interactive

    answers = stream(socket, "watch", device=device, search=search, interval_s=interval_s)
    async with contextlib.aclosing(answers):
        if as_json or not sys.stdout.isatty():
            async for changed in answers:
                for tag in changed:
                    print(json.dumps(tag, ensure_ascii=False), flush=True)
        elif is_interactive():
            await _live(answers, interval_s, sort, only_bad)
        else:
            await _lines(answers, only_bad)


async def _lines(answers: AsyncIterator[Any], only_bad: bool) -> None:
    from edge_agent.cli.words import clock_time, value_text

    async for changed in answers:
        for tag in changed:
            quality = "stale" if tag["stale"] else tag["quality"] or "no value"
            if only_bad and quality == "Good":
                continue
            value = f"{value_text(tag['value'], tag.get('type'))} {tag['unit']}".rstrip()
            print(f"{clock_time(tag['time_ns'])} {tag['device']}/{tag['tag']} {value} {quality}", flush=True)


async def _live(answers: AsyncIterator[Any], interval_s: float, sort: str, only_bad: bool) -> None:
    from edge_agent.cli.live_terminal import LiveTerminal, changed_within
    from edge_agent.cli.watch_screen import WatchScreen

    plain = "utf" not in (sys.stdout.encoding or "").lower()
    watched = WatchScreen(sort=sort, only_bad=only_bad, plain=plain)
    with LiveTerminal() as terminal:

        async def listen() -> None:
            async for changed in answers:
                watched.take(changed, time.monotonic())
                if not watched.is_paused:
                    terminal.changed.set()

        listening = asyncio.create_task(listen(), name="watch")
        try:
            while not watched.is_done and not listening.done():
                for key in terminal.pressed():
                    watched.press(key)
                terminal.draw(watched.screen(terminal.columns, terminal.lines, time.monotonic(), time.time_ns()))
                await changed_within(terminal, max(1.0, interval_s))
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening


async def watch_answer(
    socket: Path, name: str, screen_of: Callable[[Any], RenderableType], interval_s: float, **args: Any
) -> None:
    """The screen of an answer again and again, until somebody leaves. Raises ``AgentNotRunning``."""
    from edge_agent.cli.live_terminal import LiveTerminal, changed_within, is_interactive
    from edge_agent.cli.terminal import print_screen

    if not is_interactive():
        while True:
            print_screen(screen_of(await call(socket, name, **args)))
            print(flush=True)
            await asyncio.sleep(interval_s)
    with LiveTerminal() as terminal:
        while True:
            terminal.draw(screen_of(await call(socket, name, **args)))
            end_s = time.monotonic() + interval_s
            while (left_s := end_s - time.monotonic()) > 0:
                await changed_within(terminal, left_s)
                keys = terminal.pressed()
                if "q" in keys or "interrupt" in keys:
                    return
                if not keys:
                    break  # another size: drawn anew
