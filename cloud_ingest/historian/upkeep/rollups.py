"""Rollups: what the samples of a minute, and of an hour, come down to.

The transaction that stores samples marks their minutes as due; the one that makes a rollup deletes the marks that it
saw and counts what is stored. So a sample that comes later, or is not committed yet, has a mark of its own, and a
rollup is either as the samples are, or marked. Late samples need nothing more. Odd times (``sample_default``,
``sample_odd``) have no rollups.

One process at a time (``task`` holds the lock); two would only do the work twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud_ingest.historian.rollup_marks import Mark
from cloud_ingest.historian.upkeep.periods import HOURS, MINUTES, PeriodTable
from cloud_ingest.historian.upkeep.rollup_sql import COLUMNS, NUMBERED, OF_INTERVALS, OF_SAMPLES
from cloud_ingest.historian.upkeep.slice_size import SliceSize
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database, Session

ROUND_HOURS_MAX: Final = 500
"""So many hours are done in a round; the rest waits for the next one."""
FAILURES_IN_ROW_MAX: Final = 3
TAGS_FIRST: Final = 500
TAGS_MAX: Final = 1_000_000
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
    gathered: str
    """The intervals of one tag, ``ids``, within one hour, from what they are made of."""


_MINUTE: Final = _Level(
    MINUTES,
    "rollup_minute_due",
    _MINUTE_IS_OVER,
    f"SELECT date_trunc('minute', time, 'UTC') AS bucket, {OF_SAMPLES} FROM (SELECT time, {NUMBERED} FROM sample_all "  # noqa: S608
    "WHERE tag_id = ids.tag_id AND NOT odd AND hour = $1 AND time >= $1 AND time < $1 + interval '1 hour' "
    "AND time >= ids.first AND time < ids.last + interval '1 minute') AS samples GROUP BY 1",
)
_HOUR: Final = _Level(
    HOURS,
    "rollup_hour_due",
    _HOUR_IS_OVER,
    f"SELECT $1::timestamptz AS bucket, {OF_INTERVALS} FROM rollup_minute WHERE tag_id = ids.tag_id "  # noqa: S608
    "AND bucket >= $1 AND bucket < $1 + interval '1 hour'",
)


_IN_RUN: Final = "tag.tag_id >= coalesce(lower(ids), 0) AND tag.tag_id < coalesce(upper(ids), 2147483647)"
"""Both bounds where the index can use them."""
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

    ``everything``: also of minutes and hours that have not ended. An hour that cannot be done keeps none of the others
    from it; then, at the end, this raises ``DatabaseUnavailable`` with the first such hour and the reason.
    """
    return await _roll(database, lambda level: _hours_due(database, level, everything=everything), everything)


async def roll_up_before(database: Database, begin: datetime, end: datetime) -> int:
    """Make all rollups of the source times from ``begin`` to ``end`` that are due, before their samples go.

    Raises as ``roll_up``.
    """

    async def hours(level: _Level) -> list[datetime]:
        async with database.session() as session:
            rows = await session.fetch(
                f"SELECT DISTINCT date_trunc('hour', bucket, 'UTC') AS hour FROM {level.due} "  # noqa: S608
                "WHERE bucket >= $1 AND bucket < $2 ORDER BY 1",
                begin,
                end,
            )
        return [row["hour"] for row in rows]

    return await _roll(database, hours, everything=True)


async def _roll(
    database: Database, hours: Callable[[_Level], Coroutine[Any, Any, list[datetime]]], everything: bool
) -> int:
    written = in_row = 0
    failed: DatabaseUnavailable | None = None
    for level in (_MINUTE, _HOUR):
        for hour in await hours(level):
            try:
                written += await _roll_hour(database, level, hour, everything=everything)
                in_row = 0
            except (DatabaseUnavailable, StatementRefused) as exc:
                failed = failed or DatabaseUnavailable(f"rollups of the hour {hour:%Y-%m-%dT%HZ}: {exc}")
                in_row += 1
                if in_row == FAILURES_IN_ROW_MAX:  # it is not the hours
                    raise failed from exc
    if failed is not None:
        raise failed
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


