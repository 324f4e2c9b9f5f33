"""The port to the relational store (PostgreSQL): transactions, rows, and bulk copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

Row = Mapping[str, Any]

TENANT_ROLE: Final = "lineside_tenant"
"""The role of PostgreSQL that sees the rows of one tenant alone, by row-level security (``CREATE POLICY``)."""
TENANT_SETTING: Final = "lineside.tenant"
"""The parameter that says which one it is: a role without it sees nothing."""


class Session(Protocol):
    """One connection, inside or outside of a transaction; SQL parameters are written ``$1``, ``$2`` and so on.

    Every method raises ``DatabaseUnavailable`` when the connection is lost, or the server cannot do it now; then
    nothing of an open transaction holds. It raises ``StatementRefused`` for what the server will never do. What a
    session sets (parameters, temporary tables, prepared names) it sets for its transaction only: the next user of the
    connection finds it as it was.
    """

    async def execute(self, sql: str, *args: Any) -> int:
        """Run one statement; how many rows it touched."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row of parameters, in one batch."""
        ...

    async def fetch(self, sql: str, *args: Any) -> Sequence[Row]:
        """All rows of a query."""
        ...

    async def copy(self, table: str, columns: Sequence[str], data: bytes) -> int:
        """``COPY table (columns) FROM STDIN (FORMAT binary)``; ``data`` is the whole stream with header and trailer."""
        ...


class HeldLock(Protocol):
    """A cluster-wide exclusive lock, as far as this process knows."""

    @property
    def held(self) -> bool:
        """Whether this process holds it: false when another one does, and from the moment its loss was noticed."""
        ...

    async def lost(self) -> None:
        """Return when the lock is not held (any more). While this waits, it notices a dead connection in seconds."""
        ...


class Wakeup(Protocol):
    """What was notified on one channel (``pg_notify``) since somebody last waited."""

    async def wait(self, timeout_s: float) -> None:
        """Return at the first notification since the last return, or after ``timeout_s``. One task at a time.

        Raises ``DatabaseUnavailable`` when the connection is lost: the caller looks at everything and enters anew.
        """
        ...


class Sessions(Protocol):
    """Where a question gets its session from: a database, or the transaction that it is a part of."""

    def session(self, *, plans_once: bool = False) -> AbstractAsyncContextManager[Session]:
        """See ``Database``."""
        ...


class Database(Protocol):
    """A pool of connections.

    With ``tenant_id``, a session sees and writes rows of that tenant alone; without, it has the rights of the tables'
    owner. Which tenant a session has is never left to the one after it.
    """

    def session(
        self, tenant_id: int | None = None, *, plans_once: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """A connection from the pool, each statement its own transaction. Raises ``DatabaseUnavailable``.

        ``plans_once``: the server plans each statement once, whatever its parameters are. It is for few rows of tables
        with many partitions, which take several times as long to plan as to read.
        """
        ...

    def transaction(self, tenant_id: int | None = None) -> AbstractAsyncContextManager[Session]:
        """A connection in a transaction that commits at the end of the block and is rolled back by an exception.

        Raises ``DatabaseUnavailable``; when the end of the block does, the transaction may have been committed.
        """
        ...

    def held_lock(self, name: str) -> AbstractAsyncContextManager[HeldLock]:
        """Try to take the lock ``name`` for the length of the block; the block is entered in any case.

        It is released by the end of the block, or of the connection that it lives on: who must not act without it
        waits for ``lost`` beside its work. Raises ``DatabaseUnavailable`` when entering.
        """
        ...

    def notified(self, channel: str) -> AbstractAsyncContextManager[Wakeup]:
        """Hear the notifications on ``channel`` for the length of the block.

        What is committed after the block was entered is heard. Raises ``DatabaseUnavailable`` when entering.
        """
        ...

    async def close(self) -> None:
        """Close all connections. Never raises."""
        ...
