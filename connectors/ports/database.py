"""The port to the relational store (PostgreSQL): transactions, rows, and bulk copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]


class Session(Protocol):
    """One connection, inside or outside of a transaction; SQL parameters are written ``$1``, ``$2`` and so on.

    Every method raises ``DatabaseUnavailable`` when the connection is lost; then nothing of an open transaction holds.
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


class Database(Protocol):
    """A pool of connections."""

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection from the pool, each statement its own transaction."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """A connection in a transaction that commits at the end of the block and is rolled back by an exception."""
        ...

    def held_lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """A cluster-wide exclusive lock for the length of the block: true when this process holds it.

        It is released by the end of the block, or of the connection it lives on.
        """
        ...

    async def close(self) -> None:
        """Close all connections. Never raises."""
        ...
