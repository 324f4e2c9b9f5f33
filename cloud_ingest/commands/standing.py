"""How each agent stands: what operators have locked there, and whether what comes under its name is to be believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from connectors.ports.database import Row

COLUMNS: Final = (
    "command_journal.locks, command_journal.held, agent_key.key_id, agent_key.signs, "
    "command_forged.count AS forged, command_forged.reason AS forged_reason, "
    "(SELECT array_agg(reason ORDER BY alarm_id) FROM agent_audit_alarm "
    "    WHERE agent_audit_alarm.agent_id = agent.agent_id AND closed_ms IS NULL) AS alarms"
)
JOINS: Final = (
    "LEFT JOIN command_journal ON command_journal.agent_id = agent.agent_id "
    "LEFT JOIN command_forged ON command_forged.agent_id = agent.agent_id "
    "LEFT JOIN agent_key ON agent_key.agent = group_name || '/' || agent.name AND agent_key.retired_ms IS NULL "
    "    AND agent_key.tenant_id = agent.tenant_id"
)
"""Behind ``agent``: what ``standing`` is found in, with ``COLUMNS``."""


def standing(row: Row) -> dict[str, Any]:
    """How the agent of ``row`` stands, which has ``COLUMNS``."""
    return {
        "locked": _locked(row),
        "key": row["key_id"],
        "signs": bool(row["signs"]),
        "forged": row["forged"] or 0,
        "forged_reason": row["forged_reason"] or "",
        "audit_alarms": list(row["alarms"] or ()),
    }


def _locked(row: Row) -> list[dict[str, Any]]:
    """The locks; those of which the agent does not say more have their lines alone."""
    if row["locks"] is None:
        return []
    told = {lock["line"]: lock for lock in json.loads(row["held"])}
    found = []
    for line in row["locks"]:
        lock = told.get(line)
        since = None if lock is None else datetime.fromtimestamp(lock["since_ms"] / 1000, UTC)
        reason, actor = ("", "") if lock is None else (lock["reason"], lock["actor"])
        found.append({"line": line, "reason": reason, "actor": actor, "since": since})
    return found
