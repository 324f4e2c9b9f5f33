"""Enrolment of agents: a one-time token for an agent, against it the agent's key, and for that the keys of the cloud.

A token is for one agent, holds for a limited time and is used once. The same request again, when its answer was lost,
gets the same answer. Every enrolment, and what fails, stands in the audit log; of failures, so many an hour.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit, keys
from cloud_ingest.commands.failure_limit import FailureLimit
from cloud_ingest.observability.command_events import AgentEnrolled, EnrolmentRefused
from connectors.commands.enrolment import (
    AGENT_CHARS_MAX,
    TOKEN_PREFIX,
    EnrolmentAnswer,
    EnrolmentRequest,
    read_request,
)
from connectors.commands.signing import SignatureRefused
from connectors.model.errors import PayloadInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session

TOKEN_BYTES: Final = 32
VALID_S_MAX: Final = 30 * 86_400.0
AUDITED_AN_HOUR: Final = 60
"""Anybody who reaches the API can fail, and an entry of the audit log stays for ever."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token, which is nowhere else, and until when it holds."""

    token: str
    expires_ms: int


async def create_token(
    database: Database, clock: Clock, tenant_id: int, agent: str, *, valid_s: float, by: str
) -> NewToken:
    """A new token for ``agent`` (group/name); one for it that was not used holds no more.

    Raises ``RequestRefused``, also where the agent's Sparkplug group is not the tenant's.
    """
    _check_name(agent)
    if not 1 <= valid_s <= VALID_S_MAX:
        raise RequestRefused(Why.INVALID, "invalid_time", "a token holds for one second to thirty days")
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    now_ms = clock.now_ns() // 1_000_000
    expires_ms = now_ms + round(valid_s * 1000)
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, (tenant_id,))
        if not await _has_group(session, tenant_id, agent):
            raise RequestRefused(
                Why.UNKNOWN,
                "unknown_group",
                f"the tenant has no group of {agent!r}: 'cloud-ingest identity give-group' makes one its own",
            )
        await session.execute(
            "UPDATE enrolment_token SET replaced_ms = $3 "
            "WHERE tenant_id = $1 AND agent = $2 AND used_ms IS NULL AND replaced_ms IS NULL",
            tenant_id,
            agent,
            now_ms,
        )
        (row,) = await session.fetch(
            "INSERT INTO enrolment_token (tenant_id, agent, sha256, created_ms, created_by, expires_ms) "
            "VALUES ($1, $2, $3, $4, $5, $6) RETURNING token_id",
            tenant_id,
            agent,
            _digest(token),
            now_ms,
            by,
            expires_ms,
        )
        about = {"token": row["token_id"], "expires_ms": expires_ms}
        deed = audit.Deed(now_ms, by, "enrolment token created", agent, about)
        await audit.append(session, heads.of(tenant_id), [deed])
    return NewToken(token, expires_ms)


