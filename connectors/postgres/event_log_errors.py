"""The errors of the database port in the terms of the event log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, StatementRefused


@contextmanager
def as_log_errors() -> Iterator[None]:
    """Turn ``DatabaseUnavailable`` and ``StatementRefused`` into ``EventLogUnavailable``.

    The statements of the adapter are refused when its tables are not there (any more), or not writable for its user:
    for a person to mend, and for the caller a log that cannot be used until then.
    """
    try:
        yield
    except (DatabaseUnavailable, StatementRefused) as exc:
        raise EventLogUnavailable(f"the event log on PostgreSQL cannot be used now: {exc}") from exc
