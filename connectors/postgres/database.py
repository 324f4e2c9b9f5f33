"""A pool of connections to PostgreSQL."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from connectors.model.errors import StatementRefused
from connectors.postgres.driver import CAUGHT, Connection, Pool, connect, create_pool
from connectors.postgres.errors import terminate, translated, usable
from connectors.postgres.held_lock import KEEPALIVE_SETTINGS, PostgresHeldLock, try_lock
from connectors.postgres.login import Login, not_connected, not_permitted, system_authorities
from connectors.postgres.pooled_connection import PooledConnection, check, role_is_there, work_as
from connectors.postgres.session import PostgresRow, PostgresSession
from connectors.postgres.standing_connection import StandingConnection
from connectors.postgres.wakeup import PostgresWakeup, listening
from connectors.stopping import GRACE

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 60.0
FREE_CONNECTION_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 2.0
_LET_GO_S: Final = 2.0
"""So long a connection that somebody lets go of in the middle is given to be of use again: a server that hangs would
keep whoever stops for as long as a statement may take."""
ANSWER_S: Final = 5.0
"""So much longer than the server's own limit the client waits: a server that does not answer by then is gone."""
_SETTINGS: Final = {"jit": "off"}
"""Compiling a question takes longer than answering it: there are many partitions, of which few are looked at."""
_ROW_LEVEL: Final = "row-level security"
_NO_PERMISSION: Final = "42501"