class Enrolments:
    """Enrols agents; counts who fails, so there is one of it in a process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._limit = FailureLimit()
        self._audited: deque[float] = deque(maxlen=AUDITED_AN_HOUR)
        self._unaudited = 0

    async def enrol(self, sealed: str, address: str) -> EnrolmentAnswer:
        """Enrol the agent whose request is ``sealed``. Raises ``RequestRefused`` and ``DatabaseUnavailable``."""
        if not self._limit.begin(address, self._clock.monotonic_s()):
            raise RequestRefused(
                Why.TOO_MANY, "too_many_failures", "too many enrolments from this address have failed: wait a minute"
            )
        agent = ""
        try:
            request, key_id = _read(sealed)
            agent = request.agent
            answer = await self._enrol(request, key_id, address)
        except RequestRefused as exc:
            if exc.why is Why.NOT_SET_UP:
                self._limit.succeeded(address)
            else:
                await self._note_failure(agent, exc, address)
            raise
        except BaseException:
            self._limit.succeeded(address)
            raise
        self._limit.succeeded(address)
        return answer

    async def _enrol(self, request: EnrolmentRequest, key_id: str, address: str) -> EnrolmentAnswer:
        holding = await keys.holding(self._database)
        if not holding:
            raise RequestRefused(
                Why.NOT_SET_UP,
                "no_signing_key",
                "there is no key of the cloud that an agent could trust: 'cloud-ingest keys create' makes one",
            )
        now_ms = self._clock.now_ns() // 1_000_000
        # whom nobody knows is turned away before the one lock that all writers of states share
        async with self._database.session() as session:
            tenant_id = int(_judged(await _token(session, request.token), request, key_id, now_ms)["tenant_id"])
        async with self._database.transaction() as session:
            heads = await audit.lock_heads(session, (tenant_id,))
            token = _judged(await _token(session, request.token), request, key_id, now_ms)
            if token["used_ms"] is None:
                deeds = [
                    audit.Deed(*deed, {"address": address, **more})
                    for deed, more in await _enter(session, token, request, key_id, now_ms)
                ]
                await audit.append(session, heads.of(tenant_id), deeds)
            elif not await _holds(session, tenant_id, request.agent, key_id):
                raise _used()
        emit(AgentEnrolled(request.agent, key_id))
        return EnrolmentAnswer(agent=request.agent, key_id=key_id, keys=holding)

    async def _note_failure(self, agent: str, refused: RequestRefused, address: str) -> None:
        emit(EnrolmentRefused(agent, refused.code, address))
        now_s = self._clock.monotonic_s()
        if len(self._audited) == AUDITED_AN_HOUR and now_s - self._audited[0] < 3600:
            self._unaudited += 1
            return
        self._audited.append(now_s)
        details: dict[str, Any] = {"code": refused.code, "address": address}
        if self._unaudited:
            details["others"], self._unaudited = self._unaudited, 0
        subject = "".join(char if char.isprintable() else "�" for char in agent)
        deed = audit.Deed(self._clock.now_ns() // 1_000_000, "unknown", "enrolment refused", subject, details)
        async with self._database.transaction() as session:
            await audit.append(session, await audit.lock_head(session), [deed])


def _read(sealed: str) -> tuple[EnrolmentRequest, str]:
    try:
        request, key_id = read_request(sealed)
    except PayloadInvalid as exc:
        raise RequestRefused(Why.INVALID, "malformed", f"this is no request to enrol: {exc}") from exc
    except SignatureRefused as exc:
        raise RequestRefused(Why.INVALID, exc.code.value, f"the request is not signed with its own key: {exc}") from exc
    _check_name(request.agent)
    return request, key_id


def _check_name(agent: str) -> None:
    group, _, name = agent.partition("/")
    is_name = group and name and "/" not in name and agent.isprintable() and not set("+#") & set(agent)
    if not is_name or len(agent) > AGENT_CHARS_MAX:
        raise RequestRefused(Why.INVALID, "invalid_name", f"{agent[:600]!r} is not an agent, as GROUP/NAME")


async def _has_group(session: Session, tenant_id: int, agent: str) -> bool:
    """Whether the agent's group is the tenant's, which it stays until the end of the transaction."""
    group, _, _ = agent.partition("/")
    if tenant_id == audit.TENANT:  # a group that nobody has is the first tenant's
        await session.execute(
            "INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            group,
            tenant_id,
        )
    found = await session.fetch(
        "SELECT FROM sparkplug_group WHERE group_name = $1 AND tenant_id = $2 FOR SHARE", group, tenant_id
    )
    return bool(found)


async def _token(session: Session, token: str) -> Row | None:
    rows = await session.fetch(
        "SELECT token_id, tenant_id, agent, expires_ms, used_ms, used_key, replaced_ms FROM enrolment_token "
        "WHERE sha256 = $1",
        _digest(token),
    )
    return rows[0] if rows else None


def _judged(token: Row | None, request: EnrolmentRequest, key_id: str, now_ms: int) -> Row:
    """The token, if it is good for ``request``. Raises ``RequestRefused``."""
    if token is None:
        raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none of this cloud's")
    if token["agent"] != request.agent:
        said = f"this token is for another agent than {request.agent}"
        raise RequestRefused(Why.FORBIDDEN, "other_agent", said)
    if token["used_ms"] is not None:
        if token["used_key"] == key_id:
            return token
        raise _used()
    if token["replaced_ms"] is not None:
        raise RequestRefused(Why.FORBIDDEN, "token_replaced", "a newer token was made for this agent: use that one")
    if token["expires_ms"] <= now_ms:
        raise RequestRefused(
            Why.FORBIDDEN, "token_expired", "this token has expired: 'cloud-ingest enrol' makes another one"
        )
    return token


def _used() -> RequestRefused:
    said = "this token was used already: 'cloud-ingest enrol' makes another one, and 'audit export' says who used it"
    return RequestRefused(Why.CONFLICT, "token_used", said)


async def _holds(session: Session, tenant_id: int, agent: str, key_id: str) -> bool:
    return bool(
        await session.fetch(
            "SELECT FROM agent_key WHERE tenant_id = $1 AND agent = $2 AND key_id = $3 AND retired_ms IS NULL",
            tenant_id,
            agent,
            key_id,
        )
    )


_Deed = tuple[tuple[int, str, str, str], dict[str, Any]]


async def _enter(session: Session, token: Row, request: EnrolmentRequest, key_id: str, now_ms: int) -> list[_Deed]:
    """Use the token up, and have the key be the agent's; one that it had is retired. What the audit log says of it."""
    agent, number, tenant_id = request.agent, token["token_id"], int(token["tenant_id"])
    if not await _has_group(session, tenant_id, agent):
        raise RequestRefused(
            Why.FORBIDDEN, "token_replaced", "the group of this agent was given to another tenant, which enrols it"
        )
    await session.execute(
        "UPDATE enrolment_token SET used_ms = $2, used_key = $3 WHERE token_id = $1", number, now_ms, key_id
    )
    enrolled = ((now_ms, agent, "agent enrolled", key_id), {"token": number})
    if await _holds(session, tenant_id, agent, key_id):
        return [enrolled]
    retired = await session.fetch(
        "UPDATE agent_key SET retired_ms = $3, retired_by = 'enrolment' "
        "WHERE tenant_id = $1 AND agent = $2 AND retired_ms IS NULL RETURNING key_id",
        tenant_id,
        agent,
        now_ms,
    )
    entered = await session.execute(
        "INSERT INTO agent_key (tenant_id, key_id, agent, public_key, enrolled_ms, token_id, signs) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        tenant_id,
        key_id,
        agent,
        json.dumps({**{name: request.key[name] for name in ("kty", "crv", "x")}, "kid": key_id}),
        now_ms,
        number,
        request.signs,
    )
    if not entered:
        raise RequestRefused(
            Why.CONFLICT, "key_known", "this key was enrolled before, and is retired: make a new one (ask once more)"
        )
    gone = [((now_ms, agent, "agent key retired", row["key_id"]), {"by": "enrolment"}) for row in retired]
    return [*gone, enrolled]


def _digest(token: str) -> bytes:
    """256 random bits need no slow hash: nobody guesses them."""
    return hashlib.sha256(token.encode()).digest()
