"""The delivery ledger as it is asked for: by agent and epoch what arrived, what did not, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cloud_ingest.access.sight import EVERYTHING, Sight, seen
from cloud_ingest.historian.ledger_book import parse_multirange
from connectors.model.delivery import EPOCH_MAX, BatchRanges
from connectors.ports.database import Database, Row, Session
from connectors.sparkplug.delivery import format_epoch

GAPS_MAX: Final = 1000
"""The newest gaps of each agent are told one by one; all of them are in the sums by reason."""

_OF_AGENT: Final = "($1::text IS NULL OR group_name || '/' || agent.name = $1)"
_UNNUMBERED: Final = (
    "(epoch IS NULL OR batch IS NULL OR batch >= $1 OR NOT EXISTS (SELECT FROM ledger "
    "WHERE ledger.agent_id = dead_letter.agent_id AND ledger.epoch = dead_letter.epoch))"
)
"""A dead letter that no epoch counts as missing: it counts by itself."""


@dataclass(slots=True)
class _Found:
    """What the tables say of one agent."""

    agent: str
    epochs: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    reasons: list[Row] = field(default_factory=list)
    closings: list[Row] = field(default_factory=list)
    letters: Row | None = None
    parked: Row | None = None
    delay: Row | None = None
    seen: Row | None = None


async def ledger(database: Database, agent: str | None = None, sight: Sight = EVERYTHING) -> list[dict[str, Any]]:
    """The delivery ledger of every agent of ``sight`` that has delivered, or of one."""
    async with database.session() as session:
        found = await _epochs(session, agent, sight)
        for name, rows in (
            ("gaps", await _gaps(session, agent)),
            ("reasons", await _reasons(session, agent)),
            ("closings", await _closings(session, agent)),
        ):
            for row in rows:
                if row["agent_id"] in found:
                    getattr(found[row["agent_id"]], name).append(row)
        for name, rows in (
            ("letters", await _letters(session)),
            ("parked", await _parked(session)),
            ("delay", await _delays(session)),
            ("seen", await _seen(session)),
        ):
            for row in rows:
                if row["agent_id"] in found:
                    setattr(found[row["agent_id"]], name, row)
    return [_agent(one) for one in found.values()]


async def unassigned_dead_letters(database: Database, sight: Sight = EVERYTHING) -> int:
    """Open dead letters of no agent in the ledger: of nodes that do not acknowledge, or of nobody who is known."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT count(*) AS n FROM dead_letter LEFT JOIN agent USING (agent_id) WHERE closed IS NULL "  # noqa: S608
            "AND (agent_id IS NULL OR agent_id NOT IN (SELECT agent_id FROM ledger)) "
            f"AND {seen(1, 'dead_letter.tenant_id')}",
            *sight.arguments,
        )
    return int(rows[0]["n"])


def is_settled(agents: Iterable[dict[str, Any]], unassigned: int) -> bool:
    """Whether nothing is missing that is neither explained nor closed."""
    return not unassigned and all(agent["settled"] for agent in agents)


async def _epochs(session: Session, agent: str | None, sight: Sight) -> dict[int, _Found]:
    rows = await session.fetch(
        "SELECT agent_id, group_name || '/' || name AS agent, epoch, started, first_batch, last_batch, "  # noqa: S608
        "arrived::text AS arrived, missing::text AS missing, given_up::text AS given_up, closed::text AS closed, "
        "stuck::text AS stuck, has_closed_end, samples, duplicates, first_arrival, last_arrival, missing_since "
        "FROM ledger_state "
        f"WHERE ($1::text IS NULL OR group_name || '/' || name = $1) AND {seen(2, 'tenant_id', name='name')} "
        "ORDER BY agent, started NULLS FIRST, epoch",
        agent,
        *sight.arguments,
    )
    found: dict[int, _Found] = {}
    for row in rows:
        found.setdefault(row["agent_id"], _Found(row["agent"])).epochs.append(row)
    return found


