"""Whether an agent has said itself what came under its name: what is signed with the key that it was enrolled with.

Of an agent that was never enrolled everything is believed, as it is known by its name on the broker alone. Of one whose
key was revoked nothing is, until it is enrolled anew. An agent of a version that signs nothing is believed until the
first signature with its key has come; one that has said at its enrolment that it signs, never unsigned.

What is not genuine is set aside in the dead letters, so many of an agent, and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloud_ingest.commands import audit
from cloud_ingest.commands.incoming import Told
from cloud_ingest.historian.work import KnownAgent
from connectors.commands.signing import TrustedKeys
from connectors.model.delivery import AgentName
from connectors.model.texts import storable
from connectors.ports.database import Database, Row, Session

LETTERS_MAX: Final = 100
"""Of one agent, open and unnumbered: who can publish under its name must not fill the database."""
TOPIC_CHARS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class AgentKey:
    """The newest key of an agent. ``is_revoked``: no key of it holds; ``signs``: what it says has to be signed."""

    key_id: str
    keys: TrustedKeys
    is_revoked: bool
    signs: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said, and why it is not believed; ``problem`` is empty when it is.

    ``is_genuine``: it is signed with the key that the agent was enrolled with; ``first_signed`` is that key, when it
    has signed now for the first time.
    """

    told: Told
    problem: str = ""
    is_genuine: bool = False
    first_signed: str = ""


NEWEST_KEY: Final = (
    "LEFT JOIN LATERAL (SELECT key_id, public_key, signs, retired_ms FROM agent_key "
    "    WHERE agent_key.tenant_id = agent.tenant_id AND agent_key.agent = group_name || '/' || agent.name "
    "    ORDER BY retired_ms IS NULL DESC, enrolled_ms DESC LIMIT 1) AS key ON true"
)
"""Joins the key of ``agent_keys`` to each row of a question about agents; ``agent_key`` reads it from its columns."""


async def agent_keys(session: Session, agents: Collection[KnownAgent]) -> dict[str, AgentKey]:
    """The newest key of each of ``agents`` that ever had one, by its group/name; the one that holds, if any does."""
    rows = await session.fetch(
        "SELECT DISTINCT ON (agent) agent, key_id, public_key, signs, retired_ms FROM agent_key "
        "JOIN unnest($1::int[], $2::text[]) AS asked (tenant_id, agent) USING (tenant_id, agent) "
        "ORDER BY agent, retired_ms IS NULL DESC, enrolled_ms DESC",
        [agent.tenant_id for agent in agents],
        [str(agent.name) for agent in agents],
    )
    return {row["agent"]: key for row in rows if (key := agent_key(row)) is not None}


def agent_key(row: Row) -> AgentKey | None:
    """The key in the columns of ``row``; ``None`` when the agent never had one."""
    key_id = row["key_id"]
    if key_id is None:
        return None
    return AgentKey(key_id, _key(key_id, row["public_key"]), row["retired_ms"] is not None, bool(row["signs"]))


def _key(key_id: str, public_key: str) -> TrustedKeys:
    """The key; when somebody has made it unreadable, none, by which nothing is genuine."""
    try:
        return TrustedKeys({key_id: json.loads(public_key)})
    except (ValueError, TypeError, AttributeError):
        return TrustedKeys()


def judged(told: Told, key: AgentKey | None) -> Judged:
    """Whether to believe ``told`` of an agent with ``key``. Pure."""
    if key is None:
        return Judged(told)
    if key.is_revoked:
        return Judged(told, f"the key {key.key_id} of the agent was revoked: enrol it anew")
    if not told.is_signed:
        if key.signs:
            return Judged(told, f"it is not signed, and the agent signs with the key {key.key_id}")
        return Judged(told)
    if problem := told.signature_problem(key.key_id, key.keys):
        return Judged(told, problem)
    return Judged(told, is_genuine=True, first_signed="" if key.signs else key.key_id)


async def judge_all(database: Database, told: Sequence[Told], names: Mapping[AgentName, KnownAgent]) -> list[Judged]:
    """Judge each of ``told``, whose agents are among ``names``. Raises ``DatabaseUnavailable``."""
    async with database.session() as session:
        keys = await agent_keys(session, {names[one.agent] for one in told})
    found: list[Judged] = []
    for at, one in enumerate(told):
        found.append(judged(one, keys.get(str(one.agent))))
        if at % 16 == 15:
            await asyncio.sleep(0)  # signatures take their time
    return found


async def note_signing(
    session: Session, heads: audit.Heads, judged_now: Sequence[Judged], names: Mapping[AgentName, KnownAgent]
) -> None:
    """From now on these agents have to sign what they say."""
    first = {one.first_signed: one.told for one in judged_now if one.first_signed}
    for key_id, told in first.items():
        tenant_id = names[told.agent].tenant_id
        done = await session.execute(
            "UPDATE agent_key SET signs = true WHERE tenant_id = $1 AND key_id = $2 AND NOT signs", tenant_id, key_id
        )
        if done:
            name = str(told.agent)
            deed = audit.Deed(told.received_ms, name, "agent signs from now on", name, {"key": key_id})
            await audit.append(session, heads.of(tenant_id), [deed])


async def keep_letter(session: Session, agent: KnownAgent, told: Told, reason: str) -> bool:
    """Into the dead letters, without a number in the ledger, in which its batch has arrived; false when it is full."""
    done = await session.execute(
        "INSERT INTO dead_letter (tenant_id, agent_id, topic, payload, reason, received) "
        "SELECT $1::int, $2::int, $3::text, $4::bytea, $5::text, to_timestamp($6::bigint / 1000.0) "
        "WHERE (SELECT count(*) FROM dead_letter WHERE agent_id = $2::int AND epoch IS NULL AND closed IS NULL) < $7",
        agent.tenant_id,
        agent.agent_id,
        storable(told.topic)[:TOPIC_CHARS_MAX].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        told.payload,
        storable(reason).replace("\0", "\N{REPLACEMENT CHARACTER}"),
        told.received_ms,
        LETTERS_MAX,
    )
    return bool(done)


async def set_aside(session: Session, agent: KnownAgent, told: Told, problem: str) -> bool:
    """Keep what is not believed as ``keep_letter`` does, and count it."""
    kept = await keep_letter(session, agent, told, f"what it says of commands is not believed: {problem}")
    await session.execute(
        "INSERT INTO command_forged AS known (agent_id, tenant_id, count, newest_ms, reason) "
        "VALUES ($1, $2, 1, $3, $4) ON CONFLICT (agent_id) DO UPDATE "
        "SET count = known.count + 1, newest_ms = excluded.newest_ms, reason = excluded.reason",
        agent.agent_id,
        agent.tenant_id,
        told.received_ms,
        problem,
    )
    return kept
