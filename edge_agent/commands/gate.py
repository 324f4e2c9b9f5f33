"""Keeps commands to devices from beginning while the agent is about to end: what begins then would be cut off."""

from __future__ import annotations

import asyncio


class Gate:
    """Open until somebody closes it; each is named by the id of a command, and opens it for itself only."""

    def __init__(self) -> None:
        self._by: set[str] = set()  # commands for the agent, of which one is done at a time
        self._open = asyncio.Event()
        self._open.set()

    def close(self, id_: str) -> None:
        """From now on no command to a device begins."""
        self._by.add(id_)
        self._open.clear()

    def open(self, id_: str) -> None:
        """The agent does not end for the command with this id; nothing happens when it has not closed it."""
        self._by.discard(id_)
        if not self._by:
            self._open.set()

    def reset(self) -> None:
        """Nobody has closed it."""
        self._by.clear()
        self._open.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._open.wait()
