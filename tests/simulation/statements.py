"""What each statement of ingest and historian does to the tables in memory.

The statements are told apart by their beginning; columns are read from their text, so that a column more or another
order changes nothing here. Whether PostgreSQL makes the same of them is what tests/contract/test_simulated_database.py
asks a real one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from connectors.model.delivery import BatchRanges
from tests.simulation.tables import Row, Tables, numbers

_REBIRTH_PAUSE_S: Final = 10.0
_ASK_PAUSE_S: Final = 1.0

Answer = int | list[Row]
Statement = Callable[[Tables, str, Sequence[Any], float], Answer]
_STATEMENTS: dict[str, Statement] = {}


class UnknownStatement(Exception):
    """The product says something to the database that is not simulated."""


def run_statement(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Rows, or how many rows were touched."""
    return _statement(sql)(tables, sql, args, now_s)


@lru_cache(maxsize=1024)
def _statement(sql: str) -> Statement:
    found = [statement for beginning, statement in _STATEMENTS.items() if sql.startswith(beginning)]
    if len(found) != 1:
        raise UnknownStatement(f"the simulated database knows {len(found)} statements that begin like: {sql[:80]}")
    return found[0]


def statement(beginning: str) -> Callable[[Statement], Statement]:
    """What the statement does that begins so."""

    def registered(function: Statement) -> Statement:
        _STATEMENTS[beginning] = function
        return function

    return registered


@lru_cache(maxsize=1024)
def _inserted(sql: str) -> list[tuple[str, int]]:
    """(column, index of its argument) of an ``INSERT … (columns) VALUES (expressions)``."""
    found = re.match(r"INSERT INTO \w+ \(([^)]*)\) VALUES \((.*?)\)(?: ON CONFLICT.*)?$", sql, re.DOTALL)
    assert found is not None, sql
    columns = [column.strip() for column in found[1].split(",")]
    places = [int(place) - 1 for place in re.findall(r"\$(\d+)", found[2])]
    if len(places) < len(columns):  # a constant at the end
        columns = columns[: len(places)]
    return list(zip(columns, places, strict=True))


def _row(sql: str, args: Sequence[Any]) -> Row:
    return {column: args[place] for column, place in _inserted(sql)}


@lru_cache(maxsize=1024)
def _given(sql: str) -> list[str]:
    found = re.search(r"AS given \(([^)]*)\)", sql)
    assert found is not None, sql
    return [column.strip() for column in found[1].split(",")]


