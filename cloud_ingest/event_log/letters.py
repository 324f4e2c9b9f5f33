"""Records that a projection could not take: kept with the reason, taken again when somebody asks for it, or closed.

A letter is what keeps an effect from being lost in silence: a count that is one is missing from stock. Who asks for it
to be taken only notes that. Whoever reads the partition takes it between two other records, so nothing takes records of
one key at the same time as something else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connectors.model.errors import LinesideError
from connectors.ports.database import Database, Row, Session
from connectors.ports.event_log import LogRecord

CHANNEL: Final = "lineside_event_letters"
TAKEN: Final = "taken after all"
AT_ONCE_MAX: Final = 20
"""Taken behind each other; the next after other records."""
EXPORT_ROWS: Final = 20
"""Read at a time; each can be as large as a record."""
_COLUMNS: Final = (
    "letter_id, tenant_id, projection, topic, partition, log_offset, key, reason, received, length(value) AS "
    "size_bytes, retry_asked, retry_by, retries, retry_failure, closed, closed_by, closed_reason"
)


class EventLetterUnknown(LinesideError):
    """There is no event letter of this number."""


@dataclass(frozen=True, slots=True)
class EventLetter:
    """A record that was set aside. ``value`` is only there where it was asked for."""

    number: int
    tenant_id: int
    projection: str
    topic: str
    partition: int
    offset: int
    key: str
    reason: str
    received: datetime
    size_bytes: int
    retry_asked: datetime | None
    retry_by: str | None
    retries: int
    retry_failure: str | None
    closed: datetime | None
    closed_by: str | None
    closed_reason: str | None
    value: bytes = b""

    def document(self) -> dict[str, Any]:
        """For programs; without the value."""
        names = [name for name in self.__slots__ if name != "value"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class AskedLetter:
    """A letter that is to be taken again."""

    number: int
    record: LogRecord


async def set_aside(
    session: Session,
    projection: str,
    topic: str,
    partition: int,
    record: LogRecord,
    reason: str,
    tenant_id: int | None,
) -> None:
    """Keep ``record`` as a letter, within the transaction that goes on without it."""
    await session.execute(
        "INSERT INTO event_letter (projection, topic, partition, log_offset, key, value, record_ms, reason, tenant_id) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce((SELECT tenant_id FROM tenant WHERE tenant_id = $9), 1))",
        projection,
        topic,
        partition,
        record.offset,
        record.key,
        record.value,
        record.time_ms,
        reason,
        tenant_id,
    )


async def asked_letters(database: Database, projection: str, topic: str, partition: int) -> Sequence[AskedLetter]:
    """The oldest letters of a partition that are to be taken again. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT letter_id, log_offset, key, value, record_ms FROM event_letter WHERE projection = $1 "
            "AND topic = $2 AND partition = $3 AND closed IS NULL AND retry_asked IS NOT NULL "
            "ORDER BY letter_id LIMIT $4",
            projection,
            topic,
            partition,
            AT_ONCE_MAX,
        )
    return [
        AskedLetter(
            row["letter_id"], LogRecord(row["log_offset"], bytes(row["key"]), bytes(row["value"]), row["record_ms"])
        )
        for row in rows
    ]


async def close_taken(session: Session, number: int) -> bool:
    """Close a letter within the transaction that takes it; false when it is not to be taken any more."""
    return bool(
        await session.execute(
            "UPDATE event_letter SET closed = now(), closed_by = retry_by, closed_reason = $2 "
            "WHERE letter_id = $1 AND closed IS NULL AND retry_asked IS NOT NULL",
            number,
            TAKEN,
        )
    )


