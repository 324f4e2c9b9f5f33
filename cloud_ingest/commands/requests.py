"""What people and programs ask for: a command, an approval, a cancellation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from ulid import ULID

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit, book, files
from cloud_ingest.commands.approving import agree
from cloud_ingest.commands.book import Change
from cloud_ingest.commands.rules import Cancelling, cancelling, needs_approval
from cloud_ingest.commands.values import fitted
from connectors.commands.audit_chain import canonical
from connectors.commands.envelope import TEXT_MAX, Action, AgentAction, ApplyDeviceFile, Ulid, WriteTag, told
from connectors.commands.expression import ExpressionInvalid, parse_expression
from connectors.commands.states import CommandState
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.sparkplug.topics import id_problem

EXPIRES_S_MAX: Final = 30 * 86_400
OPEN_MAX: Final = 1000
"""So many commands of one agent may wait or be under way."""
ACTION_BYTES_MAX: Final = 40 * 1024
"""Signed, it is a third larger, and has to fit into an envelope."""
KEY_CHARS_MAX: Final = 255
Within = Callable[[Session, str], Awaitable[None]]
"""Called with a new command in the transaction that takes it, which has locked the audit log's head; when it raises
``RequestRefused``, the command is not taken."""
NO_KEY: Final = "no command can be signed yet: 'cloud-ingest keys create' makes the key"


class CommandRequest(BaseModel):
    """A command as it is asked for. It is not done later than ``expires_s`` from now, whatever happens."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "agent": "plant-7/line-3",
                    "action": {"do": "write", "device": "press", "tag": "setpoint", "value": 120.5},
                    "reason": "new recipe",
                    "precondition": "press/state == idle",
                    "expires_s": 60,
                },
                {"agent": "plant-7/line-3", "action": {"do": "restart"}, "reason": "new certificate"},
                {"agent": "plant-7/line-3", "action": {"do": "rebirth"}},
                {
                    "agent": "plant-7/line-3",
                    "action": {"do": "log_level", "level": "debug", "for_s": 600},
                    "reason": "the oven is lost now and then",
                },
                {
                    "agent": "plant-7/line-3",
                    "action": {
                        "do": "apply_file",
                        "name": "devices/oven.yaml",
                        "content": "devices:\n- name: oven\n  driver: modbus\n  endpoint: tcp://10.0.0.5:502\n  tags:\n"
                        "  - {name: zone1, at: holding 100}\n",
                        "replaces": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                        "health_s": 60,
                    },
                    "reason": "the oven's new address",
                    "expires_s": 3600,
                },
            ]
        },
    )

    agent: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", max_length=511, description="group/name")]
    action: Action
    reason: Annotated[str, Field(max_length=TEXT_MAX)] = ""
    correlation: Annotated[str, Field(max_length=255, description="An id of your own")] = ""
    precondition: Annotated[
        str, Field(max_length=TEXT_MAX, description="A condition on tags of the agent that has to hold")
    ] = ""
    stage: Annotated[
        Literal["execute", "arm"], Field(description="arm: prepare it only; then execute it, with 'armed'")
    ] = "execute"
    armed: Annotated[Ulid | None, Field(description="The command that has armed this one")] = None
    expires_s: Annotated[float, Field(ge=1, le=EXPIRES_S_MAX)] = 60.0
    approval: Annotated[bool, Field(description="Wait for the approval of a second person in any case")] = False
    plain: Annotated[
        bool,
        Field(description="For a node of another maker: sent once, unsigned; what became of it remains unknown"),
    ] = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A command that was asked for, now or before with the same key."""

    command: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks, with which key, for what (``digest``)."""

    tenant_id: int
    issuer: str
    key: str
    digest: str


