"""asyncpg as the other modules use it. It has no type annotations, so its objects are ``Any`` to the type checker."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from asyncpg.exceptions import DataError, InterfaceError, InternalClientError, PostgresError

Connection = Any
Pool = Any

connect: Final[Any] = asyncpg.connect
create_pool: Final[Any] = asyncpg.create_pool

CAUGHT: Final = (PostgresError, InterfaceError, InternalClientError, OSError, TimeoutError)
"""Everything that a statement or a connection fails with."""

__all__ = [
    "CAUGHT",
    "Connection",
    "DataError",
    "InterfaceError",
    "Pool",
    "PostgresError",
    "connect",
    "create_pool",
]
