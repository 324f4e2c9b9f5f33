"""What a report says of a command beside its state: where it came from, what it does, that it waits for approval."""

from __future__ import annotations

import json
from typing import Any, Final

from cloud_ingest.historian.work import KnownAgent
from connectors.commands.refusals import Refusal
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from connectors.ports.database import Session

AGENT: Final = "agent"
"""As an agent calls itself in its journal; here it has its name."""


def actor_of(agent: KnownAgent, report: CommandReport) -> str:
    """Who has brought the state about: a person, or the agent by its name."""
    return str(agent.name) if report.actor == AGENT else report.actor


def waits(report: CommandReport) -> bool:
    """Whether it says that the command waits for the approval of a second person."""
    return report.state is CommandState.RECEIVED and report.code is Refusal.NOT_APPROVED


def asked_at_the_box(report: CommandReport) -> dict[str, Any]:
    """What the audit log says of a command that was not asked for here."""
    found = {"source": report.source, "action": report.action, "issuer": report.issuer, "asked": report.reason}
    return {name: value for name, value in found.items() if value}


async def enter(session: Session, agent: KnownAgent, report: CommandReport) -> None:
    """A command that was not asked for here.

    An operator's at the machine; or the database was restored since; or, with the source ``cloud``, somebody else signs
    with a key of the cloud.
    """
    await session.execute(
        "INSERT INTO command (command_id, tenant_id, agent_id, origin, issuer, requested_ms, expires_ms, state, "
        "changed_ms, source, action, reason) "
        "VALUES ($1, $2, $3, 'agent', $4, $5::bigint, $5::bigint, $6, $5::bigint, $7, $8, $9)",
        report.id,
        agent.tenant_id,
        agent.agent_id,
        report.issuer or actor_of(agent, report),
        report.time_ms,
        report.state.value,
        report.source or None,
        None if report.action is None else json.dumps(report.action, ensure_ascii=False),
        report.reason,
    )


async def learn_action(session: Session, report: CommandReport) -> None:
    """What a command does that was not asked for here, from a report that comes behind a later one."""
    await session.execute(
        "UPDATE command SET action = $2, source = coalesce(source, $3), reason = $4, "
        "issuer = CASE WHEN $5 = '' THEN issuer ELSE $5 END WHERE command_id = $1 AND origin = 'agent'",
        report.id,
        json.dumps(report.action, ensure_ascii=False),
        report.source or None,
        report.reason,
        report.issuer,
    )


async def note_waiting(session: Session, report: CommandReport) -> None:
    """It can be approved here from now on, where it was asked for here."""
    await session.execute(
        "UPDATE command SET waits = true, needs_approval = true WHERE command_id = $1 AND origin = 'cloud'", report.id
    )
