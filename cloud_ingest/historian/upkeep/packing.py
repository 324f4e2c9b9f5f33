"""Closed days become arrays: one row of ``sample_packed`` a tag and hour instead of one row a sample.

What is packed is deleted from the day's partition in the statement that packs it, so that every sample is in one of the
two at any time. Late samples go into the day's partition as always and are joined with what is packed in a later round.
Large values (bytes, long texts) stay as rows: an array of them could grow beyond what PostgreSQL takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_ingest.historian.upkeep.chunks import chunks_to_compress, compress, is_hypertable
from cloud_ingest.historian.upkeep.periods import PACKED, SAMPLES
from cloud_ingest.historian.upkeep.slice_size import SliceSize
from connectors.model.errors import DatabaseUnavailable
from connectors.ports.database import Database, Session

TEXT_BYTES_MAX: Final = 1000
TAGS_FIRST: Final = 64
TAGS_MAX: Final = 512
"""Tags without samples are quick, and say nothing of those that follow."""
EMPTY_INDEX_BYTES_MAX: Final = 64 * 1024
EMPTIED_BYTES_MAX: Final = 256 * 1024 * 1024
"""Dead rows of so many bytes are looked through quickly. A larger table is emptied when autovacuum has shortened it."""

_PACKABLE: Final = f"value_bytes IS NULL AND (value_text IS NULL OR octet_length(value_text) <= {TEXT_BYTES_MAX})"
_VALUES: Final = ("value_double", "value_int", "value_bool", "value_text")
_FIELDS: Final = ", ".join(("time", "tag_id", "tenant_id", "quality", *_VALUES))
_LATER: Final = "(extract(epoch FROM time - coalesce(lag(time) OVER in_order, $2)) * 1000000)::bigint AS step"
_ARRAYS: Final = ", ".join(
    f"CASE WHEN count({column}) > 0 THEN array_agg({column} ORDER BY place) END" for column in _VALUES
)


@dataclass(frozen=True, slots=True)
class Packed:
    """What packing a day has done."""

    samples: int
    bytes_before: int
    bytes_after: int


async def days_to_pack(database: Database, before: datetime) -> list[str]:
    """The partitions of days that ended before ``before`` and have something to pack, the oldest first.

    Raises ``DatabaseUnavailable``.
    """
    found: list[str] = []
    async with database.session() as session:
        if await is_hypertable(session):
            return await chunks_to_compress(session, before)
        for name in await SAMPLES.ended(session, before):
            (row,) = await session.fetch(f"SELECT EXISTS (SELECT FROM {name} WHERE {_PACKABLE}) AS any")  # noqa: S608
            if row["any"]:
                found.append(name)
    return found


async def pack_day(database: Database, partition: str) -> Packed:
    """Pack the day that ``partition`` holds. Raises ``DatabaseUnavailable``; then the rest is left for another time."""
    async with database.session() as session:
        if await is_hypertable(session):
            return Packed(*await compress(session, partition))
    day = SAMPLES.period_of(partition)
    async with database.transaction() as session:
        await PACKED.ensure(session, day)
    async with database.session() as session:
        tags = [int(row["tag_id"]) for row in await session.fetch("SELECT tag_id FROM tag ORDER BY tag_id")]
        before = await _bytes(session, day)
    samples, size = 0, SliceSize(TAGS_FIRST, TAGS_MAX)
    for hour in range(24):
        samples += await _pack_hour(database, partition, day + timedelta(hours=hour), tags, size)
    await empty_day(database, partition)
    async with database.session() as session:
        return Packed(samples, before, await _bytes(session, day))


async def _pack_hour(database: Database, partition: str, hour: datetime, tags: Sequence[int], size: SliceSize) -> int:
    packed, at = 0, 0
    while at < len(tags):
        some = tags[at : at + size.count]
        try:
            with size.measured():
                async with database.transaction() as session:
                    packed += await _pack(session, partition, hour, some)
        except DatabaseUnavailable:
            if not size.shrinks():
                raise
            continue
        at += len(some)
    return packed


async def _pack(session: Session, partition: str, hour: datetime, tags: Sequence[int]) -> int:
    """Pack one hour of ``tags``, together with what was packed of it before; how many samples came to it."""
    (row,) = await session.fetch(
        f"WITH fresh AS (DELETE FROM {partition} WHERE tag_id = ANY($1::int[]) AND time >= $2 "  # noqa: S608
        f"    AND time < $2 + interval '1 hour' AND {_PACKABLE} RETURNING {_FIELDS}), "
        "earlier AS (DELETE FROM sample_packed WHERE hour = $2 AND tag_id IN (SELECT tag_id FROM fresh) RETURNING *), "
        f"whole AS (SELECT {_FIELDS} FROM fresh UNION ALL {_unpacked('earlier')}), "
        f"stepped AS (SELECT *, {_LATER}, row_number() OVER in_order AS place FROM whole "
        "    WINDOW in_order AS (PARTITION BY tag_id ORDER BY time)), "
        f"made AS (INSERT INTO sample_packed (hour, tag_id, tenant_id, samples, steps, quality, {', '.join(_VALUES)}) "
        "    SELECT $2, tag_id, min(tenant_id), count(*), array_agg(step ORDER BY place), "
        f"    CASE WHEN bool_or(quality <> 0) THEN array_agg(quality ORDER BY place) END, {_ARRAYS} "
        "    FROM stepped GROUP BY tag_id) "
        "SELECT count(*) AS samples FROM fresh",
        list(tags),
        hour,
    )
    return int(row["samples"])


def _unpacked(table: str) -> str:
    """The samples of rows of ``sample_packed``; as the view ``sample_unpacked`` has them."""
    return (
        f"SELECT {table}.hour + unpacked.since_us * interval '1 microsecond', {table}.tag_id, {table}.tenant_id, "  # noqa: S608
        "coalesce(unpacked.quality, 0), unpacked.value_double, unpacked.value_int, unpacked.value_bool, "
        f"unpacked.value_text FROM {table} CROSS JOIN LATERAL (SELECT "
        "(sum(step) OVER (ORDER BY place))::float8 AS since_us, each.quality, each.value_double, each.value_int, "
        f"each.value_bool, each.value_text FROM unnest({table}.steps, {table}.quality, {table}.value_double, "
        f"{table}.value_int, {table}.value_bool, {table}.value_text) WITH ORDINALITY "
        "AS each (step, quality, value_double, value_int, value_bool, value_text, place)) AS unpacked"
    )


async def packed_days(database: Database, before: datetime) -> list[str]:
    """The partitions of days that ended before ``before``; no chunks. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        return [] if await is_hypertable(session) else await SAMPLES.ended(session, before)


