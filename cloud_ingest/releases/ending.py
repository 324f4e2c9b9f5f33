"""How a rollout ends by a person or by itself, and what it has asked for is taken back.

The end is written under the lock of the audit log's head, and so is each command of a rollout, with a look at whether
it still runs: none is asked for after the end. What no agent has begun by then is taken back; a process that ends
between the two leaves that to whoever carries rollouts on next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.commands.requests import Requests
from cloud_ingest.commands.rules import Cancelling
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

NOT_RUNNING: Final = "not_running"
CLOUD: Final = "cloud"
"""The actor of what nobody has asked for."""
_OPEN: Final = (
    "SELECT command_id, command.tenant_id, rollout_id, rollout.state AS ended FROM rollout JOIN rollout_agent "
    "USING (rollout_id) JOIN command USING (command_id) WHERE rollout.state IN ('halted', 'stopped') "
    "AND rollout.changed_ms + rollout.expires_s * 1000::bigint > $1 AND ($2::int IS NULL OR rollout_id = $2) "
    "AND command.state IN ('requested', 'approved', 'sent', 'received') AND cancellation IS NULL ORDER BY command_id"
)
"""Of rollouts that ended so lately that a command of theirs may still hold."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """So many commands no agent had: they are cancelled; so many agents may have one, and are told to leave it."""

    unsent: int
    told: int


async def stop(
    database: Database, clock: Clock, requests: Requests, tenant_id: int, rollout: int, *, by: str, reason: str
) -> TakenBack:
    """Send the release to nobody else; who has not begun to install it is not to.

    Agents that have it keep it. Raises ``RequestRefused`` unless the tenant has it and it runs.
    """
    await end(database, clock, tenant_id, rollout, "stopped", reason, by=by)
    return await take_back(database, clock, requests, rollout, by=by)


async def end(
    database: Database, clock: Clock, tenant_id: int, rollout: int, state: str, reason: str, *, by: str
) -> None:
    """Write that it is over; the caller takes back (``take_back``). Raises ``RequestRefused`` unless it runs."""
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, (tenant_id,))
        ended = await session.execute(
            "UPDATE rollout SET state = $2, reason = $3, changed_ms = $4 WHERE rollout_id = $1 AND state = 'running' "
            "AND tenant_id = $5",
            rollout,
            state,
            reason,
            now_ms,
            tenant_id,
        )
        if not ended:
            raise RequestRefused(Why.CONFLICT, NOT_RUNNING, f"there is no rollout {rollout} that runs")
        deed = audit.Deed(now_ms, by, f"rollout {state}", f"rollout {rollout}", {"reason": reason})
        await audit.append(session, heads.of(tenant_id), [deed])


async def note(session: Session, rollout: int, agent: str, command: str) -> None:
    """Write down the command of an agent in the transaction that takes it, under the lock of the audit log's head.

    Raises ``RequestRefused`` (``NOT_RUNNING``) when the rollout is over: the transaction then takes no command.
    """
    group, _, name = agent.partition("/")
    noted = await session.execute(
        "UPDATE rollout_agent SET command_id = $2 FROM rollout, agent WHERE rollout_agent.rollout_id = $1 "
        "AND rollout.rollout_id = $1 AND rollout.state = 'running' AND agent.agent_id = rollout_agent.agent_id "
        "AND agent.group_name = $3 AND agent.name = $4",
        rollout,
        command,
        group,
        name,
    )
    if not noted:
        raise RequestRefused(Why.CONFLICT, NOT_RUNNING, f"there is no rollout {rollout} that runs")


async def take_back(
    database: Database, clock: Clock, requests: Requests, rollout: int | None = None, *, by: str = CLOUD
) -> TakenBack:
    """Take back what no agent has begun, of one rollout or of all that have halted or were stopped lately."""
    async with database.session() as session:
        rows = await session.fetch(_OPEN, clock.now_ns() // 1_000_000, rollout)
    how: list[Cancelling] = []
    for row in rows:
        said = f"rollout {row['rollout_id']} {'has halted' if row['ended'] == 'halted' else 'was stopped'}"
        try:
            tenant_id = int(row["tenant_id"])
            how.append(await requests.cancel(str(row["command_id"]), tenant_id=tenant_id, actor=by, reason=said))
        except RequestRefused:
            continue  # its agent has begun meanwhile
    return TakenBack(how.count(Cancelling.AT_ONCE), how.count(Cancelling.BY_AGENT))
