"""Who reads which partition: membership in a group by session-level advisory locks.

A member holds one lock that says that it lives, and one for each partition that it has. When it dies, the server frees
them all with its connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Final

from connectors.postgres.driver import Connection
from connectors.postgres.errors import translated
from connectors.postgres.held_lock import HEARTBEAT_TIMEOUT_S

POLL_S: Final = 1.0
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock($1, $2)"
_UNLOCK: Final = "SELECT pg_advisory_unlock($1, $2)"
_MEMBERS: Final = """
    SELECT objid::bigint AS member FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY objid
"""


class GroupMember:
    """One member of a group, on a connection of its own."""

    def __init__(self, connection: Connection, *, member_lock: int, share_lock: int, partitions: int) -> None:
        self._connection = connection
        self._member_lock = member_lock
        self._share_lock = share_lock
        self._partitions = partitions
        self._member = 0
        self._held: set[int] = set()

    async def join(self) -> None:
        """Become a member. Raises ``DatabaseUnavailable``."""
        joined = False
        while not joined:
            self._member = secrets.randbelow(1 << 31)
            joined = await self._take(self._member_lock, self._member)

    async def changes(self) -> AsyncGenerator[frozenset[int], None]:
        """The partitions to read, now and after every change. Raises ``DatabaseUnavailable``.

        A partition that is given up is free for others when the next change is asked for.
        """
        told: frozenset[int] | None = None
        while True:
            share = await self._fair_share()
            given_up = sorted(self._held)[share:]
            for partition in range(self._partitions):
                if len(self._held) >= share:
                    break
                if partition not in self._held and await self._take(self._share_lock, partition):
                    self._held.add(partition)
            self._held.difference_update(given_up)
            held = frozenset(self._held)
            if held != told:
                told = held
                yield held
                for partition in given_up:
                    await self._give_back(partition)
            await asyncio.sleep(POLL_S)

    async def _fair_share(self) -> int:
        """How many partitions this member should have, so that the shares of all members add up to all partitions."""
        with translated(self._connection):
            rows = await self._connection.fetch(_MEMBERS, self._member_lock, timeout=HEARTBEAT_TIMEOUT_S)
        members = [row["member"] for row in rows]
        each, rest = divmod(self._partitions, len(members))
        return each + (members.index(self._member) < rest)

    async def _take(self, space: int, number: int) -> bool:
        with translated(self._connection):
            taken: bool = await self._connection.fetchval(_TRY_LOCK, space, number, timeout=HEARTBEAT_TIMEOUT_S)
        return taken

    async def _give_back(self, partition: int) -> None:
        with translated(self._connection):
            await self._connection.execute(_UNLOCK, self._share_lock, partition, timeout=HEARTBEAT_TIMEOUT_S)
