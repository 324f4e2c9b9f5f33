"""What is known of agents, devices, tags, definitions and hosts: what each statement does to the tables in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tests.simulation.registry import Answer, insert_new, row_of, rows_of, seconds, statement
from tests.simulation.tables import Row, Tables

_REBIRTH_PAUSE_S: Final = 10.0
_ASK_PAUSE_S: Final = 1.0


@statement("INSERT INTO sparkplug_group")
def _enter_group(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return insert_new(tables.groups, args[0], {"group_name": args[0], "tenant_id": args[1]})


@statement("INSERT INTO agent (")
def _enter_agent(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    if any((row["group_name"], row["name"]) == tuple(args) for row in tables.agents.values()):
        return 0
    agent_id = len(tables.agents) + 1
    tables.agents[agent_id] = {
        "agent_id": agent_id, "tenant_id": tables.groups[args[0]]["tenant_id"], "group_name": args[0], "name": args[1],
        "acknowledges": False, "online": False, "online_changed": None, "bd_seq": None, "seq": None, "version": "",
        "last_seen": now_s, "rebirth_wanted": None, "rebirth_asked": None,
    }  # fmt: skip
    return 1


@statement("SELECT agent_id, tenant_id, acknowledges FROM agent WHERE group_name = $1 AND name = $2")
def _agent(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [row for row in tables.agents.values() if (row["group_name"], row["name"]) == tuple(args)]


@statement("SELECT bd_seq FROM agent WHERE agent_id = $1")
def _bd_seq(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [tables.agents[args[0]]] if args[0] in tables.agents else []


@statement("SELECT seq, (extract(epoch FROM last_seen)")
def _left(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.agents.get(args[0])
    return [] if row is None else [{"seq": row["seq"], "last_ms": round(row["last_seen"] * 1000)}]


@statement("UPDATE agent SET last_seen = ")
def _change_agents(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    given = rows_of(sql, args)
    for change in given:
        before = tables.agents[change["agent_id"]]
        seen_s, row = change["seen_ms"] / 1000, dict(before)
        row["last_seen"] = max(before["last_seen"], seen_s)
        for name in ("acknowledges", "online", "bd_seq", "seq", "version"):
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
        tables.devices[key] = {**tables.devices[key], "online": False, "online_changed": seconds(args[1])}
    return len(gone)


@statement("INSERT INTO device (")
def _device(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
    row["online_changed"] = seconds(row["online_changed"])
    before = tables.devices.get((row["agent_id"], row["name"]))
    if before is not None and before["online"] == row["online"]:
        row["online_changed"] = before["online_changed"]
    tables.devices[row["agent_id"], row["name"]] = row
    return 1


@statement("WITH given AS (SELECT * FROM unnest(")
def _enter_tags(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    agent_id, tenant_id, *columns, changing = args
    entered: dict[tuple[int, str, str], Row] = {}
    for given in sorted(rows_of(sql, columns), key=lambda row: (row["device"], row["name"])):  # DISTINCT ON sorts
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
    row = row_of(sql, args)
    return insert_new(tables.definitions, (row["agent_id"], row["hash"]), row)


@statement("SELECT body FROM definition WHERE agent_id = $1 AND hash = $2")
def _definition(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.definitions.get((args[0], args[1]))
    return [] if row is None else [row]


@statement("INSERT INTO born_definition (")
def _enter_born(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = row_of(sql, args)
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
    row = row_of(sql, args)
    tables.births[row["agent_id"], row["device"]] = row["payload"]
    return 1


@statement("SELECT device, payload FROM birth WHERE agent_id = $1")
def _births(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found = sorted((key[1], payload) for key, payload in tables.births.items() if key[0] == args[0])
    return [{"device": device, "payload": payload} for device, payload in found]


@statement("INSERT INTO host AS known")
def _host_came(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1  # who is the host says nothing about what is delivered


@statement("SELECT broker FROM host")
def _where_the_host_is(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return []  # nobody knows; there is one broker


@statement("UPDATE host SET")
def _host_lives_or_left(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1
