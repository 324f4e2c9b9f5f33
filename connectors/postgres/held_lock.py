"""A cluster-wide lock: a session-level advisory lock on the connection that stands for such things."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from connectors.postgres.standing_connection import HEARTBEAT_S, LockKey, SharedConnection

KEEPALIVE_SETTINGS: Final = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""The server gives up a silent client, and its locks with it, after 25 s: well after the client, by its heartbeat, has
noticed that it is cut off."""


def lock_number(name: str) -> int:
    """The 64-bit number of PostgreSQL's advisory locks that stands for ``name``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


class PostgresHeldLock:
    """See ``HeldLock``."""

    def __init__(self, shared: SharedConnection, key: LockKey, *, taken: bool) -> None:
        self._shared = shared
        self._key = key
        self._taken = taken

    @property
    def held(self) -> bool:
        """See ``HeldLock``."""
        return self._taken and self._shared.usable

    async def lost(self) -> None:
        """See ``HeldLock``. One task at a time."""
        while self.held:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._shared.ended.wait()
            except TimeoutError:
                await self._shared.heartbeat()

    async def release(self) -> None:
        """Have it no more; others may take it. Raises only a cancellation."""
        if self._taken:
            self._taken = False
            await self._shared.give_back(self._key)


async def try_lock(shared: SharedConnection, name: str) -> PostgresHeldLock:
    """Try to take ``name`` for as long as the connection lives. Raises ``DatabaseUnavailable``."""
    key = (lock_number(name),)
    return PostgresHeldLock(shared, key, taken=await shared.take(key))
