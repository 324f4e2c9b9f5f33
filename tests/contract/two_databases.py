"""One session that says everything to PostgreSQL and to the simulation's tables, and compares what they answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from connectors.ports.database import Session
from tests.simulation import database as _registered  # noqa: F401  its import registers every statement
from tests.simulation.registry import STATEMENTS, run_copy, run_statement
from tests.simulation.tables import Row, Tables

SIMPLIFIED: Final = {
    "INSERT INTO host AS known": "who is the host says nothing about what is delivered",
    "SELECT broker FROM host": "as above",
    "UPDATE host SET": "as above",
    "SELECT key_id, public_key, created, created_by, retired, retired_by FROM signing_key": "created: another clock",
    "SELECT pg_notify($1": "nobody listens",
    "WITH audit AS (INSERT INTO command_audit": "its answer is that of pg_notify",
    "SET LOCAL lock_timeout": "nobody waits for a lock: transactions that write follow one another anyhow",
    "SELECT pg_advisory_xact_lock": "transactions that write follow one another anyhow",
    "CREATE TABLE sample_": "a partition is a name",
    "ALTER TABLE sample": "as above",
    "SELECT keep_tenants_apart(": "as above, and of one tenant",
    "WITH moved AS (DELETE FROM sample_default": "no row is in a partition",
}
"""Statements whose answers are not compared, and why; PostgreSQL takes them all the same."""

ONCE: Final = (
    "WITH audit AS (INSERT INTO command_audit",
    "WITH written AS (INSERT INTO command_audit",
    "INSERT INTO signing_key (",
    "INSERT INTO command (",
    "WITH old AS (DELETE FROM agent_audit_head",
)
"""Statements that nobody says a second time: their rows have numbers or names of their own."""

_TIME: Final = "extract(epoch FROM {0})::float8 AS {0}"
_OWN_NUMBERS: Final = ("tag_id",)
"""Columns that PostgreSQL numbers with holes."""


class TwoSessions:
    """See ``Session``. What is wrong is in ``differences``; ``said``, which registered statements were."""

    def __init__(self, real: Session, tables: Tables) -> None:
        self._real = real
        self._tables = tables
        self.now_s = 0.0
        self.said: set[str] = set()
        self.differences: list[str] = []

    def go_to(self, now_s: float) -> None:
        """It is ``now_s`` on both sides: whole milliseconds, which floats and PostgreSQL have alike."""
        self.now_s = round(now_s, 3)

    async def execute(self, sql: str, *args: Any) -> int:
        beginning = self._beginning(sql)
        if beginning == "INSERT INTO agent (":  # an insert that finds a row uses a number up all the same
            query = "SELECT setval(pg_get_serial_sequence('agent', 'agent_id'), count(*) + 1, false) FROM agent"
            await self._real.fetch(query)
        real = await self._real.execute(self._dated(sql), *args)
        answer = run_statement(self._tables, sql, args, self.now_s)
        simulated = answer if isinstance(answer, int) else len(answer)
        if beginning == "INSERT INTO agent (" and real:  # the default of the column asks another clock
            await self._real.execute(self._dated("UPDATE agent SET last_seen = now() WHERE name = $1"), args[1])
        if beginning not in SIMPLIFIED and real != simulated:
            self.differences.append(f"{sql} {args}: PostgreSQL touches {real} rows, the simulation {simulated}")
        return real

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            await self.execute(sql, *row)

    async def fetch(self, sql: str, *args: Any) -> Sequence[Row]:
        beginning = self._beginning(sql)
        real = [dict(row) for row in await self._real.fetch(self._dated(sql), *args)]
        simulated = run_statement(self._tables, sql, args, self.now_s)
        assert not isinstance(simulated, int)
        if beginning not in SIMPLIFIED:
            columns = real[0].keys() if real else ()
            if comparable(real) != comparable({name: row[name] for name in columns} for row in simulated):
                self.differences.append(f"{sql} {args}: PostgreSQL answers {real}, the simulation {simulated}")
            elif len(real) != len(simulated):
                self.differences.append(f"{sql} {args}: PostgreSQL answers nothing, the simulation {simulated}")
        return simulated

    async def copy(self, table: str, columns: Sequence[str], data: bytes) -> int:
        run_copy(self._tables, table, columns, data)
        return await self._real.copy(table, columns, data)

    def _beginning(self, sql: str) -> str:
        (found,) = (beginning for beginning in STATEMENTS if sql.startswith(beginning))
        self.said.add(found)
        return found

    def _dated(self, sql: str) -> str:
        return sql.replace("now()", f"to_timestamp({self.now_s:.6f})")


class TwoDatabases:
    """See ``Database``; everything is said in one session."""

    def __init__(self, both: TwoSessions) -> None:
        self._both = both

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> AsyncIterator[TwoSessions]:
        assert tenant_id in (None, 1), "the simulation has one tenant"
        yield self._both

    transaction = session


def comparable(rows: Iterable[Row]) -> list[str]:
    """Rows in an order of their own; times to a tenth of a millisecond."""
    return sorted(str({name: _plain(row[name]) for name in sorted(row) if name not in _OWN_NUMBERS}) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, tuple):
        return list(value)
    return bytes(value) if isinstance(value, memoryview) else value


async def different_tables(real: Session, tables: Tables) -> list[str]:
    """The tables whose rows are not the same on both sides, and the rows that only one of them has."""
    found: list[str] = []
    for table, columns, simulated in _tables(tables):
        rows = [dict(row) for row in await real.fetch(f"SELECT {', '.join(columns)} FROM {table}")]
        names = [re.split(r" AS |::text$", column)[-1] or column.removesuffix("::text") for column in columns]
        left, right = comparable(rows), comparable({name: row.get(name) for name in names} for row in simulated)
        if left != right:
            found.append(f"{table}: only in PostgreSQL {_less(left, right)}, only simulated {_less(right, left)}")
    return found


def _less(some: list[str], others: list[str]) -> list[str]:
    return [row for row in some if row not in others][:3]


def _tables(tables: Tables) -> Iterable[tuple[str, list[str], Iterable[Row]]]:
    """Each table, its columns that are simulated, and its rows in the simulation."""
    us = "(extract(epoch FROM {}) * 1000000)::bigint AS {}"
    yield "sparkplug_group", ["group_name", "tenant_id"], tables.groups.values()
    times = [_TIME.format(name) for name in ("online_changed", "last_seen", "rebirth_wanted", "rebirth_asked")]
    plain = ["agent_id", "tenant_id", "group_name", "name", "acknowledges", "online", "bd_seq", "seq", "version"]
    yield "agent", [*plain, *times], tables.agents.values()
    plain = ["agent_id", "tenant_id", "name", "online"]
    yield "device", [*plain, _TIME.format("online_changed")], tables.devices.values()
    plain = ["agent_id", "tenant_id", "device", "name", "datatype", "unit", "description", "properties"]
    yield "tag", plain, tables.tags.values()
    yield "definition", ["agent_id", "tenant_id", "hash", "device", "body"], tables.definitions.values()
    born = [{"agent_id": key[0], "device": key[1], "hash": hash_} for key, hash_ in tables.born.items()]
    yield "born_definition", ["agent_id", "device", "hash"], born
    births = [{"agent_id": key[0], "device": key[1], "payload": payload} for key, payload in tables.births.items()]
    yield "birth", ["agent_id", "device", "payload"], births
    plain = ["agent_id", "tenant_id", "epoch", "first_batch", "last_batch", "samples", "duplicates", "revision"]
    told = ["arrived::text AS arrived", "(extract(epoch FROM started) * 1000)::bigint AS started_ms"]
    yield "ledger", [*plain, *told], tables.ledger.values()
    plain = ["agent_id", "tenant_id", "device", "reason", "sample_count", "tags", "detail", "epoch"]
    told = ["batches::text AS batches", us.format("first_time", "first_us"), us.format("last_time", "last_us")]
    yield "gap", [*plain, *told], tables.gaps
    received = "(extract(epoch FROM received) * 1000)::bigint AS {}"
    plain = ["tenant_id", "agent_id", "epoch", "batch", "topic", "payload", "reason"]
    yield "dead_letter", [*plain, received.format("received")], tables.letters
    plain = ["agent_id", "tenant_id", "epoch", "batch", "definition", "topic", "payload"]
    yield "parked_batch", [*plain, received.format("received_ms")], tables.parked.values()
    yield "projection", ["partition", "next_offset", "last_ms"], tables.places.values()
    yield from _tables_of_commands(tables)
    value = "coalesce(value_double::text, value_int::text, value_bool::text, value_text) AS value"
    samples = [{**sample._asdict(), "tag": sample.tag_id, "value": _text(sample.value)} for sample in tables.samples()]
    yield "sample", ["tag_id AS tag", "tenant_id", "quality", value, us.format("time", "time_us")], samples


def _tables_of_commands(tables: Tables) -> Iterable[tuple[str, list[str], Iterable[Row]]]:
    yield "signing_key", ["key_id", "tenant_id", "public_key", "created_by", "retired_by"], tables.signing_keys.values()
    plain = [
        "command_id", "tenant_id", "agent_id", "origin", "action", "datatype", "correlation", "stage", "armed",
        "precondition", "issuer", "reason", "needs_approval", "approvers", "is_plain", "requested_ms", "expires_ms",
        "idempotency_key", "request_hash", "state", "changed_ms", "envelope", "sends", "next_send_ms", "cancellation",
        "next_cancel_ms", "cancels", "source", "waits", "approval", "next_approval_ms", "approvals",
    ]  # fmt: skip
    yield "command", plain, tables.commands.values()
    plain = [
        "state_id", "tenant_id", "command_id", "state", "time_ms", "actor", "reason", "code", "value_before",
        "value_after", "journal", "number", "step", "is_late",
    ]  # fmt: skip
    yield "command_state", plain, tables.command_states
    relayed = [{"tenant_id": tenant_id, "state_id": state_id} for tenant_id, state_id in tables.command_relay.items()]
    yield "command_relay", ["tenant_id", "state_id"], relayed
    plain = ["agent_id", "tenant_id", "journal", "start", "heard_ms", "restored", "audit_number", "audit_hash", "locks"]
    yield "command_journal", [*plain, "trusted"], tables.command_journals.values()
    plain = ["agent_id", "tenant_id", "start", "journal", "number", "previous", "last_batch", "last_count"]
    yield "command_start", plain, tables.command_starts.values()
    heads = [
        {"agent_id": agent_id, "number": number, "hash": known}
        for agent_id, numbers in tables.agent_audit_heads.items()
        for number, known in numbers.items()
    ]
    yield "agent_audit_head", ["agent_id", "number", "hash"], heads
    plain = ["agent_id", "tenant_id", "nonce", "journal", "number", "restored", "trusted"]
    yield "time_request", plain, tables.time_requests.values()
    plain = ["tenant_id", "number", "time_ms", "actor", "action", "subject", "details", "before", "hash"]
    yield "command_audit", plain, [{"tenant_id": 1, **row} for row in tables.command_audit]


def _text(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else str(value)
