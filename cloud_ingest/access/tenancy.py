"""Sessions that see one tenant alone, by PostgreSQL's row-level security (``CREATE POLICY``).

The role ``lineside_tenant`` sees rows whose ``tenant_id`` is the one that its transaction has named, and none when it
has named none. So a question that forgot its ``WHERE`` shows nothing of another tenant. Projections and upkeep work
for all tenants, with the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from connectors.ports.database import Database, Session

ROLE: Final = "lineside_tenant"


@asynccontextmanager
async def tenant_transaction(database: Database, tenant_id: int) -> AsyncIterator[Session]:
    """A transaction that sees and writes rows of ``tenant_id`` alone. Raises what ``Database.transaction`` does."""
    async with database.transaction() as session:
        await enter_tenant(session, tenant_id)
        yield session


async def enter_tenant(session: Session, tenant_id: int) -> None:
    """From here to the end of its transaction, ``session`` is one of ``tenant_id``."""
    await session.execute(f"SET LOCAL ROLE {ROLE}")
    await session.fetch("SELECT set_config('lineside.tenant', $1, true)", str(tenant_id))
