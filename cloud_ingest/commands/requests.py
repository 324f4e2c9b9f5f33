"""What people and programs ask for: a command, an approval, a cancellation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ulid import ULID

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import at_once, audit, book, files
from cloud_ingest.commands.approving import agree
from cloud_ingest.commands.at_once import FIRST_FREE, UNCHANGED, Chance
from cloud_ingest.commands.book import Change
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.rules import Cancelling, cancelling, needs_approval
from cloud_ingest.commands.values import LIMITS, beyond, fitted
from connectors.commands.audit_chain import canonical
from connectors.commands.envelope import Action, AgentAction, ApplyDeviceFile, WriteTag, told
from connectors.commands.expression import ExpressionInvalid, parse_expression
from connectors.commands.states import CommandState
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.sparkplug.topics import id_problem

OPEN_MAX: Final = 1000
"""So many commands of one agent may wait or be under way."""
ACTION_BYTES_MAX: Final = 40 * 1024
"""Signed, it is a third larger, and has to fit into an envelope."""
KEY_CHARS_MAX: Final = 255
Within = Callable[[Session, str], Awaitable[None]]
"""Called with a new command in the transaction that takes it, which has locked the audit log's head; when it raises
``RequestRefused``, the command is not taken."""
NO_KEY: Final = "no command can be signed yet: 'cloud-ingest keys create' makes the key"


_IS_OPEN: Final = "state IN ('requested', 'approved', 'sent', 'received', 'executing')"
_COLUMNS: Final = {
    "command_id": "text", "tenant_id": "int", "agent_id": "int", "action": "text", "datatype": "smallint",
    "correlation": "text", "stage": "text", "armed": "text", "precondition": "text", "issuer": "text",
    "reason": "text", "needs_approval": "boolean", "is_plain": "boolean", "requested_ms": "bigint",
    "changed_ms": "bigint", "expires_ms": "bigint", "idempotency_key": "text", "request_hash": "text",
}  # fmt: skip
"""Of a new command, with their types."""


def _insertion(first: int, condition: str) -> str:
    """The statement that enters a command, whose columns are ``$first`` and those that follow, where ``condition``."""
    given = ", ".join(f"${first + place}::{kind}" for place, kind in enumerate(_COLUMNS.values()))
    return (
        f"INSERT INTO command ({', '.join(_COLUMNS)}, origin, state) SELECT {given}, 'cloud', 'requested' {condition} "
        "ON CONFLICT (tenant_id, issuer, idempotency_key) DO NOTHING"
    )


_INSERT: Final = _insertion(1, "")
_ASKED_AT_ONCE: Final = at_once.statement(
    first=f"new AS ({_insertion(FIRST_FREE, f'WHERE {UNCHANGED}')} RETURNING 1 AS yes), "  # noqa: S608
    "may AS MATERIALIZED (SELECT yes FROM new)"
)


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
        self._chance = Chance()

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
        is_easy = within is None and request.armed is None and not isinstance(request.action, ApplyDeviceFile)
        is_new = False
        # the first tenant, who has the keys and the lock of all, is at home there: its connections stay its own
        async with self._database.session(audit.TENANT if asker.tenant_id == audit.TENANT else None) as session:
            target = await _target(session, request, asker.tenant_id)
            action = _fitting(request, target)
            needed = needs_approval(request.agent, action, request.approval, self._approve)
            if is_easy and self._chance.is_good and target["open_commands"] < OPEN_MAX:
                new, columns = self._new(request, action, target, asker, needed=needed)
                heads = audit.heads_read([target])
                is_new = await at_once.write(session, self._chance, _ASKED_AT_ONCE, heads, [new], *columns)
        if is_new:
            self._tell([new])
            return Taken(new.command, is_new=True)
        async with self._database.transaction() as session:
            heads = await audit.lock_heads(session, (asker.tenant_id,))
            await _check_room(session, target["agent_id"])
            if request.armed is not None:
                await _check_armed(session, request.armed, target["agent_id"], action)
            if isinstance(action, ApplyDeviceFile):
                action = await files.numbered(session, target["agent_id"], action)
            new, columns = self._new(request, action, target, asker, needed=needed)
            if not await session.execute(_INSERT, *columns):
                earlier = await _earlier(session, asker)
                assert earlier is not None  # noqa: S101  it was taken while we looked at the target
                return earlier
            if isinstance(action, ApplyDeviceFile):
                await files.note(session, asker.tenant_id, target["agent_id"], action, new.command)
            if within is not None:
                await within(session, new.command)
            await book.write(session, heads, [new])
        self._tell([new])
        return Taken(new.command, is_new=True)

    def _new(
        self, request: CommandRequest, action: Action, target: Row, asker: _Asker, *, needed: bool
    ) -> tuple[Change, list[Any]]:
        """The first state of a new command, and its ``_COLUMNS``."""
        now_ms = self._now_ms()
        command = str(ULID.from_timestamp(now_ms / 1000))
        asked = {"agent": request.agent, "action": told(action), "stage": request.stage, "approval": needed}
        columns = [
            command, asker.tenant_id, target["agent_id"], action.model_dump_json(), target["datatype"],
            request.correlation, request.stage, request.armed, request.precondition, asker.issuer, request.reason,
            needed, request.plain, now_ms, now_ms, now_ms + round(1000 * request.expires_s), asker.key, asker.digest,
        ]  # fmt: skip
        state = CommandState.REQUESTED
        return Change(asker.tenant_id, command, state, now_ms, asker.issuer, request.reason, details=asked), columns

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
    """The tenant's agent, and what is known of the tag where there is one. Raises ``RequestRefused``."""
    group, _, name = request.agent.partition("/")
    is_write = isinstance(request.action, WriteTag)
    rows = await session.fetch(
        f"SELECT agent.agent_id, acknowledges, tag.datatype, {LIMITS}, "  # noqa: S608  of our own
        "EXISTS (SELECT FROM signing_key WHERE retired IS NULL) AS has_key, "
        "(SELECT bool_and(retired_ms IS NOT NULL) FROM agent_key "
        "    WHERE agent_key.agent = $1 || '/' || $2 AND agent_key.tenant_id = agent.tenant_id) AS is_revoked, "
        f"(SELECT count(*) FROM command WHERE command.agent_id = agent.agent_id AND {_IS_OPEN}) AS open_commands, "
        f"{audit.READ} FROM agent {audit.JOIN.format('agent')} "
        "LEFT JOIN tag ON tag.agent_id = agent.agent_id AND tag.device = $3 AND tag.name = $4 "
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
    """The action with its value as the tag's type has it, within the tag's limits. Raises ``RequestRefused``."""
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
        action = action.model_copy(update={"value": fitted(action.value, int(target["datatype"]))})
    except ValueError as exc:
        raise RequestRefused(Why.INVALID, "wrong_type", f"{action.device}/{action.tag}: {exc}") from exc
    if problem := beyond(action.value, target):
        raise RequestRefused(Why.INVALID, "out_of_limits", f"{action.device}/{action.tag}: {problem}")
    return action


async def _check_room(session: Session, agent_id: int) -> None:
    (row,) = await session.fetch(
        f"SELECT count(*) AS n FROM command WHERE agent_id = $1 AND {_IS_OPEN}",  # noqa: S608  of our own
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
