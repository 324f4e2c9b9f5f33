"""What has to be sent to agents now, read from the tables, and noted there as sent before it is.

A command is sent to an agent that is born, and has said hello since, so that it knows the time; who says none is waited
for ``HELLO_S``. Of each agent, the first ``UNDER_WAY_MAX`` commands that are not over are under way at a time. What is
to be taken back is not sent again, so that it does not come behind its cancellation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.commands import at_once, audit, book, keys
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.book import Change
from cloud_ingest.commands.messages import (
    action_of,
    cancel_message,
    command_message,
    envelope_of,
    keys_message,
    time_message,
)
from cloud_ingest.commands.rules import ended_by_time, resend_after_ms
from connectors.commands.reports import KeysAnswer, TimeAnswer
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from connectors.ports.broker import Message
from connectors.ports.database import Database, Row

AT_ONCE_MAX: Final = 200
UNDER_WAY_MAX: Final = 32
HELLO_S: Final = 10
CLOUD: Final = "lineside"
"""The actor of what nobody has asked for."""
PLAIN_REASON: Final = "sent once, as a plain metric: this node does not report what becomes of it"

_SIGNED: Final = (
    "agent_id, group_name, name, agent, is_plain, action, datatype, correlation, stage, armed, precondition, issuer, "
    "approvers, reason, requested_ms, expires_ms, journal, head_tenant, head_number, head_hash"
)
"""What is signed of a command, and how."""
_OPEN: Final = (
    "SELECT command.command_id, command.tenant_id, command.state, is_plain, next_send_ms, expires_ms, cancellation, "  # noqa: S608
    "agent_id, group_name, agent.name, group_name || '/' || agent.name AS agent, action, datatype, correlation, stage, "
    "armed, precondition, issuer, approvers, reason, requested_ms, coalesce(journal, '') AS journal, "
    f"{audit.READ}, row_number() OVER (PARTITION BY agent_id ORDER BY command.command_id) AS place "
    f"FROM command {audit.JOIN.format('command')} JOIN agent USING (agent_id) "
    "LEFT JOIN command_journal USING (agent_id) "
    "WHERE command.state IN ('requested', 'approved', 'sent', 'received', 'executing') AND origin = 'cloud' "
    "AND NOT (command.state = 'requested' AND needs_approval) AND agent.online "
    "AND (is_plain OR agent.online_changed IS NULL OR agent.online_changed < now() - $3::int * interval '1 second' "
    "    OR command_journal.heard_ms >= (extract(epoch FROM agent.online_changed) * 1000)::bigint)"
)
_DUE: Final = (
    f"SELECT command_id, tenant_id, state, times, cancellations, approvals, {_SIGNED}, "  # noqa: S608  of our own
    "(SELECT coalesce(max(number), 0) FROM command_start "
    "    WHERE command_start.agent_id = due.agent_id AND command_start.journal = due.journal) AS number FROM ("
    "    SELECT EXISTS (SELECT FROM time_request) AS times, EXISTS (SELECT FROM command "
    "    WHERE cancellation IS NOT NULL AND state IN ('sent', 'received')) AS cancellations, "
    "    EXISTS (SELECT FROM command WHERE approval IS NOT NULL AND state = 'received') AS approvals) AS asked "
    f"LEFT JOIN (SELECT * FROM ({_OPEN}) AS open WHERE place <= {UNDER_WAY_MAX} AND expires_ms > $1 "
    "    AND (state IN ('requested', 'approved') OR (state = 'sent' AND next_send_ms <= $1 AND NOT is_plain "
    "        AND cancellation IS NULL)) "
    "    ORDER BY command_id LIMIT $2) AS due ON true ORDER BY command_id"
)
_ROW: Final = (
    "SELECT command.*, group_name, agent.name, group_name || '/' || agent.name AS agent, "
    "coalesce(command_journal.journal, '') AS journal, "
    "(SELECT coalesce(max(command_start.number), 0) FROM command_start WHERE command_start.agent_id = command.agent_id "
    "    AND command_start.journal = command_journal.journal) AS number "
    "FROM command JOIN agent USING (agent_id) LEFT JOIN command_journal USING (agent_id) "
    "WHERE command_id = ANY($1::text[]) AND origin = 'cloud'"
)
_SENT_AT_ONCE: Final = at_once.statement(
    sets={"envelope": f"${at_once.FIRST_FREE}::text[]", "sends": f"${at_once.FIRST_FREE + 1}::int[]",
          "next_send_ms": f"${at_once.FIRST_FREE + 2}::bigint[]"}
)  # fmt: skip


@dataclass(slots=True)
class Outgoing:
    """Messages to publish, and how many of each kind they are; ``changes`` are told when they are committed."""

    messages: list[Message]
    commands: int = 0
    again: int = 0
    cancellations: int = 0
    times: int = 0
    keys: int = 0
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """What there is to send.

    ``times``: whether any hello waits for an answer; ``cancellations``: whether any agent is to take a command back;
    ``approvals``: whether any is to hear that somebody agrees; commands for the ``first`` time, and ``again``, and
    whose they are. ``rows``: those for the first time, as they stood.
    """

    times: bool
    cancellations: bool
    approvals: bool
    first: list[str]
    again: list[str]
    tenants: frozenset[int]
    rows: Sequence[Row] = ()


async def look(database: Database, now_ms: int) -> Due:
    """What there is to send now, in one round trip. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        rows = await session.fetch(_DUE, now_ms, AT_ONCE_MAX, HELLO_S)
    due = [row for row in rows if row["command_id"] is not None]
    first = [row for row in due if row["state"] != CommandState.SENT]
    return Due(
        bool(rows[0]["times"]),
        bool(rows[0]["cancellations"]),
        bool(rows[0]["approvals"]),
        [str(row["command_id"]) for row in first],
        [str(row["command_id"]) for row in due if row["state"] == CommandState.SENT],
        frozenset(int(row["tenant_id"]) for row in due),
        first,
    )


