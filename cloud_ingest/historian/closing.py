"""What a person closes in the ledger: batches that will never come, and ends of epochs that nobody will ever know.

A closing explains what is missing and takes nothing away: it is kept for ever, and what arrives all the same counts as
arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import LinesideError
from connectors.ports.database import Database, Session
from connectors.sparkplug.delivery import format_epoch

QUIET_S: Final = 600.0
"""What has been silent for so long does not arrive any more."""


class NotClosed(LinesideError):
    """Nothing was closed: the person who asked corrects what was asked, or waits."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What was closed now; nothing (``False``) when all of it had been closed before."""

    batches: BatchRanges
    end: bool
    dead_letters: int

    def __bool__(self) -> bool:
        return bool(self.batches) or self.end


async def close_epoch(
    database: Database,
    agent: str,
    epoch: Epoch,
    batches: BatchRanges | None,
    *,
    reason: str,
    by: str,
    quiet_s: float = QUIET_S,
) -> Closed:
    """Close missing ``batches`` of an epoch of ``agent`` (group/name), or all that is missing of it, its end included.

    Raises ``NotClosed`` with a sentence when there is no such epoch, when a batch of ``batches`` is not missing, and
    when something may still arrive; and ``DatabaseUnavailable``.
    """
    async with database.transaction() as session:
        row = await _epoch(session, agent, epoch, batches)
        closing, name = parse_multirange(row["closing"]), format_epoch(epoch)
        if strange := parse_multirange(row["strange"]):
            raise NotClosed(
                f"of epoch {name}, {_which(strange)} not missing: they arrived, are explained, or were never numbered. "
                f"`cloud-ingest ledger --agent {agent}` shows what is missing"
            )
        end = batches is None and row["last_batch"] is None and not row["is_newest"] and not row["has_closed_end"]
        may_come = parse_multirange(row["may_come"])
        if may_come or end:
            _refuse_what_may_come(row, agent, name, may_come, quiet_s)
        if not closing and not end:
            return Closed(closing, end, 0)
        await session.execute(
            "INSERT INTO ledger_closing (agent_id, tenant_id, epoch, batches, closes_end, reason, closed_by) "
            "VALUES ($1, $2, $3, $4::text::int8multirange, $5, $6, $7)",
            row["agent_id"],
            row["tenant_id"],
            epoch,
            format_multirange(closing),
            end,
            reason,
            by,
        )
        letters = await session.execute(
            "UPDATE dead_letter SET closed = now(), closed_reason = $4, closed_by = $5 WHERE agent_id = $1 "
            "AND epoch = $2 AND closed IS NULL AND $3::text::int8multirange @> batch",
            row["agent_id"],
            epoch,
            format_multirange(closing),
            reason,
            by,
        )
    return Closed(closing, end, letters)


async def _epoch(session: Session, agent: str, epoch: Epoch, batches: BatchRanges | None) -> Any:
    """What the ledger says of an epoch, and of those of its batches that are to be closed. Raises ``NotClosed``."""
    known = await session.fetch("SELECT agent_id FROM agent WHERE group_name || '/' || name = $1", agent)
    if not known:
        raise NotClosed(f"there is no agent {agent}; `cloud-ingest agents` lists those that are known")
    agent_id = known[0]["agent_id"]
    await session.fetch("SELECT FROM ledger WHERE agent_id = $1 AND epoch = $2 FOR UPDATE", agent_id, epoch)
    rows = await session.fetch(
        "SELECT state.*, (missing * wanted)::text AS closing, "
        "(missing * wanted - in_dead_letters - stuck)::text AS may_come, "
        "CASE WHEN $3::text IS NULL THEN '{}' ELSE (wanted - missing - closed)::text END AS strange, "
        "extract(epoch FROM now() - last_arrival)::float8 AS quiet_s, NOT EXISTS ("
        "    SELECT FROM ledger AS other WHERE other.agent_id = $1 AND other.last_batch IS NULL "
        "    AND other.first_arrival > state.first_arrival) AS is_newest "
        "FROM ledger_state AS state, "
        "    LATERAL (SELECT coalesce($3::text::int8multirange, state.missing) AS wanted) AS asked "
        "WHERE agent_id = $1 AND epoch = $2",
        agent_id,
        epoch,
        None if batches is None else format_multirange(batches),
    )
    if not rows:
        raise NotClosed(
            f"{agent} has no epoch {format_epoch(epoch)}; `cloud-ingest ledger --agent {agent}` shows its epochs"
        )
    return rows[0]


def _refuse_what_may_come(row: Any, agent: str, epoch: str, may_come: BatchRanges, quiet_s: float) -> None:
    if row["last_batch"] is None and row["is_newest"]:
        raise NotClosed(
            f"epoch {epoch} is the current one of {agent}: {_which(may_come)} not in the dead letters and may still be "
            "in its outbox, from where they come by themselves. They can be closed when the agent has started anew"
        )
    if row["quiet_s"] < quiet_s:
        raise NotClosed(
            f"something of epoch {epoch} has arrived {row['quiet_s']:.0f} s ago, and more may follow: close it when "
            f"nothing has come for {quiet_s / 60:.0f} minutes"
        )


def _which(batches: BatchRanges) -> str:
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in batches]
    shown = ", ".join(parts[:5]) + (", …" if len(parts) > 5 else "")
    return f"batch {shown} is" if len(batches) == 1 else f"batches {shown} are"
