"""What is asked of commands: lists of them, one with all its states, and the states as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.sight import EVERYTHING, Sight, seen
from cloud_ingest.commands.standing import COLUMNS, JOINS, standing
from connectors.commands.states import CommandState
from connectors.ports.database import Database, Row, Session

_COMMAND: Final = "SELECT command.*, group_name || '/' || agent.name AS agent FROM command JOIN agent USING (agent_id) "
_STATES: Final = (
    "SELECT state_id, command_state.command_id, command_state.state, time_ms, actor, command_state.reason, code, "
    "value_before, value_after, is_late FROM command_state "
)


@dataclass(frozen=True, slots=True)
class CommandChoice:
    """Which commands, the newest first; ``before`` is the id of the last one of the page before."""

    agent: str | None = None
    state: str | None = None
    issuer: str | None = None
    before: str | None = None
    count_max: int = 100
    sight: Sight = EVERYTHING


async def commands(database: Database, choice: CommandChoice) -> list[dict[str, Any]]:
    """The commands of ``choice``, without their states."""
    async with database.session() as session:
        rows = await session.fetch(
            _COMMAND + "WHERE ($1::text IS NULL OR group_name || '/' || agent.name = $1) "
            "AND ($2::text IS NULL OR command.state = $2) AND ($3::text IS NULL OR issuer = $3) "
            f"AND ($4::text IS NULL OR command_id < $4) AND {seen(6)} ORDER BY command_id DESC LIMIT $5",
            choice.agent,
            choice.state,
            choice.issuer,
            choice.before,
            choice.count_max,
            *choice.sight.arguments,
        )
        newest = await _newest(session, [str(row["command_id"]) for row in rows]) if rows else {}
    return [_command(row, newest.get(row["command_id"])) for row in rows]


async def command(database: Database, command_id: str, sight: Sight = EVERYTHING) -> dict[str, Any]:
    """One command with all its states. Raises ``RequestRefused`` when there is none in ``sight``."""
    async with database.session() as session:
        rows = await session.fetch(_COMMAND + f"WHERE command_id = $1 AND {seen(2)}", command_id, *sight.arguments)
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_command", f"there is no command {command_id}")
        states = await session.fetch(_STATES + "WHERE command_id = $1 ORDER BY state_id", command_id)
    current = [row for row in states if not row["is_late"]]
    return {**_command(rows[0], current[-1] if current else None), "states": [_state(row) for row in states]}


async def agents(database: Database, sight: Sight = EVERYTHING) -> list[dict[str, Any]]:
    """What every agent that takes commands has said of its journal last: whether it was restored, and its locks."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT group_name || '/' || agent.name AS agent, agent.online, command_journal.journal, "  # noqa: S608
            "command_journal.start, heard_ms, restored, audit_number, audit_hash, "
            "(SELECT coalesce(max(number), 0) FROM command_start WHERE command_start.agent_id = agent.agent_id "
            "    AND command_start.journal = command_journal.journal) AS number, "
            f"{COLUMNS} FROM agent {JOINS} WHERE command_journal.agent_id IS NOT NULL AND {seen(1)} ORDER BY 1",
            *sight.arguments,
        )
    return [
        {
            "agent": row["agent"],
            "online": row["online"],
            "journal": row["journal"],
            "number": row["number"],
            "start": row["start"],
            "heard": _time(row["heard_ms"]),
            "restored": row["restored"],
            "locks": list(row["locks"]),
            "audit_number": row["audit_number"],
            "audit_hash": row["audit_hash"],
            **standing(row),
        }
        for row in rows
    ]


async def _newest(session: Session, ids: Sequence[str]) -> dict[str, Row]:
    rows = await session.fetch(
        "SELECT DISTINCT ON (command_id) command_id, reason, code, value_before, value_after FROM command_state "
        "WHERE command_id = ANY($1::text[]) AND NOT is_late ORDER BY command_id, state_id DESC",
        list(ids),
    )
    return {str(row["command_id"]): row for row in rows}