async def _gaps(session: Session, agent: str | None) -> Sequence[Row]:
    return await session.fetch(
        "SELECT * FROM (SELECT gap.*, row_number() OVER (PARTITION BY agent_id ORDER BY first_time DESC) AS place "  # noqa: S608  of our own
        f"FROM gap JOIN agent USING (agent_id) WHERE {_OF_AGENT}) AS placed "
        "WHERE place <= $2 ORDER BY first_time",
        agent,
        GAPS_MAX,
    )


async def _reasons(session: Session, agent: str | None) -> Sequence[Row]:
    return await session.fetch(
        "SELECT agent_id, epoch, reason, count(*) AS gaps, coalesce(sum(sample_count), 0)::bigint AS samples, "  # noqa: S608  of our own
        "count(*) FILTER (WHERE sample_count IS NULL) AS uncounted, "
        "coalesce(range_agg(batches), '{}')::text AS batches "
        f"FROM gap JOIN agent USING (agent_id) WHERE {_OF_AGENT} "
        "GROUP BY agent_id, epoch, reason ORDER BY reason",
        agent,
    )


async def _closings(session: Session, agent: str | None) -> Sequence[Row]:
    return await session.fetch(
        "SELECT agent_id, epoch, batches::text AS batches, closes_end, reason, closed_by, closed "  # noqa: S608  of our own
        "FROM ledger_closing "
        f"JOIN agent USING (agent_id) WHERE {_OF_AGENT} ORDER BY closed",
        agent,
    )


async def _letters(session: Session) -> Sequence[Row]:
    return await session.fetch(
        f"SELECT agent_id, count(*) AS open, count(*) FILTER (WHERE {_UNNUMBERED}) AS unnumbered "  # noqa: S608
        "FROM dead_letter WHERE closed IS NULL AND agent_id IS NOT NULL GROUP BY agent_id",
        EPOCH_MAX,
    )


async def _parked(session: Session) -> Sequence[Row]:
    return await session.fetch(
        "SELECT DISTINCT ON (agent_id) agent_id, epoch, batch, received, "
        "count(*) OVER (PARTITION BY agent_id) AS parked FROM parked_batch ORDER BY agent_id, received, epoch, batch"
    )


async def _delays(session: Session) -> Sequence[Row]:
    return await session.fetch(
        "SELECT agent_id, delay_ms, delay_p95_ms, delay_measured FROM agent WHERE delay_measured IS NOT NULL"
    )


async def _seen(session: Session) -> Sequence[Row]:
    return await session.fetch(
        "SELECT agent_id, clock_error_ms, last_seen, "
        "greatest(0, extract(epoch FROM now() - last_seen))::float8 AS silent_s FROM agent"
    )


def _began(row: Row) -> tuple[datetime, datetime]:
    """Which of two starts is the later one: a late batch of the earlier one makes it no newer."""
    return row["first_arrival"], row["started"] or datetime.min.replace(tzinfo=UTC)