class PostgresDatabase:
    """See ``Database``; made by ``open_database``.

    It survives restarts of the server: a lost connection is replaced at its next use. A statement that takes longer
    than ``statement_timeout_s`` is ended by the server, with its locks, and fails; and a caller waits for a free
    connection no longer than ``FREE_CONNECTION_TIMEOUT_S``; both as ``DatabaseUnavailable``, as is a permission that an
    administrator has to grant first. ``settings`` are parameters of the server. ``plan_once_max`` of the connections
    are for sessions that plan once; without any, that is set for a transaction each time.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections_max: int,
        settings: Mapping[str, str],
        statement_timeout_s: float,
        plan_once_max: int = 0,
    ) -> None:
        self._login = Login.from_dsn(dsn)
        self._dsn = dsn
        self._authorities = system_authorities(dsn)
        self._settings = {**settings, "statement_timeout": str(round(1000 * statement_timeout_s))}
        self._statement_timeout_s = statement_timeout_s
        self._pool: Pool = self._make_pool(connections_max - plan_once_max, check)
        self._planning_once: Pool = (
            self._make_pool(plan_once_max, functools.partial(check, plans_once=True)) if plan_once_max else self._pool
        )
        self.standing = StandingConnection(self.open_connection)
        """Beside the pool, what all locks and all who listen have together."""

    def _make_pool(self, connections_max: int, init: Callable[[Connection], Awaitable[None]]) -> Pool:
        return create_pool(
            self._dsn,
            ssl=self._authorities,
            min_size=0,
            max_size=connections_max,
            init=init,
            setup=_check_idle,
            reset=_nothing_to_reset,
            connection_class=PooledConnection,
            record_class=PostgresRow,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._statement_timeout_s + ANSWER_S,
            server_settings=self._settings,
        )

    async def open(self) -> None:
        """Be usable; no connection is opened yet."""
        await self._pool
        await self._planning_once

    async def connect(self) -> None:
        """Open the first connection. Raises ``DatabaseUnavailable`` with a sentence that names the place."""
        await self.open()
        async with self.session():
            pass

    async def open_connection(self) -> Connection:
        """A connection outside of the pool, for what lives and dies with a connection; the caller closes it.

        Raises ``DatabaseUnavailable``.
        """
        try:
            return await connect(
                self._dsn,
                ssl=self._authorities,
                record_class=PostgresRow,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._statement_timeout_s + ANSWER_S,
                server_settings={**self._settings, **KEEPALIVE_SETTINGS},
            )
        except CAUGHT as exc:
            raise not_connected(exc, self._login) from exc

    @asynccontextmanager
    async def session(
        self, tenant_id: int | None = None, *, plans_once: bool = False
    ) -> AsyncIterator[PostgresSession]:
        """See ``Database``."""
        pool = self._planning_once if plans_once else self._pool
        connection = await self._acquire(pool)
        try:
            with self._permitted():
                has_tenant = tenant_id is None or connection.is_one_session()
                if has_tenant and (connection.plans_once() or not plans_once):
                    await work_as(connection, tenant_id)
                    yield PostgresSession(connection)
                else:
                    async with _transaction(connection, tenant_id, plans_once) as session:
                        yield session
        finally:
            await self._release(pool, connection)

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[PostgresSession]:
        """See ``Database``."""
        connection = await self._acquire(self._pool)
        try:
            with self._permitted():
                async with _transaction(connection, tenant_id) as session:
                    yield session
        finally:
            await self._release(self._pool, connection)

    @asynccontextmanager
    async def held_lock(self, name: str) -> AsyncIterator[PostgresHeldLock]:
        """See ``Database``."""
        async with self.standing.used() as shared:
            lock = await try_lock(shared, name)
            try:
                yield lock
            finally:
                await lock.release()

    @asynccontextmanager
    async def notified(self, channel: str) -> AsyncIterator[PostgresWakeup]:
        """See ``Database``."""
        async with self.standing.used() as shared, listening(shared, channel) as wakeup:
            yield wakeup

    async def close(self) -> None:
        """See ``Database``."""
        try:
            async with asyncio.timeout(GRACE.at_most(_CLOSE_TIMEOUT_S)):
                await self._pool.close()
                await self._planning_once.close()
        except CAUGHT:
            self._pool.terminate()
            self._planning_once.terminate()

    @contextmanager
    def _permitted(self) -> Iterator[None]:
        """A statement for which the user lacks a permission: the text says which, and how it is granted."""
        try:
            yield
        except StatementRefused as exc:
            if exc.sqlstate == _NO_PERMISSION and _ROW_LEVEL not in str(exc):  # that is no lack of a right
                raise not_permitted(exc, self._login) from exc
            raise

    async def _acquire(self, pool: Pool) -> Connection:
        try:
            try:
                return await _free_connection(pool)
            except CAUGHT:
                # The connection on top of the pool was dead, or none could be opened; in the first case there is a
                # new one now.
                return await _free_connection(pool)
        except CAUGHT as exc:
            raise not_connected(exc, self._login) from exc

    async def _release(self, pool: Pool, connection: Connection) -> None:
        if usable(connection):
            connection.idle_begins()
        try:
            await pool.release(connection, timeout=GRACE.at_most(_LET_GO_S))
        except CAUGHT:
            terminate(connection)


async def unconnected_database(
    dsn: str, *, connections_max: int, application_name: str, plan_once_max: int = 0
) -> PostgresDatabase:
    """As ``open_database``, for a server that may not be there yet: the first use opens the first connection."""
    database = PostgresDatabase(
        dsn,
        connections_max=connections_max,
        settings={"application_name": application_name, **_SETTINGS},
        statement_timeout_s=STATEMENT_TIMEOUT_S,
        plan_once_max=plan_once_max,
    )
    await database.open()
    return database


async def open_database(
    dsn: str, *, connections_max: int, application_name: str, plan_once_max: int = 0
) -> PostgresDatabase:
    """A pool of up to ``connections_max`` connections, the first of them open.

    ``dsn`` is a URL ``postgresql://user:password@host:port/database?sslmode=…``; ``application_name`` is what the
    server's own views call the connections. Raises ``DatabaseUnavailable`` with a sentence that names the place.
    """
    database = await unconnected_database(
        dsn, connections_max=connections_max, application_name=application_name, plan_once_max=plan_once_max
    )
    try:
        await database.connect()
    except BaseException:
        await database.close()
        raise
    return database


async def _free_connection(pool: Pool) -> Connection:
    async with asyncio.timeout(FREE_CONNECTION_TIMEOUT_S):  # asyncpg, given a time, makes a task of it each time
        return await pool.acquire()


async def _check_idle(connection: Connection) -> None:
    with _whole_or_closed(connection):
        await connection.check_idle(CONNECT_TIMEOUT_S)


async def _check_new(connection: Connection) -> None:
    with _whole_or_closed(connection):
        await check(connection)


@contextmanager
def _whole_or_closed(connection: Connection) -> Iterator[None]:
    """Close at once what is in the middle of something: asyncpg would wait for a server that hangs, without a bound."""
    try:
        yield
    except BaseException:
        terminate(connection)
        raise


async def _nothing_to_reset(_connection: Connection) -> None:
    """A session leaves nothing behind (see the port), so that giving a connection back costs no round trip."""


@asynccontextmanager
async def _transaction(
    connection: Connection, tenant_id: int | None, plans_once: bool = False
) -> AsyncIterator[PostgresSession]:
    """One transaction, which begins as that tenant in one round trip, whoever its connection works for otherwise."""
    try:
        with translated(connection), role_is_there():
            await connection.execute(connection.begin(tenant_id, plans_once))
        yield PostgresSession(connection)
        with translated(connection):
            await connection.execute("COMMIT")
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: Connection) -> None:
    if not usable(connection):
        return
    try:
        await connection.execute("ROLLBACK", timeout=GRACE.at_most(_LET_GO_S))
    except CAUGHT:
        terminate(connection)
    except asyncio.CancelledError:
        terminate(connection)
        raise
