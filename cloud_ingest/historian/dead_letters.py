"""The dead letters as people work with them: listed, exported, closed. What they are put in by: ``storing``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud_ingest.access.sight import EVERYTHING, Sight, seen
from connectors.model.delivery import EPOCH_MAX, Epoch
from connectors.model.errors import LinesideError
from connectors.ports.database import Database
from connectors.sparkplug.delivery import format_epoch

EXPORT_ROWS: Final = 20
"""Read at a time; each can be as large as a message."""
_COLUMNS: Final = (
    "dead_letter_id, agent_id, group_name || '/' || agent.name AS agent, epoch, batch, topic, reason, received, "
    "recorded, length(payload) AS size_bytes, closed, closed_by, closed_reason, replays, replay_failure"
)


class LetterUnknown(LinesideError):
    """There is no dead letter of this number."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was set aside. ``payload`` is only there where it was asked for."""

    number: int
    agent_id: int | None
    agent: str | None
    epoch: Epoch | None
    batch: int | None
    topic: str
    reason: str
    received: datetime
    recorded: datetime
    size_bytes: int
    closed: datetime | None
    closed_by: str | None
    closed_reason: str | None
    replays: int
    replay_failure: str | None
    payload: bytes = b""

    def document(self) -> dict[str, Any]:
        """For programs; without the payload."""
        return {
            "number": self.number,
            "agent": self.agent,
            "epoch": None if self.epoch is None else format_epoch(self.epoch),
            "batch": self.batch,
            "topic": self.topic,
            "reason": self.reason,
            "received": self.received,
            "recorded": self.recorded,
            "size_bytes": self.size_bytes,
            "closed": self.closed,
            "closed_by": self.closed_by,
            "closed_reason": self.closed_reason,
            "replays": self.replays,
            "replay_failure": self.replay_failure,
        }


async def letters(
    database: Database,
    *,
    agent: str | None = None,
    with_closed: bool = False,
    after: int = 0,
    count_max: int = 1000,
    sight: Sight = EVERYTHING,
) -> list[Letter]:
    """Dead letters in the order of their numbers, from the one after ``after`` on. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(
            f"SELECT {_COLUMNS} FROM dead_letter LEFT JOIN agent USING (agent_id) "  # noqa: S608  columns of our own
            "WHERE ($1::text IS NULL OR group_name || '/' || agent.name = $1) AND ($2 OR closed IS NULL) "
            f"AND dead_letter_id > $3 AND {seen(5, 'dead_letter.tenant_id')} ORDER BY dead_letter_id LIMIT $4",
            agent,
            with_closed,
            after,
            count_max,
            *sight.arguments,
        )
    return [_letter(row) for row in rows]


async def letter(database: Database, number: int) -> Letter:
    """One dead letter with its payload. Raises ``LetterUnknown`` and ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(
            f"SELECT {_COLUMNS}, payload FROM dead_letter LEFT JOIN agent USING (agent_id) "  # noqa: S608
            "WHERE dead_letter_id = $1",
            number,
        )
    if not rows:
        raise LetterUnknown(f"there is no dead letter {number}; `cloud-ingest dead-letters list --all` lists them")
    return _letter(rows[0], bytes(rows[0]["payload"]))


async def exported(database: Database, *, agent: str | None = None, with_closed: bool = False) -> AsyncIterator[Letter]:
    """All dead letters with their payloads, a few at a time."""
    after = 0
    while page := await letters(database, agent=agent, with_closed=with_closed, after=after, count_max=EXPORT_ROWS):
        for one in page:
            yield await letter(database, one.number)
        after = page[-1].number


async def close_letter(database: Database, number: int, *, reason: str, by: str) -> bool:
    """Close a dead letter: its message is lost for this reason; false when it has been closed before.

    Raises ``LetterUnknown`` and ``DatabaseUnavailable``.
    """
    async with database.session() as session:
        closed = await session.execute(
            "UPDATE dead_letter SET closed = now(), closed_by = $2, closed_reason = $3 "
            "WHERE dead_letter_id = $1 AND closed IS NULL",
            number,
            by,
            reason,
        )
    if not closed:
        await letter(database, number)
    return bool(closed)


def is_numbered(epoch: int | None, batch: int | None) -> bool:
    """Whether a message has a place in the ledger."""
    return epoch is not None and batch is not None and 0 < batch < EPOCH_MAX


def _letter(row: Any, payload: bytes = b"") -> Letter:
    return Letter(
        int(row["dead_letter_id"]),
        row["agent_id"],
        row["agent"],
        row["epoch"],
        row["batch"],
        row["topic"],
        row["reason"],
        row["received"],
        row["recorded"],
        int(row["size_bytes"]),
        row["closed"],
        row["closed_by"],
        row["closed_reason"],
        int(row["replays"]),
        row["replay_failure"],
        payload,
    )
