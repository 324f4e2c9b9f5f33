"""Waiting for a notification of PostgreSQL, on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from connectors.model.errors import DatabaseUnavailable
from connectors.postgres.driver import Connection
from connectors.postgres.errors import translated, usable
from connectors.postgres.held_lock import heartbeat


class PostgresWakeup:
    """See ``Wakeup``; made by ``listen``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._woken = asyncio.Event()
        connection.add_termination_listener(lambda _connection: self._woken.set())

    async def wait(self, timeout_s: float) -> None:
        """See ``Wakeup``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            await heartbeat(self._connection)  # one that is cut off would swallow notifications for ever
        self._woken.clear()
        if not usable(self._connection):
            raise DatabaseUnavailable("the connection to PostgreSQL that heard notifications is lost")

    def heard(self, *_notification: Any) -> None:
        """A notification came."""
        self._woken.set()


async def listen(connection: Connection, channel: str) -> PostgresWakeup:
    """Listen on ``channel`` for as long as ``connection`` lives. Raises ``DatabaseUnavailable``."""
    wakeup = PostgresWakeup(connection)
    with translated(connection):
        await connection.add_listener(channel, wakeup.heard)
    return wakeup
