"""Commands, their states and audit log, and journals of agents: what each statement does to the tables in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cloud_ingest.commands import numbers as numbers_seen
from cloud_ingest.commands.at_once import FIRST_FREE
from cloud_ingest.event_log.place import MOVE
from connectors.commands.states import ENDED
from tests.simulation.registry import Answer, row_of, run_statement, statement
from tests.simulation.statements_of_journals import highest
from tests.simulation.tables import Row, Tables

_OPEN_STATES: Final = frozenset({"requested", "approved", "sent", "received", "executing"})
_UNDER_WAY_MAX: Final = 32
assert _OPEN_STATES.isdisjoint(state.value for state in ENDED)


# -- keys and audit ----------------------------------------------------------------------------------------------------


@statement("SELECT key_id FROM signing_key WHERE tenant_id")
def _holding_keys(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return list(tables.signing_keys.values())


@statement("SELECT key_id, vouched FROM signing_key WHERE tenant_id")
def _vouched_keys(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    holding = [row for row in tables.signing_keys.values() if row["vouched"] is not None]
    return [{"key_id": row["key_id"], "vouched": row["vouched"]} for row in holding]


@statement("INSERT INTO signing_key (")
def _enter_key(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.signing_keys[args[0]] = {**row_of(sql, args), "created": now_s, "retired": None, "retired_by": None}
    return 1


@statement("SELECT key_id, public_key, created, created_by, retired, retired_by FROM signing_key")
def _keys(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return list(tables.signing_keys.values())


@statement("SELECT tenant_id, number, hash FROM command_audit_head WHERE tenant_id")
def _audit_heads(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> list[Row]:
    found: list[Row] = []
    for tenant_id in sorted(args[0]):
        own = [row for row in tables.command_audit if row["tenant_id"] == tenant_id]
        last = own[-1] if own else {"number": 0, "hash": ""}
        found.append({"tenant_id": tenant_id, "number": last["number"], "hash": last["hash"]})
    return found


@statement("WITH moved AS (UPDATE projection SET next_offset=$6, last_ms=$7 ")
def _move_and_lock(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    moved = run_statement(tables, MOVE, args[:7], now_s)
    return [{**head, "moved": moved} for head in _audit_heads(tables, sql, args[7:], now_s)]


def _heads_read(tables: Tables, tenant_id: int) -> Row:
    (head,) = _audit_heads(tables, "", [[tenant_id]], 0.0)
    return {f"head_{name}": head[of] for name, of in (("tenant", "tenant_id"), ("number", "number"), ("hash", "hash"))}


@statement("WITH written AS (INSERT INTO command_audit")
def _append_audit(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    names = ("tenant_id", "number", "time_ms", "actor", "action", "subject", "details", "before", "hash")
    tables.command_audit += _rows(names, args[:9])
    return 1


@statement("SELECT pg_notify($1")
def _notify(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return 1


# -- states ------------------------------------------------------------------------------------------------------------


@statement("WITH audit AS (INSERT INTO command_audit")
def _write_states(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    _append_audit(tables, sql, args, now_s)
    names = (
        "tenant_id", "command_id", "state", "time_ms", "actor", "reason", "code", "value_before", "value_after",
        "journal", "number", "step", "is_late",
    )  # fmt: skip
    for row in _rows(names, [args[0], *args[12:24]]):
        tables.command_states.append({"state_id": len(tables.command_states) + 1, **row})
    for command, state, time_ms in zip(*args[24:27], strict=True):
        tables.commands[command] = {**tables.commands[command], "state": state, "changed_ms": time_ms}
    if numbers := args[28:]:
        run_statement(tables, numbers_seen.statement(1), numbers, now_s)
    return 1


@statement("WITH held AS MATERIALIZED (SELECT tenant_id, number FROM command_audit_head")
def _write_at_once(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    """Reports have a place that has to be where it was, requests a new command, and what is sent an envelope."""
    heads = {row["tenant_id"]: row["number"] for row in _audit_heads(tables, sql, [args[28]], now_s)}
    if any(heads.get(tenant_id) != number for tenant_id, number in zip(args[29], args[30], strict=True)):
        return 0
    more = args[FIRST_FREE - 1 :]
    if " place AS " in sql and not run_statement(tables, MOVE, more[:7], now_s):
        return 0
    if " new AS " in sql and not _insert(tables, sql, more, now_s):
        return 0
    _write_states(tables, sql, args[:28], now_s)
    if " place AS " in sql:
        run_statement(tables, numbers_seen.statement(1), more[7:], now_s)
    elif " new AS " not in sql:
        for command, envelope, sends, next_ms in zip(args[24], *more, strict=True):
            about = {"envelope": envelope, "sends": sends, "next_send_ms": next_ms}
            tables.commands[command] = {**tables.commands[command], **about}
    return len(args[27])


@statement("SELECT state_id FROM command_relay WHERE tenant_id")
def _relayed(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [{"state_id": tables.command_relay[args[0]]}]


@statement("SELECT state_id, command_state.command_id")
def _states_after(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found: list[Row] = []
    for row in tables.command_states[args[0] : args[0] + args[1]]:
        command = tables.commands[row["command_id"]]
        of_command = {name: command[name] for name in ("origin", "correlation", "action", "is_plain", "source")}
        found.append({**row, **of_command, "agent": _name(tables, command["agent_id"])})
    return found


@statement("UPDATE command_relay SET state_id")
def _relay(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    if tables.command_relay[args[0]] >= args[1]:
        return 0
    tables.command_relay[args[0]] = args[1]
    return 1


# -- requests ----------------------------------------------------------------------------------------------------------


@statement("SELECT command_id, request_hash FROM command WHERE")
def _earlier(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [row for row in tables.commands.values() if _key(row) == tuple(args)]


def _key(row: Row) -> tuple[Any, ...]:
    return (row["tenant_id"], row["issuer"], row["idempotency_key"])


@statement("SELECT agent.agent_id, acknowledges, tag.datatype")
def _target(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found: list[Row] = []
    for row in tables.agents.values():
        if (row["group_name"], row["name"], row["tenant_id"]) == (*args[:2], args[4]):
            tag = tables.tags.get((row["agent_id"], args[2], args[3]))
            about = {name: row[name] for name in ("agent_id", "acknowledges")}
            of_tag = ("datatype", "unit", "properties")
            known = dict.fromkeys(of_tag) if tag is None else {name: tag[name] for name in of_tag}
            known["properties"] = known["properties"] if row["acknowledges"] else ""
            opened = {"open_commands": _open_commands(tables, row["agent_id"]), **_heads_read(tables, row["tenant_id"])}
            has_key = bool(tables.signing_keys)
            found.append({**about, **opened, **known, "has_key": has_key, "is_revoked": None})
    return found


@statement("SELECT count(*) AS n FROM command WHERE agent_id")
def _count_open(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [{"n": _open_commands(tables, args[0])}]


def _open_commands(tables: Tables, agent_id: int) -> int:
    return sum(row["agent_id"] == agent_id and row["state"] in _OPEN_STATES for row in tables.commands.values())


@statement("INSERT INTO command (command_id, tenant_id, agent_id, action, datatype")
def _insert(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    names = (
        "command_id", "tenant_id", "agent_id", "action", "datatype", "correlation", "stage", "armed", "precondition",
        "issuer", "reason", "needs_approval", "is_plain", "requested_ms", "changed_ms", "expires_ms",
        "idempotency_key", "request_hash",
    )  # fmt: skip
    row: Row = dict(zip(names, args, strict=True))
    if any(_key(row) == _key(one) for one in tables.commands.values()):
        return 0
    tables.commands[row["command_id"]] = {
        **row, "origin": "cloud", "state": "requested", "approvers": (),
        "envelope": None, "sends": 0, "next_send_ms": 0, "cancellation": None, "next_cancel_ms": 0, "cancels": 0,
        "source": None, "waits": False, "approval": None, "next_approval_ms": 0, "approvals": 0,
    }  # fmt: skip
    return 1


@statement("SELECT command.*, group_name || '/' || name AS agent FROM command")
def _command(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.commands.get(args[0])
    if row is None or row["tenant_id"] != args[1]:
        return []
    return [{**row, "agent": _name(tables, row["agent_id"])}]


@statement("UPDATE command SET approvers")
def _approve(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    row = tables.commands[args[0]]
    tables.commands[args[0]] = {**row, "approvers": (*row["approvers"], args[1])}
    return 1


@statement("UPDATE command SET cancellation = $2")
def _ask_to_cancel(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    tables.commands[args[0]] = {**tables.commands[args[0]], "cancellation": args[1], "next_cancel_ms": 0}
    return 1


# -- what is due -------------------------------------------------------------------------------------------------------


@statement("SELECT command_id, tenant_id, state, times, cancellations, approvals, ")
def _due(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    now_ms, count_max, hello_s = args
    sent = [row for row in tables.commands.values() if row["state"] in ("sent", "received")]
    asked = {
        "times": bool(tables.time_requests),
        "cancellations": any(row["cancellation"] is not None for row in sent),
        "approvals": any(row["approval"] is not None and row["state"] == "received" for row in sent),
    }
    found: list[Row] = []
    for agent_id in tables.agents:
        under_way = [
            row for row in _in_order(tables) if row["agent_id"] == agent_id and _may_go(tables, row, now_s, hello_s)
        ]
        for row in under_way[:_UNDER_WAY_MAX]:
            again = row["state"] == "sent" and row["next_send_ms"] <= now_ms and row["cancellation"] is None
            if row["expires_ms"] > now_ms and (row["state"] in ("requested", "approved") or again):
                found.append({**row, **_about_sending(tables, row), **_heads_read(tables, row["tenant_id"]), **asked})
    found.sort(key=lambda row: str(row["command_id"]))
    nothing = {**dict.fromkeys(re.split(r", | FROM ", sql.removeprefix("SELECT "))), "number": 0, **asked}
    return found[:count_max] or [nothing]


def _about_sending(tables: Tables, row: Row) -> Row:
    """What stands beside a command of the agent that it is sent to."""
    agent = tables.agents[row["agent_id"]]
    journal = tables.command_journals.get(row["agent_id"], {"journal": ""})["journal"]
    names = {"group_name": agent["group_name"], "name": agent["name"], "agent": _name(tables, row["agent_id"])}
    return {**names, "journal": journal, "number": highest(tables, row["agent_id"], journal)}


def _may_go(tables: Tables, row: Row, now_s: float, hello_s: float) -> bool:
    """Whether a command is open, and its agent is born and has said hello since, or had the time to."""
    agent = tables.agents[row["agent_id"]]
    if row["state"] not in _OPEN_STATES or (row["state"] == "requested" and row["needs_approval"]):
        return False
    changed_s, journal = agent["online_changed"], tables.command_journals.get(row["agent_id"])
    heard = journal is not None and changed_s is not None and journal["heard_ms"] >= round(changed_s * 1000)
    return agent["online"] and (changed_s is None or changed_s < now_s - hello_s or heard)


@statement("DELETE FROM time_request USING agent")
def _take_time_requests(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found: list[Row] = []
    for agent_id in sorted(tables.time_requests)[: args[0]]:
        agent = tables.agents[agent_id]
        found.append({**tables.time_requests.pop(agent_id), "group_name": agent["group_name"], "name": agent["name"]})
    return found


@statement("SELECT command.*, group_name, agent.name, ")
def _to_send(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    again = sql.endswith("AND command.state = 'sent' ORDER BY command_id")
    found: list[Row] = []
    for row in _in_order(tables):
        first = row["state"] == "approved" or (row["state"] == "requested" and not row["needs_approval"])
        if row["command_id"] not in args[0] or not (row["state"] == "sent" if again else first):
            continue
        found.append({**row, **_about_sending(tables, row)})
    return found


@statement("UPDATE command SET envelope = given.envelope")
def _note_first(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    for command, envelope, next_ms in zip(*args, strict=True):
        row = tables.commands[command]
        tables.commands[command] = {**row, "envelope": envelope, "sends": 1, "next_send_ms": next_ms}
    return len(args[0])


@statement("UPDATE command SET sends = given.sends")
def _note_again(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    touched = 0
    for command, sends, next_ms in zip(*args, strict=True):
        row = tables.commands[command]
        if row["state"] == "sent":
            touched += 1
            tables.commands[command] = {**row, "sends": sends, "next_send_ms": next_ms}
    return touched


@statement("SELECT command_id, cancellation, cancels, group_name")
def _cancellations(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found: list[Row] = []
    for row in _in_order(tables):
        agent = tables.agents[row["agent_id"]]
        asked = row["cancellation"] is not None and row["next_cancel_ms"] <= args[0] < row["expires_ms"]
        if asked and agent["online"] and row["state"] in ("sent", "received"):
            found.append({**row, "group_name": agent["group_name"], "name": agent["name"]})
    return found[: args[1]]


@statement("UPDATE command SET cancels = given.cancels")
def _note_cancels(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    for command, cancels, next_ms in zip(*args, strict=True):
        tables.commands[command] = {**tables.commands[command], "cancels": cancels, "next_cancel_ms": next_ms}
    return len(args[0])


@statement("SELECT command_id, tenant_id, state, expires_ms FROM command ")
def _over(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found = [row for row in _in_order(tables) if row["state"] in _OPEN_STATES and row["expires_ms"] <= args[0]]
    return sorted(found, key=lambda row: int(row["expires_ms"]))[: args[1]]


# -- reports and journals ----------------------------------------------------------------------------------------------


@statement("SELECT command_id, command.state, agent_id, action IS NULL AS nameless")
def _known(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    found: list[Row] = []
    asked = {args[0]} if isinstance(args[0], str) else set(args[0])
    for command in asked & tables.commands.keys():
        row = tables.commands[command]
        about = {name: row[name] for name in ("command_id", "state", "agent_id")}
        about |= {"nameless": row["action"] is None, **_heads_read(tables, row["tenant_id"])}
        about |= dict.fromkeys(("key_id", "public_key", "signs", "retired_ms"))  # none of its agents is enrolled
        states = [each for each in tables.command_states if each["command_id"] == command]
        steps = [{"journal": each["journal"], "step": each["step"]} for each in states]
        found += [{**about, **step} for step in steps or [{"journal": None, "step": None}]]
    return found


@statement("SELECT command_id FROM command WHERE agent_id = $1 AND state IN ('sent'")
def _under_way(tables: Tables, sql: str, args: Sequence[Any], now_s: float) -> Answer:
    return [
        {"command_id": row["command_id"]}
        for row in _in_order(tables)
        if row["agent_id"] == args[0] and row["state"] in ("sent", "received", "executing")
    ]


# ----------------------------------------------------------------------------------------------------------------------


def _rows(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> Iterable[Row]:
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _in_order(tables: Tables) -> list[Row]:
    return [tables.commands[command] for command in sorted(tables.commands)]


def _name(tables: Tables, agent_id: int) -> str:
    agent = tables.agents[agent_id]
    return f"{agent['group_name']}/{agent['name']}"


def value_of(row: Row, name: str) -> Any:
    """A value of a state, which is kept as JSON."""
    return None if row[name] is None else json.loads(row[name])
