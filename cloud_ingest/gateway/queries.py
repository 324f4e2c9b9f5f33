"""Questions to the store, as SQL: one function each, for the API and the commands alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cloud_ingest.historian.ledger_book import parse_multirange
from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.errors import LinesideError
from connectors.model.quality import name_of
from connectors.ports.database import Database, Row
from connectors.sparkplug.delivery import format_epoch

NOT_MIGRATED: Final = "the database has no tables yet; run 'cloud-ingest migrate'"
UNDEFINED_TABLE: Final = "42P01"


class NotFound(LinesideError):
    """What was asked for is not known; the caller adds how to find out what is."""


@dataclass(frozen=True, slots=True)
class TagChoice:
    """Which tags: by agent (``group/name``), device, a part of the name; ``None`` leaves a column open."""

    agent: str | None = None
    device: str | None = None
    search: str | None = None
    after_tag_id: int = 0
    count_max: int = 1000


async def agents(database: Database, agent: str | None = None) -> list[dict[str, Any]]:
    """Every agent and node that was ever seen, with its devices."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT agent.*, tenant.name AS tenant, "
            "(SELECT count(*) FROM tag WHERE tag.agent_id = agent.agent_id) AS tags "
            "FROM agent JOIN tenant USING (tenant_id) "
            "WHERE $1::text IS NULL OR group_name || '/' || agent.name = $1 ORDER BY group_name, agent.name",
            agent,
        )
        devices = await session.fetch(
            "SELECT agent_id, name, online, online_changed FROM device ORDER BY agent_id, name"
        )
    by_agent: dict[int, list[dict[str, Any]]] = {}
    for row in devices:
        device = {"device": row["name"], "online": row["online"], "since": row["online_changed"]}
        by_agent.setdefault(row["agent_id"], []).append(device)
    return [
        {
            "agent": f"{row['group_name']}/{row['name']}",
            "tenant": row["tenant"],
            "acknowledges": row["acknowledges"],
            "online": row["online"],
            "since": row["online_changed"],
            "version": row["version"],
            "first_seen": row["first_seen"],
            "last_seen": row["last_seen"],
            "tags": row["tags"],
            "devices": by_agent.get(row["agent_id"], []),
        }
        for row in rows
    ]


async def tags(database: Database, choice: TagChoice) -> list[dict[str, Any]]:
    """Tags in the order of their ids, from ``after_tag_id`` on."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT tag_id, group_name, agent.name AS agent_name, device, tag.name, datatype, unit, description "
            "FROM tag JOIN agent USING (agent_id) WHERE tag_id > $1 "
            "AND ($2::text IS NULL OR group_name || '/' || agent.name = $2) AND ($3::text IS NULL OR device = $3) "
            "AND ($4::text IS NULL OR strpos(lower(tag.name), lower($4)) > 0) ORDER BY tag_id LIMIT $5",
            choice.after_tag_id,
            choice.agent,
            choice.device,
            choice.search,
            choice.count_max,
        )
    return [_tag(row) for row in rows]


async def find_tag(
    database: Database, *, tag_id: int | None, agent: str | None, device: str, name: str | None
) -> dict[str, Any]:
    """One tag, by its id or by agent, device and name. Raises ``NotFound``."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT tag_id, group_name, agent.name AS agent_name, device, tag.name, datatype, unit, description "
            "FROM tag JOIN agent USING (agent_id) WHERE tag_id = $1 "
            "OR ($1::int IS NULL AND group_name || '/' || agent.name = $2 AND device = $3 AND tag.name = $4)",
            tag_id,
            agent,
            device,
            name,
        )
    if not rows:
        asked = f"tag id {tag_id}" if tag_id is not None else f"tag {name!r} of device {device!r} of agent {agent!r}"
        raise NotFound(f"there is no {asked}")
    return _tag(rows[0])


