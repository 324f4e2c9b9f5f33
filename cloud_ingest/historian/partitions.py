"""Daily partitions of table ``sample``: made before they are needed, and rows put where they belong.

A day that is within retention and not after tomorrow has a partition of its own; every other time goes to
``sample_default``, so that a clock that stands at 1970, or at 2107, makes no endless partitions. The upkeep moves what
is there to ``sample_odd``. When the day of such a row comes first, the row moves into the new partition.

Where TimescaleDB keeps the samples, ``sample`` is a hypertable, which makes its chunks itself; ``sample_default`` is a
table of its own then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from cloud_ingest.historian.sample_rows import SampleRows
from cloud_ingest.historian.upkeep.periods import PARTITIONS_LOCK, SAMPLES
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

DAY_US: Final = 86_400_000_000
DEFAULT_TABLE: Final = "sample_default"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_DAY: Final = -1_000_000


class Partitions:
    """The partitions of ``sample``, as far as this process knows them."""

    def __init__(self, database: Database, clock: Clock, retention_days: int) -> None:
        self._database = database
        self._clock = clock
        self._retention_days = retention_days
        self._days: set[int] = set()
        self._is_hypertable = False
        self._first_day = _NO_DAY
        """Days before it were deleted by the retention and are not made anew."""

    async def prepare(self) -> None:
        """Learn which partitions exist, and make those of today and the next two days."""
        async with self._database.session() as session:
            await self._load(session)
        today = self._today()
        if self._is_hypertable:
            return
        await self._make([day for day in (today, today + 1, today + 2) if day not in self._days])

    async def ensure(self, parts: Sequence[SampleRows]) -> None:
        """Make the partitions that ``parts`` need. Raises ``DatabaseUnavailable``."""
        if self._is_hypertable:
            return
        wanted: set[int] = set()
        today = self._today()
        for part in parts:
            first, last = int(part.time_us.min()) // DAY_US, int(part.time_us.max()) // DAY_US
            days = {first} if first == last else set(np.unique(part.time_us // DAY_US).tolist())
            wanted |= {day for day in days if day not in self._days and self._has_own(day, today)}
        if wanted:
            await self._make(sorted(wanted))

    def split(self, parts: Sequence[SampleRows]) -> dict[str, list[SampleRows]]:
        """``parts`` by the table that each row goes to."""
        found: dict[str, list[SampleRows]] = {}
        for part in parts:
            first, last = int(part.time_us.min()) // DAY_US, int(part.time_us.max()) // DAY_US
            if first == last:
                found.setdefault(self._table(first), []).append(part)
                continue
            days = part.time_us // DAY_US
            for day in np.unique(days).tolist():
                found.setdefault(self._table(day), []).append(part.select(days == day))
        return found

    def _table(self, day: int) -> str:
        if self._is_hypertable:
            return SAMPLES.name if self._has_own(day, self._today()) else DEFAULT_TABLE
        return table_of(day) if day in self._days else DEFAULT_TABLE

    def _has_own(self, day: int, today: int) -> bool:
        return max(self._first_day, today - self._retention_days) <= day <= today + 1

    def _today(self) -> int:
        return self._clock.now_ns() // 1000 // DAY_US

    async def _load(self, session: Session) -> None:
        self._days = {day_of(name) for name in await SAMPLES.partitions(session)}
        (row,) = await session.fetch(
            "SELECT CASE WHEN isfinite(since) THEN (since AT TIME ZONE 'UTC')::date - DATE '1970-01-01' END AS day, "
            "(SELECT relkind::text <> 'p' FROM pg_class WHERE oid = 'sample'::regclass) AS is_hypertable "
            "FROM sample_horizon"
        )
        self._is_hypertable = bool(row["is_hypertable"])
        self._first_day = _NO_DAY if row["day"] is None else int(row["day"])

    async def _make(self, days: Sequence[int]) -> None:
        for day in days:
            async with self._database.transaction() as session:
                await session.execute("SET LOCAL lock_timeout = '2s'")  # who reads for long keeps nobody else waiting
                await session.execute("SELECT pg_advisory_xact_lock($1)", PARTITIONS_LOCK)
                await self._load(session)
                if day in self._days or day < self._first_day:
                    continue
                await _make_day(session, day)
            self._days.add(day)


async def _make_day(session: Session, day: int) -> None:
    """Make the partition of one day, and move there what the default partition holds of it."""
    table = table_of(day)
    first = (_EPOCH + timedelta(days=day)).isoformat()
    last = (_EPOCH + timedelta(days=day + 1)).isoformat()
    within = f"time >= '{first}' AND time < '{last}'"
    await session.execute(f"CREATE TABLE {table} (LIKE sample INCLUDING ALL)")
    moved = f"DELETE FROM {DEFAULT_TABLE} WHERE {within} RETURNING *"  # noqa: S608  names and dates of our own making
    await session.execute(
        f"WITH moved AS ({moved}), placed AS (INSERT INTO {table} SELECT * FROM moved) "  # noqa: S608
        "INSERT INTO rollup_minute_due (tenant_id, bucket, tags) "
        "SELECT tenant_id, date_trunc('minute', time), range_agg(int4range(tag_id, tag_id + 1)) "
        "FROM moved GROUP BY 1, 2"
    )
    await session.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_day CHECK ({within} AND time IS NOT NULL)")
    await session.execute(f"ALTER TABLE sample ATTACH PARTITION {table} FOR VALUES FROM ('{first}') TO ('{last}')")
    await session.fetch("SELECT keep_tenants_apart($1::text::regclass)", table)
    await session.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_day")


def table_of(day: int) -> str:
    """The partition of a day (days since 1970): ``sample_20261122``."""
    return f"sample_{(_EPOCH + timedelta(days=day)):%Y%m%d}"


def day_of(table: str) -> int:
    """The day (since 1970) that a partition is named after."""
    return (datetime.strptime(table.removeprefix("sample_"), "%Y%m%d").replace(tzinfo=UTC) - _EPOCH).days
