"""Samples gathered into intervals, from the rollups as far as there are any, else from the samples themselves.

Rollups that are due are left aside and their samples counted; one statement sees both at one moment. So the answer is
always as the samples are. Where samples are no longer kept, the rollups still are.
"""

from __future__ import annotations

import math
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any, Final

from cloud_ingest.historian.upkeep.rollup_sql import COLUMNS, NUMBERED, OF_INTERVALS, OF_SAMPLES
from connectors.ports.database import Row, Sessions

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
_PARAMETERS: Final = 5
_BINS_BEGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ODD: Final = (
    "(SELECT time, tag_id, quality, value_double, value_int, value_bool FROM sample_default UNION ALL "
    "SELECT time, tag_id, quality, value_double, value_int, value_bool FROM sample_odd) AS odd_ones"
)


async def buckets(
    database: Sessions, tag_id: int, begin: datetime, end: datetime, bucket_s: float, count_max: int
) -> tuple[list[dict[str, Any]], datetime | None]:
    """Samples gathered into intervals of ``bucket_s`` that begin at multiples of it (since 2000-01-01 UTC).

    The second part of the answer is where the next page begins (``None``: that was all).

    ``count`` and ``good`` are of all samples; ``mean``, ``min``, ``max``, ``first`` and ``last`` of good finite
    numbers; Boolean counts as 0 and 1. Empty intervals are left out.
    """
    times = _Times()
    sql = (
        "WITH minute_due AS MATERIALIZED (SELECT DISTINCT bucket FROM rollup_minute_due "  # noqa: S608  our own pieces
        "    WHERE bucket >= date_trunc('hour', $2::timestamptz, 'UTC') AND bucket < $3 AND tags @> $1::int), "
        "hour_due AS MATERIALIZED (SELECT bucket FROM rollup_hour_due "
        "    WHERE bucket >= date_trunc('hour', $2::timestamptz, 'UTC') AND bucket < $3 AND tags @> $1::int "
        "    UNION SELECT date_trunc('hour', bucket, 'UTC') FROM minute_due), "
        f"pieces AS ({' UNION ALL '.join(_pieces(begin, end, bucket_s, times))}) "
        "SELECT date_bin($4::float8 * interval '1 second', bucket, '2000-01-01 00:00:00+00') AS bucket, "
        f"{OF_INTERVALS} FROM pieces GROUP BY 1 ORDER BY 1 LIMIT $5"
    )
    async with database.session(plans_once=True) as session:
        rows = await session.fetch(sql, tag_id, begin, end, bucket_s, count_max + 1, *times.values)
    following: datetime | None = rows[count_max]["bucket"] if len(rows) > count_max else None
    return [_interval(row) for row in rows[:count_max]], following


class _Times:
    """Times as parameters, behind the five of each statement: so there are a few texts, each planned once."""

    def __init__(self) -> None:
        self.values: list[datetime] = []

    def __call__(self, when: datetime) -> str:
        if when not in self.values:
            self.values.append(when)
        return f"${_PARAMETERS + self.values.index(when) + 1}::timestamptz"


def _pieces(begin: datetime, end: datetime, bucket_s: float, times: _Times) -> list[str]:
    """Queries for the parts of the span, each with the columns ``bucket`` and ``COLUMNS``."""
    if bucket_s % 60 or begin >= end or begin.year == MAXYEAR:
        return [_counted(begin, end, times)]
    return _by_minutes(begin, end, times) if bucket_s % 3600 else _by_hours(begin, end, times)