async def could_not_be_taken(database: Database, number: int, reason: str) -> None:
    """Note that a letter was tried again in vain. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        await session.execute(
            "UPDATE event_letter SET retry_asked = NULL, retries = retries + 1, retry_failure = $2 "
            "WHERE letter_id = $1 AND closed IS NULL",
            number,
            reason,
        )


async def event_letters(
    database: Database,
    *,
    projection: str | None = None,
    with_closed: bool = False,
    after: int = 0,
    count_max: int = 1000,
    tenant_id: int | None = None,
) -> list[EventLetter]:
    """Letters of a tenant, or of all, by their numbers, from the one after ``after`` on.

    Raises ``DatabaseUnavailable``.
    """
    async with database.session() as session:
        rows = await session.fetch(
            f"SELECT {_COLUMNS} FROM event_letter WHERE ($1::text IS NULL OR projection = $1) "  # noqa: S608  our own
            "AND ($2 OR closed IS NULL) AND letter_id > $3 AND ($5::int IS NULL OR tenant_id = $5) "
            "ORDER BY letter_id LIMIT $4",
            projection,
            with_closed,
            after,
            count_max,
            tenant_id,
        )
    return [_letter(row) for row in rows]


async def exported_letters(
    database: Database, *, projection: str | None = None, with_closed: bool = False
) -> AsyncIterator[EventLetter]:
    """All letters with their values, a few at a time. Raises ``DatabaseUnavailable``."""
    after = 0
    while page := await event_letters(
        database, projection=projection, with_closed=with_closed, after=after, count_max=EXPORT_ROWS
    ):
        for one in page:
            yield await event_letter(database, one.number)
        after = page[-1].number


async def open_letters(database: Database, tenant_id: int | None = None) -> int:
    """How many of a tenant, or of all, are open: effects that are missing until they are taken or closed.

    Raises ``DatabaseUnavailable``.
    """
    async with database.session() as session:
        (row,) = await session.fetch(
            "SELECT count(*) AS n FROM event_letter WHERE closed IS NULL AND ($1::int IS NULL OR tenant_id = $1)",
            tenant_id,
        )
    return int(row["n"])


async def event_letter(database: Database, number: int) -> EventLetter:
    """One letter with its value. Raises ``EventLetterUnknown`` and ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(
            f"SELECT {_COLUMNS}, value FROM event_letter WHERE letter_id = $1",  # noqa: S608  columns of our own
            number,
        )
    if not rows:
        raise EventLetterUnknown(
            f"there is no event letter {number}; `cloud-ingest event-letters list --all` lists them"
        )
    return _letter(rows[0], bytes(rows[0]["value"]))


async def ask_again(database: Database, number: int, *, by: str) -> bool:
    """Have a letter taken by whoever reads its partition; false when it is closed.

    Raises ``EventLetterUnknown`` and ``DatabaseUnavailable``.
    """
    async with database.transaction() as session:
        asked = await session.execute(
            "UPDATE event_letter SET retry_asked = now(), retry_by = $2 WHERE letter_id = $1 AND closed IS NULL",
            number,
            by,
        )
        await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
    if not asked:
        await event_letter(database, number)
    return bool(asked)


async def close_event_letter(database: Database, number: int, *, reason: str, by: str) -> bool:
    """Close a letter: its effect is lost for this reason; false when it has been closed before.

    Raises ``EventLetterUnknown`` and ``DatabaseUnavailable``.
    """
    async with database.session() as session:
        closed = await session.execute(
            "UPDATE event_letter SET closed = now(), closed_by = $2, closed_reason = $3, retry_asked = NULL "
            "WHERE letter_id = $1 AND closed IS NULL",
            number,
            by,
            reason,
        )
    if not closed:
        await event_letter(database, number)
    return bool(closed)


def _letter(row: Row, value: bytes = b"") -> EventLetter:
    return EventLetter(
        int(row["letter_id"]),
        row["tenant_id"],
        row["projection"],
        row["topic"],
        row["partition"],
        row["log_offset"],
        bytes(row["key"]).decode("utf-8", "replace"),
        row["reason"],
        row["received"],
        row["size_bytes"],
        row["retry_asked"],
        row["retry_by"],
        row["retries"],
        row["retry_failure"],
        row["closed"],
        row["closed_by"],
        row["closed_reason"],
        value,
    )
