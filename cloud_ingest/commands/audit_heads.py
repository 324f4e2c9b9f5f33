"""The heads of the agents' own audit logs, as their hellos tell them: each has to extend those that were known before.

A hello names the newest entry of the log with its hash, and the hash that the entry has now of which the cloud has
said that it knows it. An agent in strange hands can remember old hashes and go on telling them: what is found is a log
that was cut off, changed or put back without that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.historian.work import KnownAgent
from connectors.commands.reports import Hello
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

HEADS_MAX: Final = 1000
"""Of one agent; the oldest leave."""
ALARMS_MAX: Final = 20
"""Of one agent that are open: more say nothing new."""


def head_problem(hello: Hello, known: Mapping[int, str]) -> str:
    """Why an audit log is not the one that was ``known`` by the hashes of entries; empty when it is. Pure."""
    newest = max(known, default=0)
    if hello.audit_number < newest:
        return f"it ends with entry {hello.audit_number}, and had {newest}: its end was cut off, or its disk restored"
    for number, now in ((hello.audit_number, hello.audit_hash), (hello.audit_base, hello.audit_base_hash)):
        before = known.get(number, now)
        if before != now:
            holds = f"has the hash {now}" if now else "is missing"
            return f"entry {number} {holds}, and had {before}: it was changed after it was told"
    return ""


async def take(session: Session, head: audit.Head, agent: KnownAgent, hello: Hello, now_ms: int) -> str:
    """Compare, and know the new head. What is wrong, told once: from then on the log as it is now is the one known."""
    rows = await session.fetch(
        "SELECT number, hash FROM agent_audit_head WHERE agent_id = $1 AND (number IN ($2, $3) OR number = "
        "(SELECT max(number) FROM agent_audit_head WHERE agent_id = $1))",
        agent.agent_id,
        hello.audit_number,
        hello.audit_base,
    )
    known = {int(row["number"]): str(row["hash"]) for row in rows}
    problem = head_problem(hello, known)
    if problem:
        await _alarm(session, head, agent, problem, now_ms)
        await session.execute("DELETE FROM agent_audit_head WHERE agent_id = $1", agent.agent_id)
    if hello.audit_number and (problem or hello.audit_number not in known):
        await session.execute(
            "WITH old AS (DELETE FROM agent_audit_head WHERE agent_id = $1 AND number IN (SELECT number FROM "
            "    agent_audit_head WHERE agent_id = $1 ORDER BY number DESC OFFSET $6)) "
            "INSERT INTO agent_audit_head (agent_id, tenant_id, number, hash, heard_ms) VALUES ($1, $2, $3, $4, $5)",
            agent.agent_id,
            agent.tenant_id,
            hello.audit_number,
            hello.audit_hash,
            now_ms,
            HEADS_MAX - 1,
        )
    return problem


async def _alarm(session: Session, head: audit.Head, agent: KnownAgent, problem: str, now_ms: int) -> None:
    await session.execute(
        "INSERT INTO agent_audit_alarm (agent_id, tenant_id, time_ms, reason) SELECT $1::int, $2::int, $3::bigint, "
        "$4::text WHERE (SELECT count(*) FROM agent_audit_alarm WHERE agent_id = $1::int AND closed_ms IS NULL) < $5",
        agent.agent_id,
        agent.tenant_id,
        now_ms,
        problem,
        ALARMS_MAX,
    )
    name = str(agent.name)
    await audit.append(session, head, [audit.Deed(now_ms, "lineside", "agent audit alarm", name, {"reason": problem})])


async def alarms(database: Database) -> list[dict[str, Any]]:
    """The alarms of all tenants that nobody has closed, the oldest first."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT group_name || '/' || agent.name AS agent, time_ms, reason FROM agent_audit_alarm "
            "JOIN agent USING (agent_id) WHERE closed_ms IS NULL ORDER BY alarm_id"
        )
    return [
        {"agent": row["agent"], "time": datetime.fromtimestamp(row["time_ms"] / 1000, UTC), "reason": row["reason"]}
        for row in rows
    ]


async def close(database: Database, clock: Clock, tenant_id: int, agent: str, *, reason: str, by: str) -> int:
    """A person has looked at the alarms of ``agent``, which is the tenant's: how many there were.

    Raises ``RequestRefused`` for none.
    """
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, (tenant_id,))
        closed = await session.execute(
            "UPDATE agent_audit_alarm SET closed_ms = $2, closed_by = $3, closed_reason = $4 WHERE closed_ms IS NULL "
            "AND agent_id IN (SELECT agent_id FROM agent WHERE group_name || '/' || name = $1 AND tenant_id = $5)",
            agent,
            now_ms,
            by,
            reason,
            tenant_id,
        )
        if not closed:
            raise RequestRefused(Why.UNKNOWN, "no_alarm", f"there is no open alarm of the audit log of {agent!r}")
        details = {"alarms": closed, "reason": reason}
        deed = audit.Deed(now_ms, by, "agent audit alarm closed", agent, details)
        await audit.append(session, heads.of(tenant_id), [deed])
    return closed