def _by_hours(begin: datetime, end: datetime, times: _Times) -> list[str]:
    first, last = _up(begin, HOUR), _down(end, HOUR)
    if first >= last:
        return _by_minutes(begin, end, times)
    span = _between("bucket", first, last, times)
    return [
        *_by_minutes(begin, first, times),
        *_by_minutes(last, end, times),
        f"SELECT bucket, {COLUMNS} FROM rollup_hour WHERE tag_id = $1 AND {span} "  # noqa: S608
        "AND bucket NOT IN (SELECT bucket FROM hour_due)",
        f"SELECT minutes.bucket, {COLUMNS} FROM hour_due JOIN rollup_minute AS minutes ON tag_id = $1 "  # noqa: S608
        "AND minutes.bucket >= hour_due.bucket AND minutes.bucket < hour_due.bucket + interval '1 hour' "
        f"WHERE {_between('hour_due.bucket', first, last, times)} "
        "AND minutes.bucket NOT IN (SELECT bucket FROM minute_due)",
        _due_minutes(first, last, times),
        _odd(first, last, times),
    ]


def _by_minutes(begin: datetime, end: datetime, times: _Times) -> list[str]:
    first, last = _up(begin, MINUTE), _down(end, MINUTE)
    if first >= last:
        return [_counted(begin, end, times)] if begin < end else []
    edges = [_counted(*edge, times) for edge in ((begin, first), (last, end)) if edge[0] < edge[1]]
    return [
        *edges,
        f"SELECT bucket, {COLUMNS} FROM rollup_minute WHERE tag_id = $1 AND {_between('bucket', first, last, times)} "  # noqa: S608
        "AND bucket NOT IN (SELECT bucket FROM minute_due)",
        _due_minutes(first, last, times),
        _odd(first, last, times),
    ]


def _counted(begin: datetime, end: datetime, times: _Times) -> str:
    """The samples themselves, gathered into the intervals that were asked for."""
    return _gathered(
        f"FROM sample_all WHERE tag_id = $1 AND {_between('time', begin, end, times)} "
        f"AND {_between('hour', _down(begin, HOUR), end, times)}"
    )


def _due_minutes(begin: datetime, end: datetime, times: _Times) -> str:
    """The samples of minutes whose rollup is due, hour by hour: an hour of a packed day is taken apart once."""
    return (
        f"SELECT date_trunc('minute', time, 'UTC') AS bucket, {OF_SAMPLES} FROM ("  # noqa: S608
        "SELECT date_trunc('hour', bucket, 'UTC') AS hour, min(bucket) AS first, max(bucket) AS last FROM minute_due "
        f"WHERE {_between('bucket', begin, end, times)} GROUP BY 1) AS due CROSS JOIN LATERAL (SELECT time, {NUMBERED} "
        "FROM sample_all WHERE tag_id = $1 AND NOT odd AND hour = due.hour "
        "AND time >= due.first AND time < due.last + interval '1 minute' "
        f"AND {_between('time', begin, end, times)} AND {_between('hour', _down(begin, HOUR), end, times)}) AS samples "
        "WHERE date_trunc('minute', time, 'UTC') IN (SELECT bucket FROM minute_due) GROUP BY 1"
    )


def _odd(begin: datetime, end: datetime, times: _Times) -> str:
    """Samples with odd source times: rollups leave them out."""
    return _gathered(f"FROM {_ODD} WHERE tag_id = $1 AND {_between('time', begin, end, times)}")


def _gathered(source: str) -> str:
    return (
        f"SELECT bucket, {OF_SAMPLES} FROM (SELECT date_bin($4::float8 * interval '1 second', time, "  # noqa: S608
        f"'2000-01-01 00:00:00+00') AS bucket, time, {NUMBERED} {source}) AS binned GROUP BY bucket"
    )


def _between(column: str, begin: datetime, end: datetime, times: _Times) -> str:
    return f"{column} >= {times(begin)} AND {column} < {times(end)}"


def _down(when: datetime, width: timedelta) -> datetime:
    return when - (when - _BINS_BEGIN) % width


def _up(when: datetime, width: timedelta) -> datetime:
    return when + (_BINS_BEGIN - when) % width


def _interval(row: Row) -> dict[str, Any]:
    bucket, samples, good, numbers, total, low, high, _, first, _, last = row.values()
    return {
        "time": bucket,
        "count": samples,
        "good": good,
        "mean": total / numbers if numbers else None,
        "min": _finite(low),
        "max": _finite(high),
        "first": _finite(first),
        "last": _finite(last),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
