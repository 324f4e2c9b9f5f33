"""Why storing failed: because of the message, because of something outside of it, or for a reason that is not known.

Only a message that is itself the reason may be set aside. What is outside of it (a right that was taken away, a table
that is being changed, a disk that is full) is waited for, or every message that comes in the meantime would be set
aside, too.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, OffsetMoved, StatementRefused

CHECK_VIOLATION: Final = "23514"
FOREIGN_KEY_VIOLATION: Final = "23503"
UNDEFINED_TABLE: Final = "42P01"
OTHER_TABLES: Final = frozenset({CHECK_VIOLATION, UNDEFINED_TABLE})
"""A partition of ``sample`` was made by another process, or dropped by hand."""

_OF_THE_MESSAGE: Final = frozenset({"21", "22", "23", "54"})
"""One row named twice; a value that its type cannot hold; a constraint; a row or an index entry that is too large."""
_UNCLEAR_CLASSES: Final = frozenset({"P0", "44"})
"""A trigger of somebody else, a view with a check."""
_UNCLEAR_STATES: Final = frozenset({FOREIGN_KEY_VIOLATION, "XX000"})
"""A row that was deleted by hand and is remembered here; a defect of the server."""


class Cause(Enum):
    """Where the reason is."""

    MESSAGE = "message"
    OUTSIDE = "outside"
    UNCLEAR = "unclear"


def cause_of(error: Exception) -> Cause:
    """Where the reason of ``error`` is, which came up when messages were stored."""
    if isinstance(error, StatementRefused):
        if error.sqlstate in _UNCLEAR_STATES or error.sqlstate[:2] in _UNCLEAR_CLASSES:
            return Cause.UNCLEAR
        return Cause.MESSAGE if error.sqlstate[:2] in _OF_THE_MESSAGE else Cause.OUTSIDE
    if isinstance(error, DatabaseUnavailable | EventLogUnavailable | OffsetMoved | OSError):
        return Cause.OUTSIDE
    return Cause.UNCLEAR  # a defect of ours, or a lack of memory: it may be that only this message brings it out


def outside(error: StatementRefused) -> DatabaseUnavailable:
    """``error`` as what it is: something that is waited for."""
    return DatabaseUnavailable(
        f"PostgreSQL refuses to store for a reason that is in no message (SQLSTATE {error.sqlstate}): {error}. Nothing "
        "is lost: mend that, and the historian goes on by itself"
    )


def reason_of(error: Exception) -> str:
    """Why something waits that failed with ``error``."""
    return str(outside(error) if isinstance(error, StatementRefused) else error)


def sentence_of(error: Exception) -> str:
    """What a dead letter says of ``error``."""
    if isinstance(error, StatementRefused):
        return str(error)
    if isinstance(error, MemoryError):
        return f"there was not enough memory to store it: {str(error) or 'MemoryError'}"
    return f"a defect of Lineside, which this message brings out: {type(error).__name__}: {error}"
