"""Sessions that see one tenant alone, by PostgreSQL's row-level security (``CREATE POLICY``).

The role ``lineside_tenant`` sees rows whose ``tenant_id`` is the one that its transaction has named, and none when it
has named none. So a question that forgot its ``WHERE`` shows nothing of another tenant. Projections and upkeep work
for all tenants, with the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from connectors.ports.database import Database, HeldLock, Session, Wakeup

ROLE: Final = "lineside_tenant"


@asynccontextmanager
async def tenant_transaction(database: Database, tenant_id: int) -> AsyncIterator[Session]:
    """A transaction that sees and writes rows of ``tenant_id`` alone. Raises what ``Database.transaction`` does."""
    async with database.transaction() as session:
        await enter_tenant(session, tenant_id)
        yield session


async def enter_tenant(session: Session, tenant_id: int) -> None:
    """From here to the end of its transaction, ``session`` is one of ``tenant_id``."""
    await session.fetch(
        f"SELECT set_config('role', '{ROLE}', true), set_config('lineside.tenant', $1, true)",
        str(tenant_id),
    )


class TenantDatabase:
    """``database`` as one tenant sees it: for questions that are the same for a tenant and for the whole installation.

    A session of it is a transaction, whose statements see one state of the database each.
    """

    def __init__(self, database: Database, tenant_id: int) -> None:
        self._database = database
        self._tenant_id = tenant_id

    def session(self) -> AbstractAsyncContextManager[Session]:
        """See ``Database``."""
        return tenant_transaction(self._database, self._tenant_id)

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """See ``Database``."""
        return tenant_transaction(self._database, self._tenant_id)

    def held_lock(self, name: str) -> AbstractAsyncContextManager[HeldLock]:
        """See ``Database``."""
        return self._database.held_lock(name)

    def notified(self, channel: str) -> AbstractAsyncContextManager[Wakeup]:
        """See ``Database``."""
        return self._database.notified(channel)

    async def close(self) -> None:
        """Nothing: it belongs to who has opened it."""
