"""Questions to the store, as SQL: one function each, for the API and the commands alike."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cloud_ingest.access.sight import EVERYTHING, Sight, seen
from cloud_ingest.commands import files
from cloud_ingest.commands.standing import COLUMNS, JOINS, standing
from connectors.model.errors import LinesideError
from connectors.model.quality import name_of
from connectors.ports.database import Database, Row, Session, Sessions
from connectors.sparkplug.type_numbers import type_label

NOT_MIGRATED: Final = "the database has no tables yet; run 'cloud-ingest migrate'"
OUTDATED: Final = "the tables in the database are of an older version; run 'cloud-ingest migrate'"
UNDEFINED_TABLE: Final = "42P01"
UNDEFINED_COLUMN: Final = "42703"
_OF_TAGS: Final = ("tenant_id", "group_name", "agent_name")


FIRST_LOOK: Final = timedelta(minutes=10)
LOOK_GROWTH: Final = 8
_SAMPLES: Final = (
    "SELECT time, quality, value_double, value_int, value_bool, value_text, value_bytes FROM sample_all "
    "WHERE tag_id = $1 AND time >= $2 AND time < $3 "
    "AND hour >= date_trunc('hour', $2::timestamptz, 'UTC') AND hour < $3 ORDER BY time {limit}"
)
_TAG: Final = "SELECT * FROM tag_state WHERE "
_TAG_BY_ID: Final = f"{_TAG} tag_id = $1 AND {seen(2, *_OF_TAGS)}"
_TAG_BY_NAME: Final = (
    f"{_TAG} group_name = $1 AND agent_name = $2 AND device = $3 AND name = $4 AND {seen(5, *_OF_TAGS)}"
)
"""Two texts, so that each is planned once: a plan for either would have to look at every tag."""


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
    sight: Sight = EVERYTHING


async def agents(database: Database, agent: str | None = None, sight: Sight = EVERYTHING) -> list[dict[str, Any]]:
    """Every agent and node of ``sight`` that was ever seen, with its devices."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT agent.*, tenant.name AS tenant, devices.*, "  # noqa: S608  of our own
            "(SELECT count(*) FROM tag WHERE tag.agent_id = agent.agent_id) AS tags, "
            f"{COLUMNS} FROM agent JOIN tenant ON tenant.tenant_id = agent.tenant_id {JOINS} CROSS JOIN LATERAL ("
            "    SELECT array_agg(name ORDER BY name) AS names, array_agg(online ORDER BY name) AS onlines, "
            "    array_agg(online_changed ORDER BY name) AS changes FROM device WHERE device.agent_id = agent.agent_id"
            ") AS devices "
            f"WHERE ($1::text IS NULL OR group_name || '/' || agent.name = $1) AND {seen(2)} "
            "ORDER BY group_name, agent.name",
            agent,
            *sight.arguments,
        )
        used = await files.used(session)
    return [
        {
            **standing(row),
            "agent": f"{row['group_name']}/{row['name']}",
            "tenant": row["tenant"],
            "acknowledges": row["acknowledges"],
            "online": row["online"],
            "since": row["online_changed"],
            "version": row["version"],
            "clock_error_s": None if row["clock_error_ms"] is None else row["clock_error_ms"] / 1000,
            "first_seen": row["first_seen"],
            "last_seen": row["last_seen"],
            "tags": row["tags"],
            "devices": [
                {"device": name, "online": online, "since": since}
                for name, online, since in zip(
                    row["names"] or (), row["onlines"] or (), row["changes"] or (), strict=True
                )
            ],
            "files": used.get(row["agent_id"], []),
        }
        for row in rows
    ]


