"""Rollouts: started by people, and carried on by one process at a time, as the rules say.

Every step is in the database before or with what it does, and a command is asked for with a key of its own: a process
that ends anywhere leaves nothing that another would do twice.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from pydantic import ValidationError

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.requests import Requests
from cloud_ingest.observability.events import Fault, FaultOver
from cloud_ingest.observability.obstacles import OBSTACLES, fault_of
from cloud_ingest.observability.release_events import RolloutEnded, RolloutSent
from cloud_ingest.releases import ending, packages
from cloud_ingest.releases.rules import (
    AGENTS_MAX,
    GROUPS_MAX,
    End,
    Member,
    Plan,
    Progress,
    Send,
    Wait,
    grouped,
    may_install,
    next_step,
    progress_of,
)
from connectors.commands.envelope import InstallRelease
from connectors.commands.states import CommandState
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session

LOOK_S: Final = 1.0
RETRY_LONGEST_S: Final = 15.0
TAKE_BACK_S: Final = 10.0
TASK: Final = "rollouts"
RUNNING_MAX: Final = 20
"""Of one tenant; further ones wait."""
_MEMBERS: Final = (
    "SELECT rollout_agent.*, agent.group_name || '/' || agent.name AS agent, agent.online, agent.version, "
    "(extract(epoch FROM agent.online_changed) * 1000)::bigint AS online_changed_ms, "
    "command.state, command.changed_ms, command.expires_ms, (SELECT reason FROM command_state "
    "    WHERE command_state.command_id = command.command_id AND NOT is_late ORDER BY state_id DESC LIMIT 1) AS said "
    "FROM rollout_agent JOIN agent USING (agent_id) LEFT JOIN command USING (command_id) "
    "WHERE rollout_id = $1 ORDER BY group_number, 3"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A rollout as it is asked for: ``release`` is a version or a SHA-256; ``groups`` are patterns of group/name."""

    release: str
    groups: Sequence[Sequence[str]]
    soak_s: float
    failures_max: int = 0
    health_s: int = 300
    expires_s: int = 3600


async def start(database: Database, clock: Clock, tenant_id: int, asked: Asked, *, by: str) -> int:
    """Start a rollout among the tenant's agents: its number. Raises ``RequestRefused``."""
    if not asked.groups or len(asked.groups) > GROUPS_MAX:
        raise RequestRefused(Why.INVALID, "no_groups", f"it needs 1 to {GROUPS_MAX} groups, the canaries first")
    package = await packages.named(database, tenant_id, asked.release)
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, (tenant_id,))
        rows = await session.fetch(
            "SELECT agent_id, group_name || '/' || name AS agent FROM agent WHERE acknowledges AND tenant_id = $1",
            tenant_id,
        )
        found = grouped([str(row["agent"]) for row in rows], asked.groups)
        for number, patterns in enumerate(asked.groups, 1):
            if number not in found.values():
                raise RequestRefused(
                    Why.UNKNOWN, "empty_group", f"group {number} ({', '.join(patterns)}) names no agent of its own"
                )
        if len(found) > AGENTS_MAX:
            raise RequestRefused(Why.TOO_LARGE, "too_many", f"{len(found)} agents; {AGENTS_MAX} at most")
        _check_requests(package, asked, found)
        ids = {str(row["agent"]): int(row["agent_id"]) for row in rows}
        busy = await session.fetch(
            "SELECT rollout_id FROM rollout JOIN rollout_agent USING (rollout_id) "
            "WHERE state = 'running' AND agent_id = ANY($1::int[]) LIMIT 1",
            [ids[agent] for agent in found],
        )
        if busy:
            said = f"rollout {busy[0]['rollout_id']} has some of these agents; stop it before"
            raise RequestRefused(Why.CONFLICT, "rollout_running", said)
        (row,) = await session.fetch(
            "INSERT INTO rollout (tenant_id, sha256, state, soak_ms, failures_max, health_s, expires_s, started_ms, "
            "started_by, changed_ms) VALUES ($1, $2, 'running', $3, $4, $5, $6, $7, $8, $7) RETURNING rollout_id",
            tenant_id,
            package.sha256,
            round(asked.soak_s * 1000),
            asked.failures_max,
            asked.health_s,
            asked.expires_s,
            now_ms,
            by,
        )
        rollout = int(row["rollout_id"])
        await session.execute_many(
            "INSERT INTO rollout_agent (rollout_id, tenant_id, agent_id, group_number) VALUES ($1, $2, $3, $4)",
            [(rollout, tenant_id, ids[agent], number) for agent, number in found.items()],
        )
        details = {
            "version": package.version,
            "sha256": package.sha256,
            "groups": [list(each) for each in asked.groups],
        }
        deed = audit.Deed(now_ms, by, "rollout started", f"rollout {rollout}", details)
        await audit.append(session, heads.of(tenant_id), [deed])
    return rollout


