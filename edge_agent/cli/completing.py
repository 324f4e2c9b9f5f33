"""What a shell offers when somebody presses Tab: names of tags and devices, as the running agent has them.

Nothing is offered while no agent answers: a shell must not wait, and never shows an error here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import typer

ANSWER_S_MAX: Final = 1.0
OFFERED_MAX: Final = 500


def tag_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags that begin so, as ``device/tag``; a shell would take a name with blanks for several, so none has one."""
    names = [f"{device}/{tag}" for device, tags in _names(ctx).items() for tag in tags]
    return [name for name in names if name.startswith(incomplete) and not any(map(str.isspace, name))][:OFFERED_MAX]


def device_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Devices that begin so."""
    return [name for name in _names(ctx) if name.startswith(incomplete)]


def _names(ctx: typer.Context) -> dict[str, list[str]]:
    from connectors.model.errors import LinesideError
    from edge_agent.config.places import socket_path
    from edge_agent.local_api.protocol import call

    async def ask(socket: Path) -> Any:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await call(socket, "names")

    config, socket = ctx.params.get("config"), ctx.params.get("socket")
    try:
        return dict(asyncio.run(ask(Path(socket) if socket else socket_path(Path(config or "")))))
    except (LinesideError, OSError, ValueError):
        return {}
