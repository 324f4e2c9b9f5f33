"""Questions to the store, as SQL: one function each, for the API and the commands alike."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connectors.model.errors import LinesideError
from connectors.model.quality import name_of
from connectors.ports.database import Database, Row
from connectors.sparkplug.type_numbers import type_label

NOT_MIGRATED: Final = "the database has no tables yet; run 'cloud-ingest migrate'"
OUTDATED: Final = "the tables in the database are of an older version; run 'cloud-ingest migrate'"
UNDEFINED_TABLE: Final = "42P01"
UNDEFINED_COLUMN: Final = "42703"


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
            "SELECT * FROM tag_state WHERE tag_id > $1 "
            "AND ($2::text IS NULL OR group_name || '/' || agent_name = $2) AND ($3::text IS NULL OR device = $3) "
            "AND ($4::text IS NULL OR strpos(lower(name), lower($4)) > 0) ORDER BY tag_id LIMIT $5",
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
            "SELECT * FROM tag_state WHERE tag_id = $1 "
            "OR ($1::int IS NULL AND group_name || '/' || agent_name = $2 AND device = $3 AND name = $4)",
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


async def is_migrated(database: Database) -> bool:
    """Whether the tables are there. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch("SELECT to_regclass('ledger_state') IS NOT NULL AS there")
    return bool(rows[0]["there"])


def _tag(row: Row) -> dict[str, Any]:
    return {
        "tag_id": row["tag_id"],
        "agent": f"{row['group_name']}/{row['agent_name']}",
        "device": row["device"],
        "tag": row["name"],
        "type": type_label(row["datatype"]),
        "unit": row["unit"],
        "description": row["description"],
        "properties": json.loads(row["properties"]) if row["properties"] else {},
        "stale": row["stale"],
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