async def samples(
    database: Database, tag_id: int, begin: datetime, end: datetime, count_max: int
) -> tuple[list[dict[str, Any]], datetime | None]:
    """Samples with ``begin`` <= time < ``end`` in order, and where the next page begins (``None``: that was all).

    A page ends between two different times, so that no sample is left out or given twice.
    """
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT time, quality, value_double, value_int, value_bool, value_text, value_bytes FROM sample "
            "WHERE tag_id = $1 AND time >= $2 AND time < $3 ORDER BY time LIMIT $4",
            tag_id,
            begin,
            end,
            count_max + 1,
        )
    following: datetime | None = None
    if len(rows) > count_max:
        following = rows[count_max]["time"]
        kept = [row for row in rows[:count_max] if row["time"] < following]
        if kept:
            rows = kept
        else:  # more samples of one time than fit a page
            rows, following = rows[:count_max], following + timedelta(microseconds=1)
    return [_sample(row) for row in rows], following


async def buckets(
    database: Database, tag_id: int, begin: datetime, end: datetime, bucket_s: float, count_max: int
) -> tuple[list[dict[str, Any]], datetime | None]:
    """Samples gathered into intervals of ``bucket_s`` that begin at multiples of it (since 2000-01-01 UTC).

    The second part of the answer is where the next page begins (``None``: that was all).

    ``mean``, ``min`` and ``max`` are of good numbers; Boolean counts as 0 and 1. Empty intervals are left out.
    """
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT bucket, count(*) AS count, count(*) FILTER (WHERE good) AS good, "
            "avg(value) FILTER (WHERE good) AS mean, "
            "min(value) FILTER (WHERE good) AS low, max(value) FILTER (WHERE good) AS high FROM ("
            "SELECT date_bin($4::float8 * interval '1 second', time, '2000-01-01 00:00:00+00') AS bucket, "
            "coalesce(value_double, value_int::float8, value_bool::int::float8) AS value, quality >> 14 = 0 AS good "
            "FROM sample WHERE tag_id = $1 AND time >= $2 AND time < $3) AS binned "
            "GROUP BY bucket ORDER BY bucket LIMIT $5",
            tag_id,
            begin,
            end,
            bucket_s,
            count_max + 1,
        )
    following: datetime | None = rows[count_max]["bucket"] if len(rows) > count_max else None
    gathered = [
        {
            "time": row["bucket"],
            "count": row["count"],
            "good": row["good"],
            "mean": _finite(row["mean"]),
            "min": _finite(row["low"]),
            "max": _finite(row["high"]),
        }
        for row in rows[:count_max]
    ]
    return gathered, following


async def ledger(database: Database, agent: str | None = None) -> list[dict[str, Any]]:
    """The delivery ledger by agent: what arrived of each epoch, what is missing, what was given up and why."""
    async with database.session() as session:
        epochs = await session.fetch(
            "SELECT agent_id, group_name || '/' || name AS agent, epoch, started, first_batch, last_batch, "
            "arrived::text AS arrived, missing::text AS missing, "
            "given_up::text AS given_up, samples, duplicates, last_arrival FROM ledger_state "
            "WHERE $1::text IS NULL OR group_name || '/' || name = $1 ORDER BY agent, started NULLS FIRST, epoch",
            agent,
        )
        gaps = await session.fetch(
            "SELECT agent_id, device, reason, first_time, last_time, sample_count, detail FROM gap "
            "WHERE $1::text IS NULL OR agent_id = (SELECT agent_id FROM agent WHERE group_name || '/' || name = $1) "
            "ORDER BY first_time",
            agent,
        )
        letters = await session.fetch(
            "SELECT agent_id, count(*) AS open FROM dead_letter WHERE closed IS NULL GROUP BY agent_id"
        )
        waiting = await session.fetch("SELECT agent_id, count(*) AS parked FROM parked_batch GROUP BY agent_id")
    parked_of = {row["agent_id"]: int(row["parked"]) for row in waiting}
    letters_of = {row["agent_id"]: int(row["open"]) for row in letters}
    gaps_of: dict[int, list[Row]] = {}
    for row in gaps:
        gaps_of.setdefault(row["agent_id"], []).append(row)
    by_agent: dict[int, list[Row]] = {}
    for row in epochs:
        by_agent.setdefault(row["agent_id"], []).append(row)
    return [
        _agent_ledger(rows, gaps_of.get(agent_id, []), letters_of.get(agent_id, 0), parked_of.get(agent_id, 0))
        for agent_id, rows in by_agent.items()
    ]


