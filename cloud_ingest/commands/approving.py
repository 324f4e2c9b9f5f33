"""A second person agrees to a command: before it is sent, or while its agent waits for that by its own device file.

In the latter case the agent is told with a signed approval, again and again until it says what has become of the
command, or its time is up: so restarts and an agent that is offline lose none. It checks itself that the approver is
not the issuer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit, book
from cloud_ingest.commands.book import Change
from cloud_ingest.commands.messages import approval_message
from cloud_ingest.commands.outgoing import AT_ONCE_MAX, Outgoing
from cloud_ingest.commands.rules import approval_problem, resend_after_ms
from connectors.commands.reports import Approval
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from connectors.ports.database import Database, Session


async def agree(
    session: Session, heads: audit.Heads, row: Mapping[str, Any], approver: str, reason: str, now_ms: int
) -> list[Change]:
    """``approver`` agrees to the command in ``row``; the changes are written. Raises ``RequestRefused``."""
    tenant_id = int(row["tenant_id"])
    command, state, issuer = str(row["command_id"]), CommandState(row["state"]), str(row["issuer"])
    waits = bool(row["waits"]) and row["approval"] is None
    if problem := approval_problem(
        state,
        needed=bool(row["needs_approval"]),
        issuer=issuer,
        approver=approver,
        is_over=now_ms >= row["expires_ms"],
        waits=waits,
    ):
        own = (state is CommandState.REQUESTED or waits) and issuer == approver
        why, code = (Why.FORBIDDEN, "own_command") if own else (Why.CONFLICT, "not_to_approve")
        raise RequestRefused(why, code, f"command {command} cannot be approved: {problem}")
    await session.execute(
        "UPDATE command SET approvers = approvers || $2::text WHERE command_id = $1", command, approver
    )
    if state is CommandState.REQUESTED:
        changes = [Change(tenant_id, command, CommandState.APPROVED, now_ms, approver, reason)]
        await book.write(session, heads, changes)
        return changes
    agreed = Approval(agent=row["agent"], id=command, approver=approver, reason=reason, issued_ms=now_ms)
    await session.execute(
        "UPDATE command SET approval = $2, next_approval_ms = 0 WHERE command_id = $1",
        command,
        agreed.to_json().decode(),
    )
    deed = audit.Deed(now_ms, approver, "command approval", command, {"reason": reason})
    await audit.append(session, heads.of(tenant_id), [deed])
    await book.wake(session)
    return []


async def due_approvals(database: Database, key: SigningKey, now_ms: int) -> Outgoing:
    """Approvals that agents wait for, for the first time or again. Raises ``DatabaseUnavailable``."""
    async with database.transaction() as session:
        await audit.lock_heads(session, ())
        rows = await session.fetch(
            "SELECT command_id, approval, approvals, group_name, agent.name FROM command JOIN agent USING (agent_id) "
            "WHERE approval IS NOT NULL AND next_approval_ms <= $1 AND expires_ms > $1 AND agent.online "
            "AND command.state = 'received' AND cancellation IS NULL ORDER BY command_id LIMIT $2",
            now_ms,
            AT_ONCE_MAX,
        )
        if rows:
            await session.execute(
                "UPDATE command SET approvals = given.approvals, next_approval_ms = given.next_approval_ms "
                "FROM unnest($1::text[], $2::int[], $3::bigint[]) AS given (command_id, approvals, next_approval_ms) "
                "WHERE command.command_id = given.command_id",
                [row["command_id"] for row in rows],
                [row["approvals"] + 1 for row in rows],
                [now_ms + resend_after_ms(row["approvals"] + 1, random.random()) for row in rows],
            )
    messages = [
        approval_message(AgentName(str(row["group_name"]), str(row["name"])), key, row["approval"], now_ms)
        for row in rows
    ]
    return Outgoing(messages, approvals=len(messages))
