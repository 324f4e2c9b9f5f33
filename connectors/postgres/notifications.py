"""PostgreSQL's notifications on one channel, handed to those who wait for one of their payloads."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from connectors.postgres.standing_connection import SharedConnection, StandingConnection


class Notifications:
    """Listens on ``channel`` from the first time that it is needed, and again when the connection was lost."""

    def __init__(self, standing: StandingConnection, channel: str) -> None:
        self._standing = standing
        self._channel = channel
        self._shared: SharedConnection | None = None
        self._opening = asyncio.Lock()
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def waiting(self, payload: str) -> Iterator[asyncio.Event]:
        """An event that is set by every notification with ``payload``, as long as the block lasts.

        And when the connection is lost: who waits then looks by themselves, and listens anew.
        """
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
        if self._shared is not None and self._shared.usable:
            return
        async with self._opening:
            if self._shared is not None and self._shared.usable:
                return
            await self.close()
            shared = await self._standing.enter()
            try:
                await shared.listen(self._channel, self._heard)
            except BaseException:
                shared.stop_listening(self._channel, self._heard)
                await self._standing.leave(shared)
                raise
            self._shared = shared

    async def close(self) -> None:
        """Stop listening. Raises only a cancellation."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.stop_listening(self._channel, self._heard)
            await self._standing.leave(shared)

    def _heard(self, payload: str) -> None:
        events = self._waiting.get(payload, ()) if payload else [one for each in self._waiting.values() for one in each]
        for event in events:
            event.set()