def _check_requests(package: packages.Package, asked: Asked, agents: Iterable[str]) -> None:
    """Raises ``RequestRefused`` where a command of the rollout could not be asked for: nobody would be there then."""
    try:
        for agent in agents:
            request_of(0, agent, package.version, package.sha256, asked.health_s, asked.expires_s)
    except ValidationError as exc:
        first = exc.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RequestRefused(Why.INVALID, "malformed", f"no agent could be asked for that: {said}") from exc


def request_of(rollout: int, agent: str, version: str, sha256: str, health_s: int, expires_s: int) -> CommandRequest:
    """What an agent is asked for. Raises ``ValidationError``."""
    action = InstallRelease(version=version, sha256=sha256, health_s=health_s)
    return CommandRequest(agent=agent, action=action, reason=f"rollout {rollout}", expires_s=float(expires_s))


class Rollouts:
    """Carries rollouts on, alone; see the module."""

    def __init__(self, database: Database, clock: Clock, requests: Requests) -> None:
        self._database = database
        self._clock = clock
        self._requests = requests
        self._take_back_s = 0.0

    async def run(self) -> None:
        """Work until cancelled. Raises ``DatabaseUnavailable``."""
        back_off = BackOff(LOOK_S, RETRY_LONGEST_S)
        try:
            while True:
                if await self.look():
                    back_off.reset()
                    await asyncio.sleep(LOOK_S)
                else:
                    await asyncio.sleep(back_off.next_s())
        finally:
            OBSTACLES.gone(fault_of(TASK))  # another process may go on, and says its own

    async def look(self) -> bool:
        """Take the next step of each rollout that runs; whether none had a fault.

        A fault halts its rollout, and is nobody else's: commands are sent by the same process. Raises
        ``DatabaseUnavailable``.
        """
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT * FROM (SELECT rollout.*, release.version, "
                "    row_number() OVER (PARTITION BY tenant_id ORDER BY rollout_id) AS place "
                "    FROM rollout JOIN release USING (tenant_id, sha256) WHERE state = 'running') AS running "
                "WHERE place <= $1 ORDER BY rollout_id",
                RUNNING_MAX,
            )
        is_well = await self._take_back_alone()
        for row in rows:
            is_well &= await self._carry_on_alone(row)
        if is_well and OBSTACLES.reason(fault_of(TASK)):
            emit(FaultOver(TASK))
        return is_well

    async def _take_back_alone(self) -> bool:
        """What a process that is gone has not taken back any more."""
        if self._clock.monotonic_s() < self._take_back_s:
            return True
        try:
            await ending.take_back(self._database, self._clock, self._requests)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # commands and rollouts go on
            emit(Fault(TASK, f"taking back: {type(exc).__name__}: {exc}", traceback.format_exc()))
            return False
        self._take_back_s = self._clock.monotonic_s() + TAKE_BACK_S
        return True

    async def _carry_on_alone(self, rollout: Row) -> bool:
        number, tenant_id = int(rollout["rollout_id"]), int(rollout["tenant_id"])
        try:
            await self._carry_on(rollout)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # commands and the other rollouts go on
            emit(Fault(TASK, f"rollout {number}: {type(exc).__name__}: {exc}", traceback.format_exc()))
            if not isinstance(exc, StatementRefused):  # what the database refuses now it may take later
                with suppress(StatementRefused):
                    said = f"a defect of the cloud: {type(exc).__name__}; its log has it as a fault"
                    await self._finish(tenant_id, number, "halted", said)
            return False
        return True

    async def _finish(self, tenant_id: int, number: int, state: str, reason: str) -> None:
        try:
            await ending.end(self._database, self._clock, tenant_id, number, state, reason, by=ending.CLOUD)
        except RequestRefused:
            return  # somebody has stopped it just now
        emit(RolloutEnded(number, state, reason))
        if state == "halted":
            self._take_back_s = 0.0
            await ending.take_back(self._database, self._clock, self._requests, number)

    async def _carry_on(self, rollout: Row) -> None:
        number = int(rollout["rollout_id"])
        async with self._database.session() as session:
            rows = await session.fetch(_MEMBERS, number)
        now_ms = self._clock.now_ns() // 1_000_000
        members = [member_of(row, str(rollout["version"]), now_ms) for row in rows]
        plan = Plan(int(rollout["soak_ms"]), int(rollout["failures_max"]))
        step = next_step(plan, members, now_ms)
        match step:
            case Send():
                for agent in step.agents:
                    if not await self._send(rollout, agent):
                        return
            case Wait():
                async with self._database.session() as session:
                    await session.execute(
                        "UPDATE rollout SET reason = $2 WHERE rollout_id = $1 AND state = 'running' AND reason <> $2",
                        number,
                        step.reason,
                    )
            case End():
                await self._finish(int(rollout["tenant_id"]), number, "halted" if step.halted else "done", step.reason)
            case _:
                assert_never(step)

    async def _send(self, rollout: Row, agent: str) -> bool:
        """Ask the agent to install it; whether the rollout goes on: somebody may have stopped it just now."""
        number, command, refused = int(rollout["rollout_id"]), None, ""
        tenant_id = int(rollout["tenant_id"])
        of_all = (str(rollout["version"]), str(rollout["sha256"]), int(rollout["health_s"]), int(rollout["expires_s"]))
        request = request_of(number, agent, *of_all)

        async def within(session: Session, command: str) -> None:
            await ending.note(session, number, agent, command)

        try:
            key = f"rollout {number} {agent}"[:255]
            issuer = str(rollout["started_by"])
            taken = await self._requests.take(request, tenant_id=tenant_id, issuer=issuer, key=key, within=within)
            command = taken.command
        except RequestRefused as exc:
            if exc.code == ending.NOT_RUNNING:
                return False
            refused = str(exc)
        group, _, name = agent.partition("/")
        async with self._database.session() as session:
            await session.execute(
                "UPDATE rollout_agent SET command_id = $2, refused = $3 WHERE rollout_id = $1 AND agent_id = "
                "(SELECT agent_id FROM agent WHERE group_name = $4 AND name = $5)",
                number,
                command,
                refused,
                group,
                name,
            )
        emit(RolloutSent(number, agent, command or "", refused))
        return True


