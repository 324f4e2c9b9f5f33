"""A cluster-wide lock: a session-level advisory lock on a connection of its own."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from connectors.postgres.driver import CAUGHT, Connection
from connectors.postgres.errors import terminate, translated, usable

HEARTBEAT_S: Final = 2.0
HEARTBEAT_TIMEOUT_S: Final = 3.0
KEEPALIVE_SETTINGS: Final = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""The server gives up a silent client, and its locks with it, after 25 s: well after the client, by its heartbeat, has
noticed that it is cut off."""


def lock_number(name: str) -> int:
    """The 64-bit number of PostgreSQL's advisory locks that stands for ``name``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


class PostgresHeldLock:
    """See ``HeldLock``."""

    def __init__(self, connection: Connection, *, taken: bool) -> None:
        self._connection = connection
        self._taken = taken
        self._ended = asyncio.Event()
        connection.add_termination_listener(lambda _connection: self._ended.set())

    @property
    def held(self) -> bool:
        """See ``HeldLock``."""
        return self._taken and usable(self._connection)

    async def lost(self) -> None:
        """See ``HeldLock``. One task at a time."""
        while self.held:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._ended.wait()
            except TimeoutError:
                await heartbeat(self._connection)


async def try_lock(connection: Connection, name: str) -> PostgresHeldLock:
    """Try to take ``name`` for as long as ``connection`` lives. Raises ``DatabaseUnavailable``."""
    with translated(connection):
        taken = await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_number(name))
    return PostgresHeldLock(connection, taken=taken)


async def heartbeat(connection: Connection) -> None:
    """Ask whether the server still answers; if not, ``connection`` is closed afterwards. Never raises."""
    try:
        await connection.execute("SELECT 1", timeout=HEARTBEAT_TIMEOUT_S)
    except CAUGHT:
        terminate(connection)


async def close(connection: Connection) -> None:
    """Close ``connection`` in an orderly way if the server answers, else at once. Raises only a cancellation."""
    try:
        await connection.close(timeout=HEARTBEAT_TIMEOUT_S)
    except CAUGHT:
        terminate(connection)