async def tags(database: Database, choice: TagChoice) -> list[dict[str, Any]]:
    """Tags in the order of their ids, from ``after_tag_id`` on."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT * FROM tag_state WHERE tag_id > $1 "  # noqa: S608  of our own
            "AND ($2::text IS NULL OR group_name || '/' || agent_name = $2) AND ($3::text IS NULL OR device = $3) "
            "AND ($4::text IS NULL OR strpos(lower(name), lower($4)) > 0) "
            f"AND {seen(6, *_OF_TAGS)} ORDER BY tag_id LIMIT $5",
            choice.after_tag_id,
            choice.agent,
            choice.device,
            choice.search,
            choice.count_max,
            *choice.sight.arguments,
        )
    return [_tag(row) for row in rows]


async def find_tag(
    database: Sessions,
    *,
    tag_id: int | None,
    agent: str | None,
    device: str,
    name: str | None,
    sight: Sight = EVERYTHING,
) -> dict[str, Any]:
    """One tag of ``sight``, by its id or by agent, device and name. Raises ``NotFound``."""
    group, _, agent_name = ("" if agent is None else agent).partition("/")
    by_id = tag_id is not None
    async with database.session(plans_once=True) as session:
        rows = await session.fetch(
            _TAG_BY_ID if by_id else _TAG_BY_NAME,
            *((tag_id,) if by_id else (group, agent_name, device, name)),
            *sight.arguments,
        )
    if not rows:
        asked = f"tag id {tag_id}" if by_id else f"tag {name!r} of device {device!r} of agent {agent!r}"
        raise NotFound(f"there is no {asked}")
    return _tag(rows[0])


async def named_tags(
    database: Sessions, asked: Sequence[int | tuple[str, str, str]], sight: Sight = EVERYTHING
) -> list[dict[str, Any]]:
    """The tags of ``sight`` among ``asked`` (id, or agent, device and name), in the order of their ids."""
    names = [one for one in asked if not isinstance(one, int)]
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT * FROM tag_state WHERE (tag_id = ANY($1) OR (group_name || '/' || agent_name, device, name) IN "  # noqa: S608
            f"(SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))) AND {seen(5, *_OF_TAGS)} ORDER BY tag_id",
            [one for one in asked if isinstance(one, int)],
            *([name[at] for name in names] for at in range(3)),
            *sight.arguments,
        )
    return [_tag(row) for row in rows]


async def samples(
    database: Sessions, tag_id: int, begin: datetime, end: datetime, count_max: int
) -> tuple[list[dict[str, Any]], datetime | None]:
    """``stored_samples`` as the API tells them."""
    rows, following = await stored_samples(database, tag_id, begin, end, count_max)
    return [_sample(row) for row in rows], following


async def stored_samples(
    database: Sessions, tag_id: int, begin: datetime, end: datetime, count_max: int
) -> tuple[Sequence[Row], datetime | None]:
    """Samples with ``begin`` <= time < ``end`` in order, and where the next page begins (``None``: that was all).

    A page ends between two different times, so that no sample is left out or given twice. It is longer than
    ``count_max`` where more samples than that have one time.
    """
    async with database.session(plans_once=True) as session:
        rows = await _first_samples(session, tag_id, begin, end, count_max + 1)
        if len(rows) <= count_max:
            return rows, None
        following: datetime = rows[count_max]["time"]
        if kept := [row for row in rows[:count_max] if row["time"] < following]:
            return kept, following
        after = following + timedelta(microseconds=1)
        same = await session.fetch(_SAMPLES.format(limit=""), tag_id, following, min(after, end))
    return same, after if after < end else None


async def _first_samples(session: Session, tag_id: int, begin: datetime, end: datetime, count: int) -> Sequence[Row]:
    """The first ``count`` samples of the span, looked for in a small part of it first: days may be packed."""
    found: list[Row] = []
    width = FIRST_LOOK
    while begin < end and len(found) < count:
        until = end if end - begin <= width else begin + width
        found += await session.fetch(_SAMPLES.format(limit="LIMIT $4"), tag_id, begin, until, count - len(found))
        begin, width = until, width * LOOK_GROWTH
    return found


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
    time, quality, double, integer, boolean, text, blob = row.values()
    value: Any = double
    if double is None:
        value = next((one for one in (integer, boolean, text) if one is not None), None)
        if value is None and blob is not None:
            value = bytes(blob).hex()
    elif not math.isfinite(double):
        value = str(double)
    return {"time": time, "value": value, "quality": name_of(quality)}