class Requests:
    """``approve``: patterns of what needs a second person; ``tell`` is told of changes that are committed."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        approve: Sequence[str] = (),
        tell: Callable[[list[Change]], None] = book.tell,
    ) -> None:
        self._tell = tell
        self._database = database
        self._clock = clock
        self._approve = tuple(approve)

    async def take(
        self, request: CommandRequest, *, tenant_id: int, issuer: str, key: str, within: Within | None = None
    ) -> Taken:
        """Take a command; the same ``key`` of the same issuer with the same request gets the same command again.

        ``tenant_id``: whose issuer; agents of another tenant are as unknown as those that nobody has. ``within``: see
        ``Within``.
        Raises ``RequestRefused`` and ``DatabaseUnavailable``; after the latter the caller asks again with the same key.
        """
        if not key or len(key) > KEY_CHARS_MAX or not key.isprintable():
            raise RequestRefused(
                Why.INVALID, "no_idempotency_key", "it needs an Idempotency-Key of 1 to 255 characters"
            )
        digest = hashlib.sha256(canonical(request.model_dump(mode="json"))).hexdigest()
        try:
            return await self._take(request, _Asker(tenant_id, issuer, key, digest), within)
        except RequestRefused:  # it may have been taken when things stood otherwise
            async with self._database.session() as session:
                if (earlier := await _earlier(session, _Asker(tenant_id, issuer, key, digest))) is not None:
                    return earlier
            raise

    async def _take(self, request: CommandRequest, asker: _Asker, within: Within | None) -> Taken:
        async with self._database.session() as session:
            target = await _target(session, request, asker.tenant_id)
        action = _fitting(request, target)
        needed = needs_approval(request.agent, action, request.approval, self._approve)
        async with self._database.transaction() as session:
            heads = await audit.lock_heads(session, (asker.tenant_id,))
            await _check_room(session, target["agent_id"])
            if request.armed is not None:
                await _check_armed(session, request.armed, target["agent_id"], action)
            if isinstance(action, ApplyDeviceFile):
                action = await files.numbered(session, target["agent_id"], action)
            now_ms = self._now_ms()
            command = str(ULID.from_timestamp(now_ms / 1000))
            if not await _insert(session, command, request, action, target, now_ms, asker, needed):
                earlier = await _earlier(session, asker)
                assert earlier is not None  # noqa: S101  it was taken while we looked at the target
                return earlier
            if isinstance(action, ApplyDeviceFile):
                await files.note(session, asker.tenant_id, target["agent_id"], action, command)
            if within is not None:
                await within(session, command)
            asked = {
                "agent": request.agent,
                "action": told(action),
                "stage": request.stage,
                "approval": needed,
            }
            new = Change(
                asker.tenant_id, command, CommandState.REQUESTED, now_ms, asker.issuer, request.reason, details=asked
            )
            changes = [new]
            await book.write(session, heads, changes)
        self._tell(changes)
        return Taken(command, is_new=True)

    async def approve(self, command: str, *, tenant_id: int, approver: str, reason: str = "") -> None:
        """Agree to a command of somebody else, also when its agent waits for that. Raises ``RequestRefused``."""
        async with self._database.transaction() as session:
            heads = await audit.lock_heads(session, (tenant_id,))
            row = await _command(session, command, tenant_id)
            changes = await agree(session, heads, row, approver, reason, self._now_ms())
        self._tell(changes)

    async def cancel(self, command: str, *, tenant_id: int, actor: str, reason: str = "") -> Cancelling:
        """Take a command back, or have its agent do so, which tells what became of it. Raises ``RequestRefused``."""
        changes: list[Change] = []
        async with self._database.transaction() as session:
            heads = await audit.lock_heads(session, (tenant_id,))
            row = await _command(session, command, tenant_id)
            now_ms = self._now_ms()
            how = cancelling(CommandState(row["state"]))
            if how is Cancelling.TOO_LATE or (how is Cancelling.BY_AGENT and row["is_plain"]):
                raise RequestRefused(
                    Why.CONFLICT, "too_late", f"command {command} is {row['state']}: it cannot be taken back any more"
                )
            if how is Cancelling.AT_ONCE:
                changes = [Change(tenant_id, command, CommandState.CANCELLED, now_ms, actor, reason)]
                await book.write(session, heads, changes)
            elif row["cancellation"] is None:
                asked = {"agent": row["agent"], "id": command, "issuer": actor, "reason": reason, "issued_ms": now_ms}
                await session.execute(
                    "UPDATE command SET cancellation = $2, next_cancel_ms = 0 WHERE command_id = $1",
                    command,
                    json.dumps(asked),
                )
                deed = audit.Deed(now_ms, actor, "command cancellation", command, {"reason": reason})
                await audit.append(session, heads.of(tenant_id), [deed])
                await book.wake(session)
        self._tell(changes)
        return how

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


async def _earlier(session: Session, asker: _Asker) -> Taken | None:
    rows = await session.fetch(
        "SELECT command_id, request_hash FROM command WHERE tenant_id = $1 AND issuer = $2 AND idempotency_key = $3",
        asker.tenant_id,
        asker.issuer,
        asker.key,
    )
    if not rows:
        return None
    if rows[0]["request_hash"] != asker.digest:
        raise RequestRefused(
            Why.CONFLICT,
            "key_used",
            f"this Idempotency-Key belongs to another request of yours, command {rows[0]['command_id']}",
        )
    return Taken(str(rows[0]["command_id"]), is_new=False)


async def _target(session: Session, request: CommandRequest, tenant_id: int) -> Row:
    """The tenant's agent, and the type of the tag where there is one. Raises ``RequestRefused``."""
    group, _, name = request.agent.partition("/")
    is_write = isinstance(request.action, WriteTag)
    rows = await session.fetch(
        "SELECT agent.agent_id, acknowledges, tag.datatype, "
        "EXISTS (SELECT FROM signing_key WHERE retired IS NULL) AS has_key, "
        "(SELECT bool_and(retired_ms IS NOT NULL) FROM agent_key "
        "    WHERE agent_key.agent = $1 || '/' || $2 AND agent_key.tenant_id = agent.tenant_id) AS is_revoked "
        "FROM agent LEFT JOIN tag ON tag.agent_id = agent.agent_id AND tag.device = $3 AND tag.name = $4 "
        "WHERE group_name = $1 AND agent.name = $2 AND agent.tenant_id = $5",
        group,
        name,
        request.action.device,
        request.action.tag if isinstance(request.action, WriteTag) else "",
        tenant_id,
    )
    if not rows:
        raise RequestRefused(
            Why.UNKNOWN, "unknown_agent", f"there is no agent {request.agent}; /api/v1/agents lists them"
        )
    (row,) = rows
    if row["is_revoked"]:
        raise RequestRefused(
            Why.CONFLICT,
            "agent_revoked",
            f"the key of {request.agent} was revoked, so nobody could say what becomes of a command: enrol it anew",
        )
    if is_write and row["datatype"] is None:
        raise RequestRefused(
            Why.UNKNOWN,
            "unknown_target",
            f"{request.agent} has no tag {request.action.device}/{getattr(request.action, 'tag', '')}; "
            "/api/v1/tags lists them",
        )
    if not row["acknowledges"] and not request.plain:
        raise RequestRefused(
            Why.CONFLICT,
            "plain_only",
            f"{request.agent} is a node that reads no signed commands and reports nothing: it can only be sent a plain "
            "metric, once ('plain': true)",
        )
    if row["acknowledges"] and request.plain:
        raise RequestRefused(Why.CONFLICT, "not_plain", f"{request.agent} reads signed commands: leave 'plain' out")
    if row["acknowledges"] and not row["has_key"]:
        raise RequestRefused(Why.NOT_SET_UP, "no_signing_key", NO_KEY)
    return row