def _command(row: Row, newest: Row | None) -> dict[str, Any]:
    return {
        "id": row["command_id"],
        "agent": row["agent"],
        "origin": row["origin"],
        "source": _source(row),
        "correlation": row["correlation"],
        "action": _action(row["action"]),
        "stage": row["stage"],
        "armed": row["armed"],
        "precondition": row["precondition"],
        "issuer": row["issuer"],
        "approval": row["needs_approval"],
        "approvers": list(row["approvers"]),
        "waits_for_approval": _waits_for_approval(row),
        "reason": row["reason"],
        "plain": row["is_plain"],
        "requested": _time(row["requested_ms"]),
        "expires": _time(row["expires_ms"]),
        "state": row["state"],
        "changed": _time(row["changed_ms"]),
        "sends": row["sends"],
        "cancellation_asked": row["cancellation"] is not None,
        "code": None if newest is None else newest["code"],
        "detail": "" if newest is None else newest["reason"],
        "before": None if newest is None else _value(newest["value_before"]),
        "after": None if newest is None else _value(newest["value_after"]),
    }


def _source(row: Row) -> str | None:
    """How it came, or comes, to the agent."""
    if row["origin"] == "agent":
        return None if row["source"] is None else str(row["source"])
    return "plain" if row["is_plain"] else "cloud"


def _waits_for_approval(row: Row) -> bool:
    if row["state"] == CommandState.REQUESTED:
        return bool(row["needs_approval"])
    return bool(row["state"] == CommandState.RECEIVED and row["waits"] and row["approval"] is None)


def _state(row: Row) -> dict[str, Any]:
    return {
        "cursor": row["state_id"],
        "state": row["state"],
        "time": _time(row["time_ms"]),
        "actor": row["actor"],
        "reason": row["reason"],
        "code": row["code"],
        "before": _value(row["value_before"]),
        "after": _value(row["value_after"]),
        "late": row["is_late"],
    }


def _action(text: str | None) -> dict[str, Any] | None:
    """As it was asked for, without the content of a file: its SHA-256 stands for it."""
    if text is None:
        return None
    return {key: value for key, value in json.loads(text).items() if key != "content"}


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


async def newest_cursor(database: Database) -> int:
    """The cursor of the newest state; 0 when there is none."""
    async with database.session() as session:
        (row,) = await session.fetch("SELECT coalesce(max(state_id), 0) AS newest FROM command_state")
    return int(row["newest"])


async def states_after(session: Session, after: int, count_max: int) -> list[Row]:
    """The states after ``after``, in their order, as ``lineside.commands.v1`` and the stream tell them."""
    rows = await session.fetch(
        "SELECT state_id, command_state.command_id, command_state.state, time_ms, actor, command_state.reason, code, "
        "value_before, value_after, is_late, origin, command.correlation, action, source, is_plain, "
        "group_name || '/' || agent.name AS agent, agent.tenant_id "
        "FROM command_state JOIN command USING (command_id) JOIN agent USING (agent_id) "
        "WHERE state_id > $1 ORDER BY state_id LIMIT $2",
        after,
        count_max,
    )
    return list(rows)


def state_document(row: Row) -> dict[str, Any]:
    """A state as JSON: see docs/reference/event-log.md."""
    return {
        "version": 1,
        "cursor": row["state_id"],
        "id": row["command_id"],
        "tenant": row["tenant_id"],
        "agent": row["agent"],
        "origin": row["origin"],
        "source": _source(row),
        "correlation": row["correlation"],
        "action": _action(row["action"]),
        "state": row["state"],
        "late": row["is_late"],
        "time_ms": row["time_ms"],
        "actor": row["actor"],
        "reason": row["reason"],
        "code": row["code"],
        "before": None if row["value_before"] is None else json.loads(row["value_before"]),
        "after": None if row["value_after"] is None else json.loads(row["value_after"]),
    }
