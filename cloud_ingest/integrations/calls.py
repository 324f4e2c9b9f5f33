"""The outbox of calls: a call is written in the transaction that wants it, and made by whoever takes it later."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeVar

from cloud_ingest.event_log.announcing import UnitOfWork
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Row, Session
from connectors.ports.vendors import CallRefused, CallUncertain

CHANNEL: Final = "lineside_calls"
"""Notified when a call was written."""
Port = Literal["payments", "shipping", "crm"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was taken. ``number`` counts how often; ``may_be_done``: see the table ``integration_call``."""

    call_id: str
    tenant_id: int
    port: Port
    kind: str
    about: str
    request: Mapping[str, Any]
    number: int
    failures: int
    may_be_done: bool
    account: str = ""
    """At the vendor: see ``accounts``."""


WATCHING: Final = frozenset({"look", "look-refund", "track", "changes"})
"""Kinds of calls that only ask how something stands: they are never given up."""


@dataclass(frozen=True, slots=True)
class Again:
    """The call is done for now, and made again after ``after_s``: it asks how something stands."""

    after_s: float


class CallKind(Protocol):
    """What a kind of call does. Who takes a call makes durable that it begins, and then asks these in their order."""

    async def wanted(self, session: Session, call: Call) -> bool:
        """Whether it is still wanted; otherwise it is dropped, unless it may have been done."""
        ...

    async def ask(self, call: Call, *, is_wanted: bool) -> Any:
        """Ask the vendor; what it answers. Raises what ``connectors.ports.vendors`` has.

        With ``call.may_be_done`` the vendor is asked after it first, where a repetition would do it twice. ``None``
        when it was not done and is not wanted any more.
        """
        ...

    async def take(self, work: UnitOfWork, call: Call, answer: Any) -> Again | None:
        """Write down what the vendor has answered, and announce it."""
        ...

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """Write down that the vendor says no, and announce it."""
        ...

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """Write down that it was not made, as nobody wants it any more."""
        ...


async def asked_after(question: Awaitable[T]) -> T:
    """What a vendor says of a call that may be done. That it does not say so is no refusal of the call itself."""
    try:
        return await question
    except CallRefused as exc:
        raise CallUncertain(f"it may be done, and the vendor does not say: {exc}") from exc


async def add_call(
    session: Session,
    clock: Clock,
    *,
    tenant_id: int,
    port: Port,
    kind: str,
    about: str,
    request: Mapping[str, Any],
    after_s: float = 0.0,
) -> str:
    """Write a call down in the transaction of ``session``: it is made when that is committed. Its id."""
    now_ns = clock.now_ns()
    call_id = new_ulid(now_ns // 1_000_000)
    await session.execute(
        "INSERT INTO integration_call (call_id, tenant_id, port, kind, about, request, next_try, created, changed) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        call_id,
        tenant_id,
        port,
        kind,
        about,
        json.dumps(request, ensure_ascii=False),
        time_of(now_ns + round(after_s * 1e9)),
        time_of(now_ns),
    )
    await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
    return call_id


async def hurry(session: Session, clock: Clock, tenant_id: int, about: str, kind: str) -> bool:
    """Have a call that waits be made now; false when there is none, or it is being made."""
    hurried = await session.execute(
        "UPDATE integration_call SET next_try = $4 WHERE call_id IN (SELECT call_id FROM integration_call "
        "WHERE tenant_id = $1 AND about = $2 AND kind = $3 AND state = 'waiting' AND next_try > $4 "
        "FOR UPDATE SKIP LOCKED)",
        tenant_id,
        about,
        kind,
        time_of(clock.now_ns()),
    )
    if hurried:
        await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
    return hurried > 0


async def revive(session: Session, clock: Clock, tenant_id: int, about: str, kind: str) -> None:
    """Have a call that was given up be made after all: who wants it has asked again. What may be done stays so."""
    revived = await session.execute(
        "UPDATE integration_call SET state = 'waiting', failures = 0, next_try = $4, changed = $4 "
        "WHERE tenant_id = $1 AND about = $2 AND kind = $3 AND state = 'dead'",
        tenant_id,
        about,
        kind,
        time_of(clock.now_ns()),
    )
    if revived:
        await session.fetch("SELECT pg_notify($1, '')", CHANNEL)


def call_of(row: Row) -> Call:
    """The call in a row of ``integration_call``."""
    return Call(
        row["call_id"],
        row["tenant_id"],
        row["port"],
        row["kind"],
        row["about"],
        json.loads(row["request"]),
        row["tries"],
        row["failures"],
        row["may_be_done"],
    )


def time_of(time_ns: int) -> datetime:
    """A time of a clock as the tables have it."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
