"""Ledger, gaps, what is set aside, places and partitions: what each statement does to the tables in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from connectors.model.delivery import BatchRanges
from tests.simulation.registry import Answer, insert_new, row_of, rows_of, statement
from tests.simulation.tables import Row, Tables, numbers


@statement("INSERT INTO ledger AS known")
def _write_ledger(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    written = 0
    for row in rows_of(sql, args):
        key, revision = (row["agent_id"], row["epoch"]), row["revision"]
        before = tables.ledger.get(key)
        if before is None or before["revision"] == revision:
            tables.ledger[key] = {**row, "revision": revision + 1}
            written += 1
    return written


@statement("SELECT arrived::text AS arrived, ")
def _ledger(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.ledger.get((args[0], args[1]))
    gaps = [gap["batches"] for gap in tables.gaps if (gap["agent_id"], gap["epoch"]) == (args[0], args[1])]
    explained = BatchRanges(span for batches in gaps if batches for span in parse_multirange(batches))
    return [] if row is None else [{**row, "explained": format_multirange(explained)}]


@statement("SELECT place, ((coalesce(ledger.arrived, '{}') + (")
def _confirmed(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    ids = {(row["group_name"], row["name"]): agent_id for agent_id, row in tables.agents.items()}
    found: list[Row] = []
    for place, (group, name, epoch, batches) in enumerate(zip(*args, strict=True), 1):
        agent_id = ids.get((group, name))
        if agent_id is not None:
            row = tables.ledger.get((agent_id, epoch))
            known = set() if row is None else numbers(parse_multirange(row["arrived"]))
            letters = [each for each in tables.letters if (each["agent_id"], each["epoch"]) == (agent_id, epoch)]
            known |= {each["batch"] for each in letters}
            taken = BatchRanges((batch, batch) for batch in known & numbers(parse_multirange(batches)))
            found.append({"place": place, "taken": format_multirange(taken)})
    return found


@statement("INSERT INTO gap (")
def _gap(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    row["first_us"], row["last_us"] = row.pop("first_time") // 1000, row.pop("last_time") // 1000
    tables.gaps.append(row)
    return 1


@statement("DELETE FROM gap WHERE agent_id = $1 AND device = $2 AND reason = $3")
def _take_back_gap(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    names = ("agent_id", "device", "reason", "first_us", "last_us", "detail")
    wanted = (*args[:3], args[3] // 1000, args[4] // 1000, args[5])
    left = [row for row in tables.gaps if tuple(row[name] for name in names) != wanted]
    taken_back, tables.gaps[:] = len(tables.gaps) - len(left), left
    return taken_back


@statement("INSERT INTO parked_batch (")
def _park(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    row["received_ms"] = row.pop("received")
    return insert_new(tables.parked, (row["agent_id"], row["epoch"], row["batch"]), row)


@statement("SELECT epoch, batch, topic, payload, received_ms FROM (")
def _parked(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found = [key for key, row in tables.parked.items() if (row["agent_id"], row["definition"]) == tuple(args[:2])]
    rows: list[Row] = []
    size_bytes = 0
    for key in sorted(found)[: args[2]]:
        size_bytes += len(tables.parked[key]["payload"])
        if rows and size_bytes > args[3]:
            break
        rows.append(tables.parked[key])
    return rows


@statement("DELETE FROM parked_batch USING unnest(")
def _unpark(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    gone = [key for key in zip(*args, strict=True) if key in tables.parked]
    for key in gone:
        del tables.parked[key]
    return len(gone)


@statement("INSERT INTO dead_letter (")
def _dead_letter(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    key = (row["agent_id"], row["epoch"], row["batch"])
    if None not in key and any(key == (one["agent_id"], one["epoch"], one["batch"]) for one in tables.letters):
        return 0
    tables.letters.append(row)
    return 1


@statement("INSERT INTO projection (")
def _begin_place(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return insert_new(tables.places, tuple(args), {"next_offset": 0, "last_ms": None, "partition": args[3]})


@statement("SELECT next_offset, last_ms FROM projection")
def _place(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [tables.places[tuple(args)]]


@statement("UPDATE projection SET next_offset=$6, last_ms=$7 ")
def _move_place(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    key, (expected, following, last_ms) = tuple(args[:4]), args[4:]
    before = tables.places.get(key)
    if before is None or before["next_offset"] != expected:
        return 0
    tables.places[key] = {**before, "next_offset": following, "last_ms": last_ms}
    return 1


@statement("SELECT partition, next_offset FROM projection")
def _places(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [row for key, row in tables.places.items() if key[:3] == tuple(args)]


@statement("SELECT relname::text AS name FROM pg_inherits")
def _days(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [{"name": name} for name in tables.days]


@statement("SELECT CASE WHEN isfinite(since)")
def _horizon(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Nothing is old enough to be deleted."""
    return [{"day": None, "is_hypertable": False}]


@statement("INSERT INTO rollup_minute_due (")
def _rollups_due(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Nobody rolls up in the simulation."""
    return len(args[0])


@statement("CREATE TABLE sample_")
def _make_day(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.days[sql.split()[2]] = None
    return 0


@statement("SET LOCAL lock_timeout")
@statement("SELECT pg_advisory_xact_lock")
@statement("ALTER TABLE sample")
@statement("WITH moved AS (DELETE FROM sample_default")
def _nothing(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 0


@statement("SELECT keep_tenants_apart(")
def _keep_apart(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """There is one tenant in the simulation."""
    return [{"keep_tenants_apart": None}]