async def unassigned_dead_letters(database: Database) -> int:
    """Messages that were set aside and could not be given to any agent."""
    async with database.session() as session:
        rows = await session.fetch("SELECT count(*) AS n FROM dead_letter WHERE agent_id IS NULL AND closed IS NULL")
    return int(rows[0]["n"])


async def is_migrated(database: Database) -> bool:
    """Whether the tables are there. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch("SELECT to_regclass('ledger_state') IS NOT NULL AS there")
    return bool(rows[0]["there"])


def _agent_ledger(rows: Sequence[Row], gaps: Sequence[Row], dead_letters: int, parked: int) -> dict[str, Any]:
    # No later start has told the end of the current epoch; of another one without an end, none ever will.
    current = max((row for row in rows if row["last_batch"] is None), key=lambda row: row["last_arrival"], default=None)
    epochs = [_epoch(row, "open" if row is current else "undeclared") for row in rows]
    return {
        "agent": rows[0]["agent"],
        "arrived": sum(epoch["arrived_batches"] for epoch in epochs),
        "missing": sum(epoch["missing_batches"] for epoch in epochs),
        "given_up": sum(epoch["given_up_batches"] for epoch in epochs),
        "undeclared_epochs": sum(epoch["end"] == "undeclared" for epoch in epochs),
        "parked": parked,
        "samples": sum(epoch["samples"] for epoch in epochs),
        "duplicates": sum(epoch["duplicates"] for epoch in epochs),
        "dead_letters": dead_letters,
        "last_arrival": max(row["last_arrival"] for row in rows),
        "epochs": epochs,
        "gaps": [
            {
                "device": gap["device"],
                "reason": gap["reason"],
                "first": gap["first_time"],
                "last": gap["last_time"],
                "samples": gap["sample_count"],
                "detail": gap["detail"],
            }
            for gap in gaps
        ],
    }


def _epoch(row: Row, unless_declared: str) -> dict[str, Any]:
    arrived: BatchRanges = parse_multirange(row["arrived"])
    missing: BatchRanges = parse_multirange(row["missing"])
    given_up: BatchRanges = parse_multirange(row["given_up"])
    return {
        "epoch": format_epoch(row["epoch"]),
        "started": row["started"],
        "first_batch": row["first_batch"],
        "last_batch": row["last_batch"],
        "end": unless_declared if row["last_batch"] is None else "declared",
        "arrived_batches": len(arrived),
        "arrived": list(arrived),
        "missing_batches": len(missing),
        "missing": list(missing),
        "given_up_batches": len(given_up),
        "given_up": list(given_up),
        "samples": row["samples"],
        "duplicates": row["duplicates"],
        "last_arrival": row["last_arrival"],
    }


def _tag(row: Row) -> dict[str, Any]:
    return {
        "tag_id": row["tag_id"],
        "agent": f"{row['group_name']}/{row['agent_name']}",
        "device": row["device"],
        "tag": row["name"],
        "type": DataType(row["datatype"]).label,
        "unit": row["unit"],
        "description": row["description"],
    }


def _sample(row: Row) -> dict[str, Any]:
    value: Any = next(
        (
            row[column]
            for column in ("value_double", "value_int", "value_bool", "value_text")
            if row[column] is not None
        ),
        None,
    )
    if value is None and row["value_bytes"] is not None:
        value = bytes(row["value_bytes"]).hex()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return {"time": row["time"], "value": value, "quality": name_of(row["quality"])}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