def _oldest_missing(epochs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first missing batch of the epoch that has been incomplete for longest."""
    waiting = [epoch for epoch in epochs if epoch["missing"]]
    if not waiting:
        return None
    oldest = min(waiting, key=lambda epoch: epoch["missing_since"] or epoch["last_arrival"])
    return {"epoch": oldest["epoch"], "batch": oldest["missing"][0][0], "since": oldest["missing_since"]}


def _agent(found: _Found) -> dict[str, Any]:
    # No later start has told the end of the current epoch; of another one without an end, none ever will.
    current = max((row for row in found.epochs if row["last_batch"] is None), key=_began, default=None)
    epochs = [_epoch(row, found, "open" if row is current else "undeclared") for row in found.epochs]
    letters, parked, delay, seen = found.letters, found.parked, found.delay, found.seen
    missing = sum(epoch["missing_batches"] for epoch in epochs)
    unknown = sum(epoch["end"] == "undeclared" and not epoch["has_closed_end"] for epoch in epochs)
    unnumbered = 0 if letters is None else letters["unnumbered"]
    return {
        "agent": found.agent,
        "arrived": sum(epoch["arrived_batches"] for epoch in epochs),
        "missing": missing,
        "oldest_missing": _oldest_missing(epochs),
        "given_up": sum(epoch["given_up_batches"] for epoch in epochs),
        "closed": sum(epoch["closed_batches"] for epoch in epochs),
        "undeclared_epochs": sum(epoch["end"] == "undeclared" for epoch in epochs),
        "unknown_ends": unknown,
        "parked": 0 if parked is None else parked["parked"],
        "oldest_parked": None
        if parked is None
        else {"epoch": format_epoch(parked["epoch"]), "batch": parked["batch"], "received": parked["received"]},
        "stuck": sum(epoch["stuck_batches"] for epoch in epochs),
        "samples": sum(epoch["samples"] for epoch in epochs),
        "duplicates": sum(epoch["duplicates"] for epoch in epochs),
        "dead_letters": 0 if letters is None else letters["open"],
        "unnumbered_dead_letters": unnumbered,
        "delay": None
        if delay is None
        else {
            "newest_s": delay["delay_ms"] / 1000,
            "p95_s": delay["delay_p95_ms"] / 1000,
            "measured": delay["delay_measured"],
        },
        "last_arrival": max(row["last_arrival"] for row in found.epochs),
        "settled": not missing and not unknown and not unnumbered,
        "clock_error_s": None if seen is None or seen["clock_error_ms"] is None else seen["clock_error_ms"] / 1000,
        "last_seen": None if seen is None else seen["last_seen"],
        "silent_s": None if seen is None else seen["silent_s"],
        "reasons": _by_reason(found),
        "epochs": epochs,
        "closings": [
            {
                "epoch": format_epoch(row["epoch"]),
                "batches": list(parse_multirange(row["batches"])),
                "end": row["closes_end"],
                "reason": row["reason"],
                "closed_by": row["closed_by"],
                "closed": row["closed"],
            }
            for row in found.closings
        ],
        "gaps": [
            {
                "device": gap["device"],
                "reason": gap["reason"],
                "first": gap["first_time"],
                "last": gap["last_time"],
                "samples": gap["sample_count"],
                "detail": gap["detail"],
            }
            for gap in found.gaps
        ],
        "gaps_total": sum(row["gaps"] for row in found.reasons),
    }


def _by_reason(found: _Found) -> list[dict[str, Any]]:
    """What was given up or never taken, by reason: how many gaps, samples as far as they were counted, batches."""
    arrived = {row["epoch"]: parse_multirange(row["arrived"]) for row in found.epochs}
    sums: dict[str, dict[str, Any]] = {}
    for row in found.reasons:
        one = sums.setdefault(row["reason"], {"reason": row["reason"], "gaps": 0, "uncounted_gaps": 0, "samples": 0,
                                              "batches": 0})  # fmt: skip
        one["gaps"] += row["gaps"]
        one["uncounted_gaps"] += row["uncounted"]
        one["samples"] += row["samples"]
        there = arrived.get(row["epoch"], BatchRanges())
        holes = (hole for span in parse_multirange(row["batches"]) for hole in there.missing(*span))
        one["batches"] += sum(last - first + 1 for first, last in holes)
    return list(sums.values())


def _epoch(row: Row, found: _Found, unless_declared: str) -> dict[str, Any]:
    ranges = {name: parse_multirange(row[name]) for name in ("arrived", "missing", "given_up", "closed", "stuck")}
    return {
        "epoch": format_epoch(row["epoch"]),
        "started": row["started"],
        "first_batch": row["first_batch"],
        "last_batch": row["last_batch"],
        "end": unless_declared if row["last_batch"] is None else "declared",
        "has_closed_end": row["has_closed_end"],
        **{f"{name}_batches": len(batches) for name, batches in ranges.items()},
        **{name: list(batches) for name, batches in ranges.items()},
        "reasons": sorted({reason["reason"] for reason in found.reasons if reason["epoch"] == row["epoch"]}),
        "samples": row["samples"],
        "duplicates": row["duplicates"],
        "last_arrival": row["last_arrival"],
        "missing_since": row["missing_since"],
    }