def _rows(sql: str, columns: Sequence[Sequence[Any]]) -> list[Row]:
    """The rows of an ``unnest(…) AS given (columns)``."""
    names = _given(sql)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _seconds(time_ms: int | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


@statement("INSERT INTO sparkplug_group")
def _enter_group(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return _insert_new(tables.groups, args[0], {"group_name": args[0], "tenant_id": args[1]})


@statement("INSERT INTO agent (")
def _enter_agent(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    if any((row["group_name"], row["name"]) == tuple(args) for row in tables.agents.values()):
        return 0
    agent_id = len(tables.agents) + 1
    tables.agents[agent_id] = {
        "agent_id": agent_id, "tenant_id": tables.groups[args[0]]["tenant_id"], "group_name": args[0], "name": args[1],
        "acknowledges": False, "online": False, "online_changed": None, "bd_seq": None, "version": "",
        "last_seen": now_s, "rebirth_wanted": None, "rebirth_asked": None,
    }  # fmt: skip
    return 1


@statement("SELECT agent_id, tenant_id, acknowledges FROM agent WHERE group_name = $1 AND name = $2")
def _agent(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [row for row in tables.agents.values() if (row["group_name"], row["name"]) == tuple(args)]


@statement("SELECT bd_seq FROM agent WHERE agent_id = $1")
def _bd_seq(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [tables.agents[args[0]]] if args[0] in tables.agents else []


@statement("UPDATE agent SET last_seen = ")
def _change_agents(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    given = _rows(sql, args)
    for change in given:
        before = tables.agents[change["agent_id"]]
        seen_s, row = change["seen_ms"] / 1000, dict(before)
        row["last_seen"] = max(before["last_seen"], seen_s)
        for name in ("acknowledges", "online", "bd_seq", "version"):
            row[name] = before[name] if change[name] is None else change[name]
        if change["online"] is not None and change["online"] != before["online"]:
            row["online_changed"] = seen_s
        asked_s = before["rebirth_asked"]
        unborn = row["acknowledges"] and not before["online"] and change["online"] is None
        wanted_s = before["rebirth_wanted"]
        if change["wants_rebirth"] or (unborn and (asked_s is None or asked_s < now_s - _REBIRTH_PAUSE_S)):
            due_s = now_s + change.get("rebirth_after_ms", 0) / 1000
            row["rebirth_wanted"] = due_s if wanted_s is None else min(wanted_s, due_s)
        elif change.get("takes_rebirth_back") and wanted_s is not None and wanted_s > now_s:
            row["rebirth_wanted"] = None
        tables.agents[change["agent_id"]] = row
    return len(given)


@statement("UPDATE agent SET rebirth_wanted = NULL")
def _ask_rebirths(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    asked: list[Row] = []
    for agent_id, row in tables.agents.items():
        before_s = row["rebirth_asked"]
        due_s = row["rebirth_wanted"]
        if due_s is not None and due_s <= now_s and (before_s is None or before_s < now_s - _ASK_PAUSE_S):
            tables.agents[agent_id] = {**row, "rebirth_wanted": None, "rebirth_asked": now_s}
            asked.append(row)
    return asked


@statement("UPDATE agent SET rebirth_wanted = coalesce(")
def _want_births_of_strangers(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    plain = [agent_id for agent_id in args[0] if not tables.agents[agent_id]["acknowledges"]]
    for agent_id in plain:
        row = tables.agents[agent_id]
        due_s = now_s + 1.0 if row["rebirth_wanted"] is None else row["rebirth_wanted"]
        tables.agents[agent_id] = {**row, "rebirth_wanted": due_s}
    return len(plain)


@statement("SELECT group_name, name FROM agent WHERE NOT acknowledges")
def _plain_nodes(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [row for row in tables.agents.values() if not row["acknowledges"]]


@statement("UPDATE device SET online = false")
def _devices_gone(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    gone = [key for key, row in tables.devices.items() if key[0] == args[0] and row["online"]]
    for key in gone:
        tables.devices[key] = {**tables.devices[key], "online": False, "online_changed": _seconds(args[1])}
    return len(gone)


@statement("INSERT INTO device (")
def _device(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = _row(sql, args)
    row["online_changed"] = _seconds(row["online_changed"])
    before = tables.devices.get((row["agent_id"], row["name"]))
    if before is not None and before["online"] == row["online"]:
        row["online_changed"] = before["online_changed"]
    tables.devices[row["agent_id"], row["name"]] = row
    return 1


@statement("WITH given AS (SELECT * FROM unnest(")
def _enter_tags(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    agent_id, tenant_id, *columns, changing = args
    entered: dict[tuple[int, str, str], Row] = {}
    for given in _rows(sql, columns):
        key = (agent_id, given["device"], given["name"])
        if key in entered:  # DISTINCT ON
            continue
        before = tables.tags.get(key)
        if before is None:
            given |= {"tag_id": len(tables.tags) + 1, "agent_id": agent_id, "tenant_id": tenant_id}
            tables.tags[key] = given
        elif changing:
            tables.tags[key] = {**before, **given}
        entered[key] = tables.tags[key]
    return list(entered.values())


@statement("INSERT INTO definition (")
def _enter_definition(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = _row(sql, args)
    return _insert_new(tables.definitions, (row["agent_id"], row["hash"]), row)


@statement("SELECT body FROM definition WHERE agent_id = $1 AND hash = $2")
def _definition(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.definitions.get((args[0], args[1]))
    return [] if row is None else [row]


@statement("INSERT INTO born_definition (")
def _enter_born(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = _row(sql, args)
    tables.born[row["agent_id"], row["device"]] = row["hash"]
    return 1


@statement("SELECT hash FROM born_definition WHERE agent_id = $1 AND device = $2")
def _born(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    hash_ = tables.born.get((args[0], args[1]))
    return [] if hash_ is None else [{"hash": hash_}]


@statement("DELETE FROM birth WHERE agent_id = $1")
def _forget_births(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    gone = [key for key in tables.births if key[0] == args[0]]
    for key in gone:
        del tables.births[key]
    return len(gone)


@statement("INSERT INTO birth (")
def _birth(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = _row(sql, args)
    tables.births[row["agent_id"], row["device"]] = row["payload"]
    return 1


@statement("SELECT device, payload FROM birth WHERE agent_id = $1")
def _births(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found = sorted((key[1], payload) for key, payload in tables.births.items() if key[0] == args[0])
    return [{"device": device, "payload": payload} for device, payload in found]


@statement("INSERT INTO rollup_minute_due (")
def _rollups_due(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Nobody rolls up in the simulation."""
    return len(args[0])


@statement("INSERT INTO ledger AS known")
def _write_ledger(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    written = 0
    for row in _rows(sql, args):
        key, revision = (row["agent_id"], row["epoch"]), row["revision"]
        before = tables.ledger.get(key)
        if before is None or before["revision"] == revision:
            tables.ledger[key] = {**row, "revision": revision + 1}
            written += 1
    return written


@statement("SELECT arrived::text AS arrived, ")
def _ledger(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.ledger.get((args[0], args[1]))
    return [] if row is None else [row]


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
    row = _row(sql, args)
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


@statement("INSERT INTO host AS known")
def _host_came(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1  # who is the host says nothing about what is delivered


@statement("SELECT broker FROM host")
def _where_the_host_is(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return []  # nobody knows; there is one broker


@statement("UPDATE host SET")
def _host_lives_or_left(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1


@statement("INSERT INTO parked_batch (")
def _park(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = _row(sql, args)
    row["received_ms"] = row.pop("received")
    return _insert_new(tables.parked, (row["agent_id"], row["epoch"], row["batch"]), row)


@statement("SELECT topic, payload, (extract(epoch FROM received) * 1000)::bigint AS received_ms FROM parked_batch")
def _parked(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found = [key for key, row in tables.parked.items() if (row["agent_id"], row["definition"]) == tuple(args)]
    return [tables.parked[key] for key in sorted(found)]


@statement("DELETE FROM parked_batch WHERE agent_id = $1 AND definition = $2")
def _unpark(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    gone = [key for key, row in tables.parked.items() if (row["agent_id"], row["definition"]) == tuple(args)]
    for key in gone:
        del tables.parked[key]
    return len(gone)


@statement("INSERT INTO dead_letter (")
def _dead_letter(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.letters.append(_row(sql, args))
    return 1


@statement("INSERT INTO projection (")
def _begin_place(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return _insert_new(tables.places, tuple(args), {"next_offset": 0, "last_ms": None, "partition": args[3]})


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


@statement("CREATE TABLE sample_")
def _make_day(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.days[sql.split()[2]] = None
    return 0


@statement("SELECT pg_advisory_xact_lock")
@statement("ALTER TABLE sample")
@statement("WITH moved AS (DELETE FROM sample_default")
def _nothing(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 0


def _insert_new(table: dict[Any, Row], key: Any, row: Row) -> int:
    """``ON CONFLICT DO NOTHING``."""
    if key in table:
        return 0
    table[key] = row
    return 1