async def _roll_hour(database: Database, level: _Level, hour: datetime, *, everything: bool) -> int:
    """All intervals within one hour that are due, some tags at a time, so that each statement ends in time."""
    when = "true" if everything else level.when
    async with database.transaction() as session:
        await level.table.ensure(session, hour)
    async with database.session() as session:
        rows = await session.fetch(f"SELECT DISTINCT tag.tag_id {_places(level, when)} ORDER BY 1", hour)
    tags = [int(row["tag_id"]) for row in rows]
    written, at, size = 0, 0, SliceSize(TAGS_FIRST, TAGS_MAX)
    while at == 0 or at < len(tags):
        end = at + size.count
        first, last = tags[at] if at else None, tags[end] if end < len(tags) else None  # all ids are in one slice
        try:
            with size.measured():
                async with database.transaction() as session:
                    written += await _roll_tags(session, level, when, hour, first, last)
        except DatabaseUnavailable:
            if not size.shrinks():
                raise
            continue
        at = end
    return written


async def _roll_tags(
    session: Session, level: _Level, when: str, hour: datetime, first: int | None, last: int | None
) -> int:
    """The intervals of the tags from ``first`` to before ``last``; what is due of others stays so."""
    (row,) = await session.fetch(
        f"WITH taken AS (DELETE FROM {level.due} WHERE bucket >= $1 AND bucket < $1 + interval '1 hour' AND {when} "  # noqa: S608
        "    RETURNING tenant_id, bucket, tags, recorded), "
        f"rest AS (INSERT INTO {level.due} (tenant_id, bucket, tags, recorded) "
        "    SELECT tenant_id, bucket, tags - int4multirange(int4range($2, $3)), recorded FROM taken "
        "    WHERE NOT isempty(tags - int4multirange(int4range($2, $3)))), "
        "wanted AS (SELECT bucket, unnest(range_agg(tags * int4multirange(int4range($2, $3)))) AS ids "
        "    FROM taken GROUP BY bucket), "
        f"places AS (SELECT bucket, tag.tag_id, tag.tenant_id FROM wanted JOIN tag ON {_IN_RUN}), "
        "tags AS (SELECT tag_id, tenant_id, min(bucket) AS first, max(bucket) AS last, array_agg(bucket) AS buckets "
        "    FROM places GROUP BY 1, 2), "
        f"made AS (INSERT INTO {level.table.name} (tag_id, tenant_id, bucket, {COLUMNS}) "
        f"    SELECT ids.tag_id, ids.tenant_id, gathered.bucket, {_columns_of('gathered')} "
        f"    FROM tags AS ids CROSS JOIN LATERAL ({level.gathered}) AS gathered "
        "    WHERE gathered.samples > 0 AND gathered.bucket = ANY(ids.buckets) "
        f"    ON CONFLICT (tag_id, bucket) DO UPDATE SET ({COLUMNS}) = ROW({_columns_of('excluded')}) "
        "    RETURNING 1), "
        f"{_PASSED_ON if level is _MINUTE else ''}"
        "counted AS (SELECT count(*) AS written FROM made) SELECT written FROM counted",
        hour,
        first,
        last,
    )
    return int(row["written"])


def _places(level: _Level, when: str) -> str:
    """The tags for which something is due within the hour ``$1``."""
    return (
        f"FROM (SELECT unnest(range_agg(tags)) AS ids FROM {level.due} "  # noqa: S608
        f"WHERE bucket >= $1 AND bucket < $1 + interval '1 hour' AND {when}) AS wanted JOIN tag ON {_IN_RUN}"
    )


def _columns_of(name: str) -> str:
    return ", ".join(f"{name}.{column}" for column in COLUMNS.split(", "))