async def empty_day(database: Database, partition: str) -> bool:
    """Give the room of a day's partition back when nothing is left in it; whether that was so.

    Its index has as much of it as its rows, also after autovacuum has shortened the table. Raises
    ``DatabaseUnavailable``.
    """
    async with database.transaction() as session:
        (row,) = await session.fetch(
            "SELECT pg_relation_size($1::regclass) AS size, pg_indexes_size($1::regclass) AS indexes", partition
        )
        if row["size"] > EMPTIED_BYTES_MAX or (row["size"] == 0 and row["indexes"] <= EMPTY_INDEX_BYTES_MAX):
            return False
        (row,) = await session.fetch(f"SELECT EXISTS (SELECT FROM {partition}) AS any")  # noqa: S608
        if row["any"]:
            return False
        await session.execute("SET LOCAL lock_timeout = '2s'")
        await session.execute(f"LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE")
        (row,) = await session.fetch(f"SELECT EXISTS (SELECT FROM {partition}) AS any")  # noqa: S608
        if row["any"]:
            return False
        await session.execute(f"TRUNCATE {partition}")
    return True


async def _bytes(session: Session, day: datetime) -> int:
    (row,) = await session.fetch(
        "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint AS size "
        "FROM unnest($1::text[]) AS name",
        [SAMPLES.partition(day), PACKED.partition(day)],
    )
    return int(row["size"])
