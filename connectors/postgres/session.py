"""One connection to PostgreSQL, as the port has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import asyncpg

from connectors.ports.database import Row
from connectors.postgres.driver import Connection
from connectors.postgres.errors import translated

_COPY_CHUNK_BYTES: Final = 1_048_576
"""Measured: larger messages cost the client more than they save, as the part of them that the socket does not take at
once is copied again."""


class PostgresRow(asyncpg.Record):
    """A row that iterates over its column names, as a mapping does; a number as key gives a column by its place."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


Mapping.register(PostgresRow)


class PostgresSession:
    """See ``Session``. One task at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, *args: Any) -> int:
        """See ``Session``."""
        with translated(self._connection):
            return _count(await self._connection.execute(sql, *args))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See ``Session``."""
        with translated(self._connection):
            await self._connection.executemany(sql, rows)

    async def fetch(self, sql: str, *args: Any) -> Sequence[Row]:
        """See ``Session``."""
        with translated(self._connection):
            return cast(Sequence[Row], await self._connection.fetch(sql, *args))

    async def copy(self, table: str, columns: Sequence[str], data: bytes) -> int:
        """See ``Session``. ``table`` may carry its schema: ``schema.table``."""
        schema, _, name = table.rpartition(".")
        whole = memoryview(data)
        with translated(self._connection):
            status = await self._connection.copy_to_table(
                name,
                schema_name=schema or None,
                columns=columns,
                format="binary",
                source=whole if len(whole) <= _COPY_CHUNK_BYTES else _chunks(whole),
            )
            return _count(status)


def _count(status: str) -> int:
    """The number at the end of a status such as ``INSERT 0 5``; 0 for a statement that has none."""
    number = status.rpartition(" ")[2]
    return int(number) if number.isdigit() else 0


async def _chunks(whole: memoryview) -> AsyncIterator[memoryview]:
    for start in range(0, len(whole), _COPY_CHUNK_BYTES):
        yield whole[start : start + _COPY_CHUNK_BYTES]
