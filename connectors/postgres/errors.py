"""What asyncpg raises, in the terms of the ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.postgres.driver import CAUGHT, Connection, DataError, InterfaceError, PostgresError

_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
"""Connection lost; rolled back for a deadlock or a conflict; out of disk, memory or connections; shut down or
cancelled; an error of the machine."""
_PASSING_STATES: Final = frozenset({"25006", "55P03"})
"""A server that only reads now (it has become a standby); a lock that was not free in time."""


@contextmanager
def translated(connection: Connection) -> Iterator[None]:
    """Turn what asyncpg raises in the block into ``DatabaseUnavailable`` or ``StatementRefused``.

    Unless it was the server that refused, ``connection`` is closed at once: what it is in the middle of is unknown.
    """
    try:
        yield
    except PostgresError as exc:
        raise _said_by_server(exc) from exc
    except DataError as exc:
        raise StatementRefused(str(exc), sqlstate="22000") from exc
    except CAUGHT as exc:
        if "another operation is in progress" in str(exc):
            raise  # two tasks share a session: a defect, which no waiting mends
        terminate(connection)
        reason = "it did not answer in time" if isinstance(exc, TimeoutError) else str(exc)
        raise DatabaseUnavailable(f"the connection to PostgreSQL is lost: {reason}") from exc


def usable(connection: Connection) -> bool:
    """Whether ``connection`` is open, as far as its client knows (one that the pool has taken back is not)."""
    try:
        return not connection.is_closed()
    except InterfaceError:
        return False


def terminate(connection: Connection) -> None:
    """Close ``connection`` without a word to the server, if that has not happened yet."""
    with suppress(InterfaceError):
        connection.terminate()


def _said_by_server(exc: PostgresError) -> DatabaseUnavailable | StatementRefused:
    state: str = getattr(exc, "sqlstate", None) or ""
    if state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
        return DatabaseUnavailable(f"PostgreSQL cannot do this now: {exc}")
    return StatementRefused(str(exc), sqlstate=state, constraint=getattr(exc, "constraint_name", None) or "")