def _fitting(request: CommandRequest, target: Row) -> Action:
    """The action with its value as the tag's type has it. Raises ``RequestRefused``."""
    action = request.action
    if not isinstance(action, AgentAction) and (problem := id_problem(action.device)):
        raise RequestRefused(Why.INVALID, "malformed", f"{action.device[:40]!r} cannot be a device: {problem}")
    if len(action.model_dump_json().encode()) > ACTION_BYTES_MAX:
        raise RequestRefused(Why.INVALID, "oversized", f"an action has at most {ACTION_BYTES_MAX} bytes as JSON")
    if request.precondition:
        try:
            parse_expression(request.precondition)
        except ExpressionInvalid as exc:
            raise RequestRefused(Why.INVALID, "invalid_precondition", f"precondition: {exc}") from exc
    if request.armed is not None and request.stage == "arm":
        raise RequestRefused(Why.INVALID, "malformed", "'armed' belongs to what is executed, not to what arms it")
    if request.plain and (not isinstance(action, WriteTag) or request.stage == "arm" or request.precondition):
        raise RequestRefused(Why.INVALID, "malformed", "a plain metric is a value for a tag, and nothing beside it")
    if isinstance(action, ApplyDeviceFile):
        return files.complete(action, request.stage)
    if not isinstance(action, WriteTag):
        return action
    try:
        return action.model_copy(update={"value": fitted(action.value, int(target["datatype"]))})
    except ValueError as exc:
        raise RequestRefused(Why.INVALID, "wrong_type", f"{action.device}/{action.tag}: {exc}") from exc


