"""A connection of a pool: whom it works for, and since when nobody uses it.

It goes on to work for a tenant when a session of that tenant has ended, so that the next one costs nothing. What it
works for is set by this module alone, outside of transactions, so that no rollback takes it back; and a connection of
which that is not known, as an answer was lost or not waited for, is closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from connectors.model.errors import DatabaseUnavailable
from connectors.ports.database import TENANT_ROLE, TENANT_SETTING
from connectors.postgres.driver import Connection, PostgresError
from connectors.postgres.errors import terminate, translated

_TRUSTED_IDLE_S: Final = 1.0
"""A connection that was idle for longer is asked whether it still lives: one that was cut off would be waited for as
long as a statement may take otherwise."""
_WORK_AS: Final = f"SELECT set_config('role', $1, false), set_config('{TENANT_SETTING}', $2, false)"
_PLANNED_ONCE: Final = "force_generic_plan"
"""What partitions are of other times is found out when a plan is begun, too."""
_FOR_NOBODY: Final = ("none", "")
_NO_ROLE: Final = "22023"
"""The SQL state of a role that is not there: before the first migration of the first database of a server."""


class PooledConnection(asyncpg.Connection):
    """See the module. ``is_one_session`` is whether it is PostgreSQL that it speaks with, all the time.

    A pooler in between can give each transaction another session of the server: there nothing may be set that is
    longer than a transaction. ``plans_once`` is whether its statements are planned once, outside of transactions, too.
    """

    __slots__ = ("_idle_since_s", "_is_one_session", "_plans_once", "_tenant_id")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle_since_s = time.monotonic()
        self._is_one_session = False
        self._plans_once = False
        self._tenant_id: int | None = None

    def idle_begins(self) -> None:
        """Nobody uses it from now on."""
        self._idle_since_s = time.monotonic()

    async def check_idle(self, timeout_s: float) -> None:
        """Ask whether it lives, unless it was used just now. Raises what asyncpg does."""
        if time.monotonic() - self._idle_since_s > _TRUSTED_IDLE_S:
            await self.execute("SELECT 1", timeout=timeout_s)

    def is_one_session(self) -> bool:
        """See the class."""
        return self._is_one_session

    def plans_once(self) -> bool:
        """See the class."""
        return self._plans_once

    def found(self, *, is_one_session: bool, plans_once: bool) -> None:
        """What ``check`` has found."""
        self._is_one_session, self._plans_once = is_one_session, plans_once

    def works_for(self) -> int | None:
        """The tenant; ``None``: for the owner of the tables."""
        return self._tenant_id

    def will_work_for(self, tenant_id: int | None) -> None:
        """That is what the server has been told, and has answered to."""
        self._tenant_id = tenant_id

    def begin(self, tenant_id: int | None, plans_once: bool = False) -> str:
        """The statements that begin a transaction of that tenant."""
        words = ["BEGIN"]
        if tenant_id != self._tenant_id:
            role, tenant = _FOR_NOBODY if tenant_id is None else (TENANT_ROLE, str(int(tenant_id)))
            words += [f"SET LOCAL role = '{role}'", f"SET LOCAL {TENANT_SETTING} = '{tenant}'"]
        if plans_once and not self._plans_once:
            words.append(f"SET LOCAL plan_cache_mode = '{_PLANNED_ONCE}'")
        return "; ".join(words)


@contextmanager
def role_is_there() -> Iterator[None]:
    """Where a tenant's role is entered, ``DatabaseUnavailable`` says how it is made, if it is not there yet."""
    try:
        yield
    except PostgresError as exc:
        if getattr(exc, "sqlstate", None) == _NO_ROLE:
            why = f"PostgreSQL has no role {TENANT_ROLE} yet; 'cloud-ingest migrate' or 'run' makes it, with all tables"
            raise DatabaseUnavailable(why) from exc
        raise


async def check(connection: Connection, *, plans_once: bool = False) -> None:
    """Find out about a new connection whether there is a pooler in between, which has not the server's number.

    Without one, have it plan once, if it shall.
    """
    number = await connection.fetchval("SELECT pg_backend_pid()")
    is_one_session = number == connection.get_server_pid()
    if plans_once and is_one_session:
        await connection.fetch("SELECT set_config('plan_cache_mode', $1, false)", _PLANNED_ONCE)
    connection.found(is_one_session=is_one_session, plans_once=plans_once and is_one_session)


async def work_as(connection: Connection, tenant_id: int | None) -> None:
    """Have ``connection`` work for that tenant from now on, or be closed.

    Raises ``DatabaseUnavailable`` and ``StatementRefused``.
    """
    if connection.works_for() == tenant_id:
        return
    role, tenant = _FOR_NOBODY if tenant_id is None else (TENANT_ROLE, str(tenant_id))
    try:
        with translated(connection), role_is_there():
            await connection.fetch(_WORK_AS, role, tenant)
    except BaseException:
        terminate(connection)
        raise
    connection.will_work_for(tenant_id)
