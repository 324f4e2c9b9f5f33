"""PostgreSQL's notifications on one channel, handed to those who wait for one of their payloads."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.postgres.database import PostgresDatabase
from connectors.postgres.driver import Connection
from connectors.postgres.errors import translated, usable
from connectors.postgres.held_lock import close


class Notifications:
    """A connection that listens on ``channel``; it is opened when it is first needed, and again when it was lost."""

    def __init__(self, database: PostgresDatabase, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def waiting(self, payload: str) -> Iterator[asyncio.Event]:
        """An event that is set by every notification with ``payload``, as long as the block lasts."""
        event = asyncio.Event()
        self._waiting[payload].add(event)
        try:
            yield event
        finally:
            self._waiting[payload].discard(event)
            if not self._waiting[payload]:
                del self._waiting[payload]

    async def listen(self) -> None:
        """Return when notifications from now on are heard. Raises ``DatabaseUnavailable``."""
        async with self._opening:
            if self._connection is not None and usable(self._connection):
                return
            connection = await self._database.open_connection()
            try:
                with translated(connection):
                    await connection.add_listener(self._channel, self._heard)
            except BaseException:
                await close(connection)
                raise
            self._connection = connection

    async def close(self) -> None:
        """Stop listening. Raises only a cancellation."""
        if self._connection is not None:
            await close(self._connection)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        for event in self._waiting.get(payload, ()):
            event.set()
