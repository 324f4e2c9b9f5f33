"""TimescaleDB, where its extension exists in the database: ``sample`` becomes a hypertable before it has samples.

The extension is made by an administrator (``CREATE EXTENSION timescaledb;``); Lineside never makes it. Days are chunks
then, closed ones are compressed by TimescaleDB, and the retention drops chunks. Odd source times stay in a plain table:
a clock that runs wild would make a chunk for each of its days. Rollups, odd times and the one view are as without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connectors.ports.database import Database

_COLUMNS: Final = (
    "time timestamptz NOT NULL, value_double double precision, value_int bigint, tag_id integer NOT NULL, "
    "tenant_id integer NOT NULL, quality integer NOT NULL, value_bool boolean, value_text text, value_bytes bytea"
)
_FIELDS: Final = "tag_id, tenant_id, quality, value_double, value_int, value_bool, value_text, value_bytes"
_STATEMENTS: Final = (
    "DROP VIEW sample_all",
    "DROP VIEW sample_strays",
    "DROP TABLE sample",  # and its partitions: all are empty
    f"CREATE TABLE sample ({_COLUMNS})",
    "SELECT create_hypertable('sample', 'time', chunk_time_interval => interval '1 day', "
    "create_default_indexes => false)",
    "CREATE INDEX sample_tag_time ON sample (tag_id, time)",
    f"CREATE TABLE sample_default ({_COLUMNS})",
    "CREATE INDEX sample_default_tag_time ON sample_default (tag_id, time)",
    "SELECT keep_tenants_apart('sample_default')",
    "REVOKE ALL ON sample FROM lineside_tenant",
    # A compressed hypertable takes no policy, so tenants see it through a view with the rights of its owner.
    f"CREATE VIEW sample_of_tenant WITH (security_barrier = true) AS SELECT time, {_FIELDS} FROM sample "  # noqa: S608
    "WHERE (SELECT current_user <> 'lineside_tenant') "
    "OR tenant_id = (SELECT NULLIF(current_setting('lineside.tenant', true), '')::integer)",
    f"CREATE VIEW sample_strays WITH (security_invoker = true) AS SELECT time, {_FIELDS} FROM sample_default "  # noqa: S608  columns of our own
    f"UNION ALL SELECT time, {_FIELDS} FROM sample_odd",
    "CREATE VIEW sample_all WITH (security_invoker = true) AS "  # noqa: S608
    f"SELECT time, date_trunc('hour', time, 'UTC') AS hour, false AS odd, {_FIELDS} FROM sample_of_tenant "
    f"UNION ALL SELECT time, date_trunc('hour', time, 'UTC'), true, {_FIELDS} FROM sample_strays",
)
_COMPRESSED: Final = (
    "ALTER TABLE sample SET (timescaledb.compress, timescaledb.compress_segmentby = 'tag_id', "
    "timescaledb.compress_orderby = 'time')"
)


@dataclass(frozen=True, slots=True)
class Timescale:
    """Whether TimescaleDB keeps the samples, and why not where it could."""

    is_used: bool
    reason: str = ""


async def use_timescaledb(database: Database) -> Timescale:
    """Let TimescaleDB keep the samples if its extension is there; safe for several processes, and to repeat.

    Raises ``DatabaseUnavailable`` and ``StatementRefused``.
    """
    async with database.transaction() as session:
        (row,) = await session.fetch(
            "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AS there, "
            "current_setting('timescaledb.license', true) = 'timescale' AS compresses, "
            "(SELECT relkind::text FROM pg_class WHERE oid = 'sample'::regclass) AS kind"
        )
        if not row["there"]:
            return Timescale(is_used=False)
        if row["kind"] != "p":
            return Timescale(is_used=True)
        await session.execute("LOCK TABLE sample IN ACCESS EXCLUSIVE MODE")
        (now,) = await session.fetch("SELECT relkind::text AS kind FROM pg_class WHERE oid = 'sample'::regclass")
        if now["kind"] != "p":  # another process was quicker
            return Timescale(is_used=True)
        (kept,) = await session.fetch("SELECT EXISTS (SELECT FROM sample) OR EXISTS (SELECT FROM sample_packed) AS any")
        if kept["any"]:
            return Timescale(
                is_used=False,
                reason="the extension timescaledb is there, but samples are already kept without it; they stay as they "
                "are. To use it, begin with an empty database",
            )
        for statement in _STATEMENTS:
            await session.execute(statement)
        if row["compresses"]:
            await session.execute(_COMPRESSED)
    return Timescale(is_used=True)
