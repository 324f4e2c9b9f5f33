"""Tables with a partition a day, a month or a year: made when they are needed, and dropped when old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from connectors.ports.database import Session

PARTITIONS_LOCK: Final = 0x70617274
"""The advisory lock of whoever makes or drops partitions."""
_LABELS: Final = {"day": "%Y%m%d", "month": "%Y%m", "year": "%Y"}


@dataclass(frozen=True, slots=True)
class PeriodTable:
    """A table whose partitions are called after it and their period: ``rollup_minute_202611``."""

    name: str
    period: Literal["day", "month", "year"]
    settings: str = ""
    """Storage parameters of each partition."""

    def begin(self, when: datetime) -> datetime:
        """When the period of ``when`` began."""
        day = when.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.period == "day":
            return day
        return day.replace(day=1) if self.period == "month" else day.replace(month=1, day=1)

    def end(self, when: datetime) -> datetime:
        """When the period of ``when`` ends."""
        longest = timedelta(days={"day": 1, "month": 31, "year": 366}[self.period])
        begin = self.begin(when)
        return self.begin(begin + longest)

    def partition(self, when: datetime) -> str:
        """The partition of ``when``."""
        return f"{self.name}_{self.begin(when):{_LABELS[self.period]}}"

    def period_of(self, partition: str) -> datetime:
        """The begin of the period that ``partition`` is called after."""
        return datetime.strptime(partition.removeprefix(f"{self.name}_"), _LABELS[self.period]).replace(tzinfo=UTC)

    async def ensure(self, session: Session, when: datetime) -> None:
        """Make the partition of ``when`` if it is not there, within a transaction. Raises ``DatabaseUnavailable``."""
        name = self.partition(when)
        (row,) = await session.fetch("SELECT to_regclass($1) IS NOT NULL AS there", name)
        if row["there"]:
            return
        await session.execute(
            "SET LOCAL lock_timeout = '2s'"
        )  # who reads for long keeps nobody else waiting behind this
        await session.execute("SELECT pg_advisory_xact_lock($1)", PARTITIONS_LOCK)
        with_settings = f" WITH ({self.settings})" if self.settings else ""
        await session.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {self.name} "
            f"FOR VALUES FROM ('{self.begin(when).isoformat()}') TO ('{self.end(when).isoformat()}'){with_settings}"
        )
        (made,) = await session.fetch(
            "SELECT relrowsecurity AS apart FROM pg_class WHERE oid = $1::text::regclass", name
        )
        if not made["apart"]:
            await session.fetch("SELECT keep_tenants_apart($1::text::regclass)", name)

    async def partitions(self, session: Session) -> list[str]:
        """The partitions that are there, the oldest first; ``…_default`` left out. Raises ``DatabaseUnavailable``."""
        rows = await session.fetch(
            "SELECT relname::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
            "WHERE inhparent = $1::regclass AND relname ~ '_[0-9]+$' ORDER BY relname",
            self.name,
        )
        return [str(row["name"]) for row in rows]

    async def ended(self, session: Session, before: datetime) -> list[str]:
        """The partitions whose period ended before ``before``, the oldest first. Raises ``DatabaseUnavailable``."""
        found = await self.partitions(session)
        return [name for name in found if self.end(self.period_of(name)) <= before]


async def drop(session: Session, partition: str) -> None:
    """Drop ``partition`` within a transaction; whoever uses the table is not kept waiting for long.

    Raises ``DatabaseUnavailable``, also while somebody else keeps the table busy.
    """
    await session.execute("SET LOCAL lock_timeout = '2s'")
    await session.execute("SELECT pg_advisory_xact_lock($1)", PARTITIONS_LOCK)
    await session.execute(f"DROP TABLE IF EXISTS {partition}")


SAMPLES: Final = PeriodTable("sample", "day")
PACKED: Final = PeriodTable("sample_packed", "day", "toast_tuple_target=128")
ODD: Final = PeriodTable("sample_odd", "month")
MINUTES: Final = PeriodTable("rollup_minute", "month")
HOURS: Final = PeriodTable("rollup_hour", "year")
