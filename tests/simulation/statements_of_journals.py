"""The journals and audit logs of agents, as the cloud knows them: what each statement does to the tables in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud_ingest.historian.ledger_book import parse_multirange
from tests.simulation.registry import Answer, row_of, statement
from tests.simulation.tables import Row, Tables, numbers


@statement("INSERT INTO command_start AS known (agent_id, tenant_id, start, journal, number) ")
def _take_numbers(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    for agent_id, tenant_id, start, journal, number in zip(*args, strict=True):
        _start(tables, agent_id, tenant_id, start, journal, number)
    return len(args[0])


@statement("INSERT INTO command_start AS known (agent_id, tenant_id, start, journal, number, previous")
def _write_start(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    *start, previous, last_batch, last_count = args
    row = _start(tables, *start)
    row |= {
        "previous": previous,
        "last_batch": max(row["last_batch"], last_batch),
        "last_count": max(row["last_count"], last_count),
    }
    return 1


def _start(tables: Tables, agent_id: int, tenant_id: int, start: str, journal: str, number: int) -> Row:
    key = (agent_id, start, journal)
    before = tables.command_starts.get(key, {"number": 0, "previous": "", "last_batch": 0, "last_count": 0})
    named = {"agent_id": agent_id, "tenant_id": tenant_id, "start": start, "journal": journal}
    row = tables.command_starts[key] = {**before, **named, "number": max(before["number"], number)}
    return row


@statement("INSERT INTO time_request (")
def _ask_time(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    tables.time_requests[row["agent_id"]] = row
    return 1


@statement("SELECT journal, start, restored, audit_hash FROM command_journal")
def _journal(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [tables.command_journals[args[0]]] if args[0] in tables.command_journals else []


@statement("SELECT DISTINCT ON (agent) agent, key_id, public_key, signs")
def _agent_keys(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return []  # no agent of the simulation is enrolled


@statement("SELECT number, hash FROM agent_audit_head")
def _agent_audit_heads(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    heads = tables.agent_audit_heads.get(args[0], {})
    wanted = {args[1], args[2], max(heads, default=0)}
    return [{"number": number, "hash": heads[number]} for number in sorted(heads) if number in wanted]


@statement("WITH old AS (DELETE FROM agent_audit_head")
def _know_agent_audit_head(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.agent_audit_heads.setdefault(args[0], {})[args[2]] = args[3]
    return 1


@statement("DELETE FROM agent_audit_head")
def _forget_agent_audit_heads(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return len(tables.agent_audit_heads.pop(args[0], {}))


@statement("INSERT INTO agent_audit_alarm")
def _alarm(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1  # looked at by nobody


@statement("SELECT start, max(previous) AS previous")
def _starts(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    by_start: dict[str, list[Row]] = {}
    for row in tables.command_starts.values():
        if row["agent_id"] == args[0]:
            by_start.setdefault(row["start"], []).append(row)
    return [
        {
            "start": start,
            "previous": max(row["previous"] for row in rows),
            "last_batch": max(row["last_batch"] for row in rows),
            "last_count": max(row["last_count"] for row in rows),
            "number": max((row["number"] for row in rows if row["journal"] == args[1]), default=0),
        }
        for start, rows in by_start.items()
    ]


@statement("SELECT coalesce(max(number), 0) AS number FROM command_start")
def _number(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [{"number": highest(tables, args[0], args[1])}]


@statement("SELECT FROM ledger WHERE agent_id = $1 AND epoch = $2 AND upper(arrived)")
def _beyond_end(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.ledger.get((args[0], args[1]))
    if row is None or row["last_batch"] is None:
        return []
    return [{}] if max(numbers(parse_multirange(row["arrived"])), default=0) > row["last_batch"] else []


@statement("INSERT INTO command_journal (")
def _write_journal(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    tables.command_journals[row["agent_id"]] = row
    return 1


def highest(tables: Tables, agent_id: int, journal: str) -> int:
    starts = tables.command_starts.values()
    return max((row["number"] for row in starts if (row["agent_id"], row["journal"]) == (agent_id, journal)), default=0)
