"""Who reads which partition: membership in a group by session-level advisory locks.

A member holds one lock that says that it lives, and one for each partition that it has. When its process dies, the
server frees them all with the connection that the members of a process have together.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Final

from connectors.postgres.standing_connection import SharedConnection

POLL_S: Final = 1.0
_MEMBERS: Final = """
    SELECT objid::bigint AS member FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY objid
"""


class GroupMember:
    """One member of a group. What it raises ends its membership: ``leave`` follows in any case."""

    def __init__(self, shared: SharedConnection, *, member_lock: int, share_lock: int, partitions: int) -> None:
        self._shared = shared
        self._member_lock = member_lock
        self._share_lock = share_lock
        self._partitions = partitions
        self._member = 0
        self._held: set[int] = set()
        self._locked: set[int] = set()
        """With those that are given up, and still read until the next change is asked for."""

    async def join(self) -> None:
        """Become a member. Raises ``DatabaseUnavailable``."""
        joined = False
        while not joined:
            self._member = secrets.randbelow(1 << 31)
            joined = await self._shared.take((self._member_lock, self._member))

    async def leave(self) -> None:
        """Be a member no more, whose partitions are free. Raises only a cancellation."""
        shares = [(self._share_lock, partition) for partition in range(self._partitions) if partition in self._locked]
        await self._shared.give_back((self._member_lock, self._member), *shares)

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
                if partition not in self._held and await self._take(partition):
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
        rows = await self._shared.fetch(_MEMBERS, self._member_lock)
        members = [row["member"] for row in rows]
        each, rest = divmod(self._partitions, len(members))
        return each + (members.index(self._member) < rest)

    async def _take(self, partition: int) -> bool:
        taken = await self._shared.take((self._share_lock, partition))
        if taken:
            self._locked.add(partition)
        return taken

    async def _give_back(self, partition: int) -> None:
        await self._shared.give_back((self._share_lock, partition))
        self._locked.discard(partition)
