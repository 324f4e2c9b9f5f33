"""The public keys of agents that were enrolled, and which of the cloud's keys each agent trusts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from connectors.ports.clock import Clock
from connectors.ports.database import Database


async def listed(database: Database, tenant_id: int) -> list[dict[str, Any]]:
    """Every key of every agent of the tenant, and those of the cloud that the agent trusts by its newest hello."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT agent_key.agent, key_id, enrolled_ms, created_by, retired_ms, retired_by, trusted FROM agent_key "
            "JOIN enrolment_token USING (token_id) "
            "LEFT JOIN agent ON group_name || '/' || agent.name = agent_key.agent "
            "    AND agent.tenant_id = agent_key.tenant_id "
            "LEFT JOIN command_journal USING (agent_id) "
            "WHERE agent_key.tenant_id = $1 ORDER BY agent_key.agent, enrolled_ms",
            tenant_id,
        )
    return [
        {
            "agent": row["agent"],
            "key_id": row["key_id"],
            "enrolled": _time(row["enrolled_ms"]),
            "token_by": row["created_by"],
            "retired": _time(row["retired_ms"]),
            "retired_by": row["retired_by"],
            "trusts": None if row["trusted"] is None else list(row["trusted"]),
        }
        for row in rows
    ]


async def revoke(database: Database, clock: Clock, tenant_id: int, key_id: str, *, by: str) -> str:
    """The key is none of its agent any more: which agent of the tenant that is. Raises ``RequestRefused``."""
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, (tenant_id,))
        rows = await session.fetch(
            "UPDATE agent_key SET retired_ms = $3, retired_by = $4 "
            "WHERE tenant_id = $1 AND key_id = $2 AND retired_ms IS NULL RETURNING agent",
            tenant_id,
            key_id,
            now_ms,
            by,
        )
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_key", f"no agent has a key {key_id!r} that holds")
        agent = str(rows[0]["agent"])
        deed = audit.Deed(now_ms, by, "agent key revoked", key_id, {"agent": agent})
        await audit.append(session, heads.of(tenant_id), [deed])
    return agent


def _time(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)
