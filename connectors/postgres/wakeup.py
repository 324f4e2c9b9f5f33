"""Waiting for a notification of PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.model.errors import DatabaseUnavailable
from connectors.postgres.standing_connection import SharedConnection


class PostgresWakeup:
    """See ``Wakeup``; made by ``listening``."""

    def __init__(self, shared: SharedConnection) -> None:
        self._shared = shared
        self._woken = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """See ``Wakeup``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            await self._shared.heartbeat()  # one that is cut off would swallow notifications for ever
        self._woken.clear()
        if not self._shared.usable:
            raise DatabaseUnavailable("the connection to PostgreSQL that heard notifications is lost")

    def heard(self, _payload: str = "") -> None:
        """A notification came, or none will come any more."""
        self._woken.set()


@asynccontextmanager
async def listening(shared: SharedConnection, channel: str) -> AsyncIterator[PostgresWakeup]:
    """Listen on ``channel`` for the length of the block. Raises ``DatabaseUnavailable`` when entering."""
    wakeup = PostgresWakeup(shared)
    try:
        await shared.listen(channel, wakeup.heard)
        yield wakeup
    finally:
        shared.stop_listening(channel, wakeup.heard)