async def due_times(database: Database, key: SigningKey, now_ms: int) -> Outgoing:
    """Answers to the hellos that wait; each is given once: an agent that did not get it says hello again.

    An agent that trusts ``key``, but not just those that hold, is told of them before the time.
    """
    async with database.session() as session:
        rows = await session.fetch(
            "DELETE FROM time_request USING agent WHERE time_request.agent_id = agent.agent_id AND agent.agent_id IN "
            "(SELECT agent_id FROM time_request ORDER BY agent_id LIMIT $1) "
            "RETURNING group_name, agent.name, nonce, journal, number, restored, trusted, audit_number",
            AT_ONCE_MAX,
        )
    says_keys = any(row["trusted"] for row in rows)
    holding = await keys.holding(database) if says_keys else {}
    vouchers = await keys.vouchers(database) if says_keys else {}
    messages: list[Message] = []
    for row in rows:
        agent = _agent(row)
        trusted = set(row["trusted"] or ())
        if key.key_id in trusted and key.key_id in holding and trusted != holding.keys():
            told = KeysAnswer(agent=str(agent), nonce=row["nonce"], time_ms=now_ms, keys=holding, vouched=vouchers)
            messages.append(keys_message(agent, key, told))
        answer = TimeAnswer(
            agent=str(agent),
            nonce=row["nonce"],
            time_ms=now_ms,
            journal=row["journal"],
            number=row["number"],
            restored=row["restored"],
            audit_number=row["audit_number"],
        )
        messages.append(time_message(agent, key, answer))
    return Outgoing(messages, times=len(rows), keys=len(messages) - len(rows))


async def due_commands(database: Database, key: SigningKey, now_ms: int, due: Due, chance: Chance) -> Outgoing:
    """Those of ``due`` that are still to be sent. Raises ``DatabaseUnavailable``."""
    first: list[Message] = []
    if due.first:
        found = await _first_time_at_once(database, key, due.rows, now_ms, chance) if chance.is_good else None
        first = await _first_time(database, key, due, now_ms) if found is None else found
    again = await _again(database, due.again, now_ms) if due.again else []
    return Outgoing([*first, *again], commands=len(first), again=len(again))


@dataclass(slots=True)
class _FirstTime:
    """Messages to publish when the changes are committed, and the envelopes that are written down with them."""

    messages: list[Message] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    sealed: dict[str, str | None] = field(default_factory=dict)

    def next_send_ms(self, now_ms: int) -> list[int]:
        """When each is sent again, if nobody has reported it."""
        return [now_ms + resend_after_ms(1, random.random()) for _ in self.sealed]


async def _first_time(database: Database, key: SigningKey, due: Due, now_ms: int) -> list[Message]:
    """Sign, and write down as sent, what is still to be sent; from the commit on, only the agent knows."""
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, due.tenants)
        rows = await session.fetch(
            f"{_ROW} AND (command.state = 'approved' OR (command.state = 'requested' AND NOT needs_approval)) "
            "ORDER BY command_id",
            due.first,
        )
        found = _signed(rows, key, now_ms)
        await session.execute(
            "UPDATE command SET envelope = given.envelope, sends = 1, next_send_ms = given.next_send_ms "
            "FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (command_id, envelope, next_send_ms) "
            "WHERE command.command_id = given.command_id",
            list(found.sealed),
            list(found.sealed.values()),
            found.next_send_ms(now_ms),
        )
        await book.write(session, heads, found.changes)
    book.tell(found.changes)
    return found.messages


async def _first_time_at_once(
    database: Database, key: SigningKey, rows: Sequence[Row], now_ms: int, chance: Chance
) -> list[Message] | None:
    """The same in one round trip; ``None``: nothing was written, as others write, or something is sent plainly."""
    if not rows or any(row["is_plain"] for row in rows):
        return None
    found, heads = _signed(rows, key, now_ms), audit.heads_read(rows)
    more = (list(found.sealed.values()), [1 for _ in found.sealed], found.next_send_ms(now_ms))
    async with database.session() as session:
        if not await at_once.write(session, chance, _SENT_AT_ONCE, heads, found.changes, *more):
            return None
    book.tell(found.changes)
    return found.messages