async def _check_room(session: Session, agent_id: int) -> None:
    (row,) = await session.fetch(
        "SELECT count(*) AS n FROM command WHERE agent_id = $1 "
        "AND state IN ('requested', 'approved', 'sent', 'received', 'executing')",
        agent_id,
    )
    if row["n"] >= OPEN_MAX:
        raise RequestRefused(
            Why.TOO_MANY,
            "too_many",
            f"{row['n']} commands of this agent are open: ask again when some have ended",
        )


async def _check_armed(session: Session, armed: str, agent_id: int, action: Action) -> None:
    rows = await session.fetch("SELECT agent_id, stage, state, action FROM command WHERE command_id = $1", armed)
    if not rows or rows[0]["stage"] != "arm" or rows[0]["agent_id"] != agent_id:
        raise RequestRefused(Why.CONFLICT, "not_armed", f"{armed} is no command that has armed anything of this agent")
    if rows[0]["action"] != action.model_dump_json():
        raise RequestRefused(Why.CONFLICT, "not_armed", f"{armed} has armed something else")
    if rows[0]["state"] != CommandState.SUCCEEDED:
        raise RequestRefused(Why.CONFLICT, "not_armed", f"{armed} is {rows[0]['state']}: it has not armed it")


async def _insert(
    session: Session,
    command: str,
    request: CommandRequest,
    action: Action,
    target: Row,
    now_ms: int,
    asker: _Asker,
    needed: bool,
) -> int:
    """How many were: none when the same issuer has used the key meanwhile."""
    return await session.execute(
        "INSERT INTO command (command_id, tenant_id, agent_id, origin, action, datatype, correlation, stage, armed, "
        "precondition, issuer, reason, needs_approval, is_plain, requested_ms, expires_ms, idempotency_key, "
        "request_hash, state, changed_ms) "
        "VALUES ($1,$2,$3,'cloud',$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14::bigint,$15,$16,$17,'requested',$14::bigint) "
        "ON CONFLICT (tenant_id, issuer, idempotency_key) DO NOTHING",
        command,
        asker.tenant_id,
        target["agent_id"],
        action.model_dump_json(),
        target["datatype"],
        request.correlation,
        request.stage,
        request.armed,
        request.precondition,
        asker.issuer,
        request.reason,
        needed,
        request.plain,
        now_ms,
        now_ms + round(1000 * request.expires_s),
        asker.key,
        asker.digest,
    )


async def _command(session: Session, command: str, tenant_id: int) -> dict[str, Any]:
    rows = await session.fetch(
        "SELECT command.*, group_name || '/' || name AS agent FROM command JOIN agent USING (agent_id) "
        "WHERE command_id = $1 AND command.tenant_id = $2",
        command,
        tenant_id,
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_command", f"there is no command {command}")
    return dict(rows[0])
