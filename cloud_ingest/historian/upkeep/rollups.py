"""Rollups: what the samples of a minute, and of an hour, come down to.

The transaction that stores samples marks their minutes as due; the one that makes a rollup deletes the marks that it
saw and counts what is stored. So a sample that comes later, or is not committed yet, has a mark of its own, and a
rollup is either as the samples are, or marked. Late samples need nothing more. Odd times (``sample_default``,
``sample_odd``) have no rollups.

One process at a time (``task`` holds the lock); two would only do the work twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_ingest.historian.rollup_marks import Mark
from cloud_ingest.historian.upkeep.periods import HOURS, MINUTES, PeriodTable
from cloud_ingest.historian.upkeep.rollup_sql import COLUMNS, NUMBERED, OF_INTERVALS, OF_SAMPLES
from connectors.ports.database import Database, Session

ROUND_HOURS_MAX: Final = 500
"""So many hours are done in a round; the rest waits for the next one."""
_SETTLED: Final = "recorded < now() - interval '2 seconds'"
_MINUTE_IS_OVER: Final = (
    f"{_SETTLED} AND (bucket + interval '63 seconds' <= now() OR recorded < now() - interval '2 minutes')"
)
"""The minute has ended, with some seconds for what is under way; or it lies ahead of the clock, and has for a while."""
_HOUR_IS_OVER: Final = (
    f"{_SETTLED} AND (bucket + interval '1 hour 70 seconds' <= now() OR recorded < now() - interval '15 minutes')"
)


@dataclass(frozen=True, slots=True)
class _Level:
    table: PeriodTable
    due: str
    when: str
    width: timedelta
    gathered: str
    """The interval of one tag, of ``places.bucket``, from what it is made of."""


_MINUTE: Final = _Level(
    MINUTES,
    "rollup_minute_due",
    _MINUTE_IS_OVER,
    timedelta(minutes=1),
    f"SELECT {OF_SAMPLES} FROM (SELECT time, {NUMBERED} FROM sample_all "  # noqa: S608  columns of our own
    "WHERE tag_id = places.tag_id AND NOT odd AND hour = $1 AND time >= $1 AND time < $1 + interval '1 hour' "
    "AND time >= places.bucket AND time < places.bucket + interval '1 minute') AS samples",
)
_HOUR: Final = _Level(
    HOURS,
    "rollup_hour_due",
    _HOUR_IS_OVER,
    timedelta(hours=1),
    f"SELECT {OF_INTERVALS} FROM rollup_minute WHERE tag_id = places.tag_id "  # noqa: S608
    "AND bucket >= $1 AND bucket < $1 + interval '1 hour'",
)


_PASSED_ON: Final = (
    "hour_due AS (INSERT INTO rollup_hour_due (tenant_id, bucket, tags) "
    "    SELECT tenant_id, $1, range_agg(int4range(tag_id, tag_id + 1)) FROM places GROUP BY tenant_id), "
)
"""What has changed in a minute changes its hour."""


async def mark(session: Session, marks: Sequence[Mark]) -> None:
    """Say that rollups are due, in the transaction that stores the samples. Raises ``DatabaseUnavailable``."""
    await session.execute(
        "INSERT INTO rollup_minute_due (tenant_id, bucket, tags) "
        "SELECT tenant_id, to_timestamp(minute * 60), tags::int4multirange "
        "FROM unnest($1::int[], $2::bigint[], $3::text[]) AS marks (tenant_id, minute, tags)",
        [one.tenant_id for one in marks],
        [one.minute for one in marks],
        [one.tags for one in marks],
    )


async def roll_up(database: Database, *, everything: bool = False) -> int:
    """Make the rollups that are due; how many intervals of tags were written.

    ``everything``: also of minutes and hours that have not ended. Raises ``DatabaseUnavailable``.
    """
    written = 0
    for level in (_MINUTE, _HOUR):
        for hour in await _hours_due(database, level, everything=everything):
            async with database.transaction() as session:
                written += await _roll_hour(session, level, hour, everything=everything)
    return written


async def roll_up_before(database: Database, begin: datetime, end: datetime) -> int:
    """Make all rollups of the source times from ``begin`` to ``end`` that are due, before their samples go.

    Raises ``DatabaseUnavailable``.
    """
    written = 0
    for level in (_MINUTE, _HOUR):
        async with database.session() as session:
            rows = await session.fetch(
                f"SELECT DISTINCT date_trunc('hour', bucket, 'UTC') AS hour FROM {level.due} "  # noqa: S608
                "WHERE bucket >= $1 AND bucket < $2 ORDER BY 1",
                begin,
                end,
            )
        for row in rows:
            async with database.transaction() as session:
                written += await _roll_hour(session, level, row["hour"], everything=True)
    return written


async def _hours_due(database: Database, level: _Level, *, everything: bool) -> list[datetime]:
    when = "true" if everything else level.when
    async with database.session() as session:
        rows = await session.fetch(
            f"SELECT date_trunc('hour', bucket, 'UTC') AS hour FROM {level.due} WHERE {when} "  # noqa: S608
            "GROUP BY 1 ORDER BY 1 DESC LIMIT $1",
            ROUND_HOURS_MAX,
        )
    return [row["hour"] for row in rows]


async def _roll_hour(session: Session, level: _Level, hour: datetime, *, everything: bool) -> int:
    """All intervals of ``level`` within one hour that are due."""
    await level.table.ensure(session, hour)
    when = "true" if everything else level.when
    (row,) = await session.fetch(
        f"WITH taken AS (DELETE FROM {level.due} WHERE bucket >= $1 AND bucket < $1 + interval '1 hour' AND {when} "  # noqa: S608
        "    RETURNING bucket, tags), "
        "wanted AS (SELECT bucket, unnest(range_agg(tags)) AS ids FROM taken GROUP BY bucket), "
        "places AS (SELECT bucket, tag.tag_id, tag.tenant_id FROM wanted JOIN tag "
        "    ON tag.tag_id >= lower(ids) AND (upper_inf(ids) OR tag.tag_id < upper(ids))), "
        f"made AS (INSERT INTO {level.table.name} (tag_id, tenant_id, bucket, {COLUMNS}) "
        f"    SELECT places.tag_id, places.tenant_id, places.bucket, {_columns_of('gathered')} "
        f"    FROM places CROSS JOIN LATERAL ({level.gathered}) AS gathered WHERE gathered.samples > 0 "
        f"    ON CONFLICT (tag_id, bucket) DO UPDATE SET ({COLUMNS}) = ROW({_columns_of('excluded')}) "
        "    RETURNING 1), "
        f"{_PASSED_ON if level is _MINUTE else ''}"
        "counted AS (SELECT count(*) AS written FROM made) SELECT written FROM counted",
        hour,
    )
    return int(row["written"])


def _columns_of(name: str) -> str:
    return ", ".join(f"{name}.{column}" for column in COLUMNS.split(", "))