def member_of(row: Row, version: str, now_ms: int) -> Member:
    """An agent of a rollout, as the rules look at it."""
    state = None if row["state"] is None else CommandState(row["state"])
    since_ms, is_online = int(row["changed_ms"] or 0), bool(row["online"])
    installs = state is not None and may_install(since_ms, int(row["expires_ms"]), now_ms)
    return Member(
        agent=str(row["agent"]),
        group=int(row["group_number"]),
        progress=progress_of(state, str(row["refused"]), may_install=installs),
        since_ms=since_ms,
        runs=is_online and row["version"] == version,
        away_ms=0 if is_online else int(row["online_changed_ms"] or 0),
        reason=str(row["refused"] or "") or f"{row['state']}: {row['said'] or ''}",
    )


async def listed(database: Database, tenant_id: int) -> list[dict[str, Any]]:
    """All rollouts of the tenant, the newest first, without their agents."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT rollout.*, release.version, (SELECT count(*) FROM rollout_agent "
            "WHERE rollout_agent.rollout_id = rollout.rollout_id) AS agents "
            "FROM rollout JOIN release USING (tenant_id, sha256) WHERE tenant_id = $1 "
            "ORDER BY rollout_id DESC LIMIT 1000",
            tenant_id,
        )
    return [_document(row) for row in rows]


async def shown(database: Database, clock: Clock, tenant_id: int, rollout: int) -> dict[str, Any]:
    """One rollout of the tenant with its agents. Raises ``RequestRefused`` when there is none."""
    found = [row for row in await listed(database, tenant_id) if row["rollout"] == rollout]
    if not found:
        raise RequestRefused(Why.UNKNOWN, "unknown_rollout", f"there is no rollout {rollout}")
    async with database.session() as session:
        rows = await session.fetch(_MEMBERS, rollout)
    now_ms = clock.now_ns() // 1_000_000
    members = [member_of(row, found[0]["version"], now_ms) for row in rows]
    return {
        **found[0],
        "members": [
            {
                "agent": member.agent,
                "group": member.group,
                "progress": member.progress.value,
                "runs": member.runs,
                "command": row["command_id"],
                "reason": member.reason if member.progress is Progress.FAILED else "",
            }
            for member, row in zip(members, rows, strict=True)
        ],
    }


def _document(row: Row) -> dict[str, Any]:
    return {
        "rollout": int(row["rollout_id"]),
        "version": str(row["version"]),
        "sha256": str(row["sha256"]),
        "state": str(row["state"]),
        "reason": str(row["reason"]),
        "agents": int(row["agents"]),
        "soak_s": row["soak_ms"] / 1000,
        "failures_max": int(row["failures_max"]),
        "started": datetime.fromtimestamp(row["started_ms"] / 1000, UTC),
        "by": str(row["started_by"]),
    }