def _signed(rows: Sequence[Row], key: SigningKey, now_ms: int) -> _FirstTime:
    found = _FirstTime()
    for row in rows:
        tenant_id, command = int(row["tenant_id"]), str(row["command_id"])
        text = ""
        details: dict[str, Any] = {"plain": True}
        if not row["is_plain"]:
            envelope = envelope_of(row, journal=row["journal"], number=int(row["number"]))
            text = key.sign("lineside-command", envelope.to_json())
            details = {"key": key.key_id}
        found.sealed[command] = text or None
        found.messages.append(_message(row, text, now_ms))
        found.changes.append(Change(tenant_id, command, CommandState.SENT, now_ms, CLOUD, details=details))
        if row["is_plain"]:
            found.changes.append(Change(tenant_id, command, CommandState.UNKNOWN, now_ms, CLOUD, PLAIN_REASON))
    return found


async def _again(database: Database, commands: Sequence[str], now_ms: int) -> list[Message]:
    async with database.transaction() as session:
        await audit.lock_heads(session, ())
        rows = await session.fetch(f"{_ROW} AND command.state = 'sent' ORDER BY command_id", list(commands))
        await session.execute(
            "UPDATE command SET sends = given.sends, next_send_ms = given.next_send_ms "
            "FROM unnest($1::text[], $2::int[], $3::bigint[]) AS given (command_id, sends, next_send_ms) "
            "WHERE command.command_id = given.command_id AND command.state = 'sent'",
            [row["command_id"] for row in rows],
            [row["sends"] + 1 for row in rows],
            [now_ms + resend_after_ms(row["sends"] + 1, random.random()) for row in rows],
        )
    return [_message(row, row["envelope"], now_ms) for row in rows]


async def due_cancellations(database: Database, key: SigningKey, now_ms: int) -> Outgoing:
    """Cancellations of commands that their agents may have, for the first time or again."""
    async with database.transaction() as session:
        await audit.lock_heads(session, ())
        rows = await session.fetch(
            "SELECT command_id, cancellation, cancels, group_name, agent.name FROM command JOIN agent USING (agent_id) "
            "WHERE cancellation IS NOT NULL AND next_cancel_ms <= $1 AND expires_ms > $1 AND agent.online "
            "AND command.state IN ('sent', 'received') ORDER BY command_id LIMIT $2",
            now_ms,
            AT_ONCE_MAX,
        )
        if rows:
            await session.execute(
                "UPDATE command SET cancels = given.cancels, next_cancel_ms = given.next_cancel_ms "
                "FROM unnest($1::text[], $2::int[], $3::bigint[]) AS given (command_id, cancels, next_cancel_ms) "
                "WHERE command.command_id = given.command_id",
                [row["command_id"] for row in rows],
                [row["cancels"] + 1 for row in rows],
                [now_ms + resend_after_ms(row["cancels"] + 1, random.random()) for row in rows],
            )
    messages = [cancel_message(_agent(row), key, row["cancellation"], now_ms) for row in rows]
    return Outgoing(messages, cancellations=len(messages))


async def end_by_time(database: Database, now_ms: int) -> int:
    """End what the time alone ends (``rules.ended_by_time``); how many commands that were."""
    async with database.session() as session:
        candidates = await session.fetch(_OVER, now_ms, AT_ONCE_MAX)
    if not any(ended_by_time(CommandState(row["state"]), row["expires_ms"], now_ms) for row in candidates):
        return 0
    async with database.transaction() as session:
        heads = await audit.lock_heads(session, {int(row["tenant_id"]) for row in candidates})
        rows = [row for row in await session.fetch(_OVER, now_ms, AT_ONCE_MAX) if row["tenant_id"] in heads]
        changes = [change for row in rows if (change := _ended(row, now_ms)) is not None]
        await book.write(session, heads, changes)
    book.tell(changes)
    return len(changes)


_OVER: Final = (
    "SELECT command_id, tenant_id, state, expires_ms FROM command "
    "WHERE state IN ('requested', 'approved', 'sent', 'received', 'executing') AND expires_ms <= $1 "
    "ORDER BY expires_ms LIMIT $2"
)


def _ended(row: Row, now_ms: int) -> Change | None:
    state = ended_by_time(CommandState(row["state"]), row["expires_ms"], now_ms)
    if state is None:
        return None
    reason = "its time was up before it was sent" if state is CommandState.EXPIRED else (
        f"it was {row['state']}, its time is up, and its agent has not said what became of it"
    )  # fmt: skip
    return Change(int(row["tenant_id"]), str(row["command_id"]), state, now_ms, CLOUD, reason)


def _message(row: Row, sealed: str, now_ms: int) -> Message:
    return command_message(_agent(row), action_of(row["action"]), row["datatype"], sealed, now_ms)


def _agent(row: Row) -> AgentName:
    return AgentName(str(row["group_name"]), str(row["name"]))
