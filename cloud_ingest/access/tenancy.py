"""Sessions that see one tenant alone, by PostgreSQL's row-level security (``CREATE POLICY``).

The role ``lineside_tenant`` sees rows whose ``tenant_id`` is the one that its session has named, and none when it has
named none. So a question that forgot its ``WHERE`` shows nothing of another tenant. Projections and upkeep work for all
tenants, with the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from connectors.ports.database import Database, HeldLock, Session, Wakeup


def tenant_session(database: Database, tenant_id: int) -> AbstractAsyncContextManager[Session]:
    """For reading: a session that sees rows of ``tenant_id`` alone. Raises what ``Database.session`` does."""
    return database.session(tenant_id)


def tenant_transaction(database: Database, tenant_id: int) -> AbstractAsyncContextManager[Session]:
    """A transaction that sees and writes rows of ``tenant_id`` alone. Raises what ``Database.transaction`` does."""
    return database.transaction(tenant_id)


class SameSession:
    """One session for several questions, one after the other: each would wait for a free connection by itself."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @asynccontextmanager
    async def session(self, *, plans_once: bool = False) -> AsyncIterator[Session]:  # noqa: ARG002  it was begun
        """See ``Sessions``."""
        yield self._session


class TenantDatabase:
    """``database`` as one tenant sees it: for questions that are the same of a tenant and of all together."""

    def __init__(self, database: Database, tenant_id: int) -> None:
        self._database = database
        self._tenant_id = tenant_id

    def session(
        self, tenant_id: int | None = None, *, plans_once: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """See ``Database``; always of this tenant."""
        return self._database.session(self._same(tenant_id), plans_once=plans_once)

    def transaction(self, tenant_id: int | None = None) -> AbstractAsyncContextManager[Session]:
        """See ``Database``; always of this tenant."""
        return self._database.transaction(self._same(tenant_id))

    def held_lock(self, name: str) -> AbstractAsyncContextManager[HeldLock]:
        """See ``Database``."""
        return self._database.held_lock(name)

    def notified(self, channel: str) -> AbstractAsyncContextManager[Wakeup]:
        """See ``Database``."""
        return self._database.notified(channel)

    async def close(self) -> None:
        """Nothing: it belongs to who has opened it."""

    def _same(self, tenant_id: int | None) -> int:
        if tenant_id not in (None, self._tenant_id):
            raise ValueError(f"tenant {tenant_id} was asked for where tenant {self._tenant_id} is seen alone")
        return self._tenant_id
