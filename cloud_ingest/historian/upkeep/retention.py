"""What is older than its table keeps is deleted, whole partitions at a time where there are any.

The ledger, its closings, and gaps that name batches stay: without them, what was explained would be missing again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_ingest.historian.upkeep.chunks import chunks_ended, drop_chunks, is_hypertable
from cloud_ingest.historian.upkeep.periods import HOURS, MINUTES, ODD, PACKED, SAMPLES, PeriodTable, drop
from cloud_ingest.historian.upkeep.rollups import roll_up_before
from connectors.ports.database import Database

ROWS_MAX: Final = 10_000
"""So many rows are deleted in one statement."""
ODD_ROWS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each table keeps what it has."""

    samples: timedelta
    """Of ``sample`` and ``sample_packed`` by source time, of ``sample_odd`` by when they were stored."""
    minutes: timedelta
    hours: timedelta
    gaps: timedelta
    dead_letters: timedelta
    """Of those that were closed or replayed, event letters too; what is open stays."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted of a table."""

    table: str
    what: str


async def expire(database: Database, retention: Retention, now: datetime) -> list[Expired]:
    """Delete what is too old. Raises ``DatabaseUnavailable``; then the rest is left for another time."""
    found = await _samples(database, now - retention.samples)
    kept: list[tuple[PeriodTable, timedelta]] = [
        (ODD, retention.samples), (MINUTES, retention.minutes), (HOURS, retention.hours)
    ]  # fmt: skip
    for table, age in kept:
        async with database.session() as session:
            names = await table.ended(session, now - age)
        for name in names:
            async with database.transaction() as session:
                await drop(session, name)
            found.append(Expired(table.name, name))
    found += await _rows(
        database, "gap", "batches IS NULL AND greatest(last_time, received) < $1", now - retention.gaps
    )
    found += await _rows(database, "dead_letter", "closed < $1 AND batch IS NULL", now - retention.dead_letters)
    found += await _rows(database, "event_letter", "closed < $1", now - retention.dead_letters)
    return found + await _letters(database, now - retention.dead_letters)


async def _samples(database: Database, before: datetime) -> list[Expired]:
    """Drop the days that ended before ``before``, rows and arrays at once, after their rollups were made."""
    found: list[Expired] = []
    async with database.session() as session:
        has_chunks = await is_hypertable(session)
        if has_chunks:
            days = await chunks_ended(session, before)
        else:
            days = {SAMPLES.period_of(name) for name in await SAMPLES.ended(session, before)}
            days |= {PACKED.period_of(name) for name in await PACKED.ended(session, before)}
    for day in sorted(days):
        end = SAMPLES.end(day)
        await roll_up_before(database, day, end)
        async with database.transaction() as session:
            if has_chunks:
                await drop_chunks(session, end)
            else:
                await drop(session, SAMPLES.partition(day))
                await drop(session, PACKED.partition(day))
            await session.execute("UPDATE sample_horizon SET since = greatest(since, $1)", end)
            for due in (
                "rollup_minute_due",
                "rollup_hour_due",
            ):  # of what was stored since: it is gone, its rollup stays
                await session.execute(f"DELETE FROM {due} WHERE bucket >= $1 AND bucket < $2", day, end)  # noqa: S608
        found.append(Expired(SAMPLES.name, SAMPLES.partition(day)))
    return found


async def _rows(database: Database, table: str, condition: str, before: datetime) -> list[Expired]:
    total = 0
    while True:
        async with database.transaction() as session:
            count = await session.execute(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT $2))",  # noqa: S608
                before,
                ROWS_MAX,
            )
        total += count
        if count < ROWS_MAX:
            return [Expired(table, f"{total} rows")] if total else []


async def _letters(database: Database, before: datetime) -> list[Expired]:
    """The contents of closed dead letters; that they were there, and why they were closed, explains their batches."""
    total = 0
    while True:
        async with database.transaction() as session:
            count = await session.execute(
                "UPDATE dead_letter SET payload = '' WHERE ctid = ANY(ARRAY(SELECT ctid FROM dead_letter "
                "WHERE closed < $1 AND batch IS NOT NULL AND payload <> '' LIMIT $2))",
                before,
                ROWS_MAX,
            )
        total += count
        if count < ROWS_MAX:
            return [Expired("dead_letter", f"{total} payloads")] if total else []


async def move_odd(database: Database, now: datetime) -> int:
    """Move what came with an odd source time out of ``sample_default``; how many samples were moved.

    Raises ``DatabaseUnavailable``.
    """
    total = 0
    while True:
        async with database.transaction() as session:
            await ODD.ensure(session, now)
            (row,) = await session.fetch(
                "WITH moved AS (DELETE FROM sample_default WHERE ctid = ANY(ARRAY("
                "    SELECT ctid FROM sample_default LIMIT $1)) RETURNING *), "
                "kept AS (INSERT INTO sample_odd (stored, time, tag_id, tenant_id, quality, value_double, value_int, "
                "    value_bool, value_text, value_bytes) SELECT $2, time, tag_id, tenant_id, quality, value_double, "
                "    value_int, value_bool, value_text, value_bytes FROM moved) SELECT count(*) AS moved FROM moved",
                ODD_ROWS_MAX,
                now,
            )
        total += int(row["moved"])
        if row["moved"] < ODD_ROWS_MAX:
            return total
