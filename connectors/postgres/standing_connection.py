"""One connection for all that lives and dies with a connection: locks, memberships, and hearing notifications.

Who uses it shares its fate: when it is lost, all locks on it are free and nobody hears anything, which every user
notices by ``ended``; then each enters anew, and the first of them opens the next connection. PostgreSQL gives a lock of
a session to that session as often as it asks, so what one user holds is kept from the others here.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.postgres.driver import CAUGHT, Connection
from connectors.postgres.errors import terminate, translated, usable
from connectors.stopping import GRACE

ANSWER_TIMEOUT_S: Final = 3.0
HEARTBEAT_S: Final = 2.0
_TAKE: Final = {
    1: "SELECT pg_try_advisory_lock($1) AS taken",
    2: "SELECT pg_try_advisory_lock($1, $2) AS taken",
}
_FREE: Final = {1: "SELECT pg_advisory_unlock($1)", 2: "SELECT pg_advisory_unlock($1, $2)"}

LockKey = tuple[int] | tuple[int, int]
"""PostgreSQL's advisory locks have two spaces of names: one number of 64 bits, or two of 32."""
Heard = Callable[[str], None]


class SharedConnection:
    """One life of the connection. Its users may be many tasks: each statement waits for its turn."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._held: set[LockKey] = set()
        self._to_free: set[LockKey] = set()
        """What nobody wants any more, and the server may still hold for us: freed before anything else is asked."""
        self._heard: defaultdict[str, set[Heard]] = defaultdict(set)
        self._listening: set[str] = set()
        self._answered_s = time.monotonic()
        self.users = 0
        self.ended = asyncio.Event()
        """Set when the connection is lost or closed."""
        connection.add_termination_listener(self._end)

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as is known."""
        return usable(self._connection)

    async def fetch(self, sql: str, *args: Any) -> Any:
        """The rows of a query. Raises ``DatabaseUnavailable``."""
        async with self._turn:
            with translated(self._connection):
                await self._free()
                rows = await self._connection.fetch(sql, *args, timeout=ANSWER_TIMEOUT_S)
        self._answered_s = time.monotonic()
        return rows

    async def take(self, key: LockKey) -> bool:
        """Try to take a lock, for as long as the connection lives. Raises ``DatabaseUnavailable``.

        When it is cancelled or raises, the lock is not taken.
        """
        if key in self._held:
            return False
        self._held.add(key)
        try:
            (row,) = await self.fetch(_TAKE[len(key)], *key)
        except BaseException:
            self._to_free.add(key)  # the answer may be all that was lost
            raise
        if not row["taken"]:
            self._held.discard(key)
        return bool(row["taken"])

    async def give_back(self, *keys: LockKey) -> None:
        """Free locks that were taken; at the latest with the next statement. Raises only a cancellation."""
        self._to_free.update(self._held.intersection(keys))
        try:
            async with self._turn:
                with translated(self._connection):
                    await self._free()
        except (DatabaseUnavailable, StatementRefused):  # what is still held is not known: it ends with the connection
            terminate(self._connection)

    async def listen(self, channel: str, heard: Heard) -> None:
        """From now on, call ``heard`` with the payload of each notification on ``channel``; with none at the end.

        Raises ``DatabaseUnavailable``; ``stop_listening`` follows in any case.
        """
        self._heard[channel].add(heard)
        async with self._turn:
            if channel not in self._listening:
                with translated(self._connection):
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        await self._connection.add_listener(channel, self._notified)
                self._listening.add(channel)

    def stop_listening(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` no more. The connection goes on to listen: channels are few."""
        self._heard[channel].discard(heard)

    async def heartbeat(self) -> None:
        """Unless the server has just answered, ask whether it does; if not, close the connection. Never raises."""
        async with self._turn:
            if time.monotonic() - self._answered_s < HEARTBEAT_S / 2 or not self.usable:
                return
            try:
                await self._connection.execute("SELECT 1", timeout=ANSWER_TIMEOUT_S)
            except CAUGHT:
                terminate(self._connection)
            self._answered_s = time.monotonic()

    async def close(self) -> None:
        """Close it in an orderly way if the server answers, else at once. Raises only a cancellation."""
        try:
            await self._connection.close(timeout=GRACE.at_most(ANSWER_TIMEOUT_S))
        except CAUGHT:
            terminate(self._connection)

    async def _free(self) -> None:
        while self._to_free:
            key = next(iter(self._to_free))
            await self._connection.execute(_FREE[len(key)], *key, timeout=GRACE.at_most(ANSWER_TIMEOUT_S))
            self._to_free.discard(key)
            self._held.discard(key)

    def _end(self, _connection: Any) -> None:
        self.ended.set()
        for channel in tuple(self._heard):
            self._notified(None, 0, channel, "")

    def _notified(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        for heard in tuple(self._heard[channel]):
            heard(payload)


class StandingConnection:
    """The connection that is there while somebody uses it: one at a time, however many use it."""

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]]) -> None:
        self._open_connection = open_connection
        self._shared: SharedConnection | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[SharedConnection]:
        """The connection, for the length of the block. Raises ``DatabaseUnavailable`` when entering."""
        shared = await self.enter()
        try:
            yield shared
        finally:
            await self.leave(shared)

    async def enter(self) -> SharedConnection:
        """As ``used``, for a block that has no place in the code: ``leave`` follows. Raises ``DatabaseUnavailable``."""
        async with self._opening:
            if self._shared is None or not self._shared.usable:
                self._shared = SharedConnection(await self._open_connection())
            self._shared.users += 1
            return self._shared

    async def leave(self, shared: SharedConnection) -> None:
        """The last one to leave closes it. Raises only a cancellation."""
        shared.users -= 1
        if not shared.users:
            if self._shared is shared:
                self._shared = None
            await shared.close()
