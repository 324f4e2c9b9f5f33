"""Days as chunks of TimescaleDB, where ``sample`` is a hypertable (``cloud_ingest/store/timescale.py``).

Chunks are a day long and begin at midnight UTC, as TimescaleDB makes them for an interval of a day.
"""

from __future__ import annotations

from datetime import UTC, datetime

from connectors.ports.database import Session


async def is_hypertable(session: Session) -> bool:
    """Whether TimescaleDB keeps the samples. Raises ``DatabaseUnavailable``."""
    (row,) = await session.fetch("SELECT relkind::text <> 'p' AS yes FROM pg_class WHERE oid = 'sample'::regclass")
    return bool(row["yes"])


async def chunks_to_compress(session: Session, before: datetime) -> list[str]:
    """The chunks that ended before ``before`` and have rows that are not compressed, the oldest first.

    None where TimescaleDB cannot compress (its Apache licence). Raises ``DatabaseUnavailable``.
    """
    rows = await session.fetch(
        "SELECT format('%I.%I', chunks.chunk_schema, chunks.chunk_name) AS name "
        "FROM timescaledb_information.chunks JOIN timescaledb_information.hypertables USING (hypertable_name) "
        "JOIN _timescaledb_catalog.chunk AS known "
        "    ON known.schema_name = chunk_schema AND known.table_name = chunk_name "
        "WHERE hypertable_name = 'sample' AND compression_enabled AND range_end <= $1 AND known.status <> 1 "
        "ORDER BY range_start",
        before,
    )
    return [str(row["name"]) for row in rows]


async def compress(session: Session, chunk: str) -> tuple[int, int, int]:
    """Compress ``chunk``, what came to it late included: its samples, and its bytes before and after.

    Raises ``DatabaseUnavailable``.
    """
    (row,) = await session.fetch(f"SELECT count(*) AS n FROM {chunk}")  # noqa: S608  a name that PostgreSQL has quoted
    before = await _bytes(session, chunk)
    await session.fetch("SELECT compress_chunk($1::text::regclass)::text", chunk)
    return int(row["n"]), before, await _bytes(session, chunk)


async def chunks_ended(session: Session, before: datetime) -> set[datetime]:
    """The days of the chunks that ended before ``before``. Raises ``DatabaseUnavailable``."""
    rows = await session.fetch(
        "SELECT range_start FROM timescaledb_information.chunks WHERE hypertable_name = 'sample' AND range_end <= $1",
        before,
    )
    return {row["range_start"].astimezone(UTC) for row in rows}


async def drop_chunks(session: Session, before: datetime) -> None:
    """Drop the chunks that ended at ``before`` or earlier, within a transaction. Raises ``DatabaseUnavailable``."""
    await session.execute("SET LOCAL lock_timeout = '2s'")
    await session.fetch("SELECT drop_chunks('sample', older_than => $1::timestamptz)::text", before)


async def _bytes(session: Session, chunk: str) -> int:
    (row,) = await session.fetch(
        "SELECT coalesce(sum(total_bytes), 0)::bigint AS size FROM chunks_detailed_size('sample') "
        "WHERE format('%I.%I', chunk_schema, chunk_name) = $1",
        chunk,
    )
    return int(row["size"])
