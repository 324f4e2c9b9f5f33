"""Agents, tags and definitions by their numbers in the database, cached.

They are facts that hold whatever becomes of the samples, so they are written in transactions of their own, before the
one that stores samples: what is cached here is always in the database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.historian.work import KnownAgent
from connectors.model.delivery import AgentName
from connectors.model.tags import DeviceDefinition
from connectors.ports.database import Database, Session
from connectors.sparkplug.bulk_decode import AliasTypes
from connectors.sparkplug.definition import LIMIT_PROPERTIES, read_definition
from connectors.sparkplug.structured_value import to_json

DEFAULT_TENANT: Final = 1
DEFINITIONS_A_DEVICE: Final = 8
"""So many are remembered, the ones used last: each change of a configuration makes one. Others are read again."""


@dataclass(frozen=True, slots=True)
class TagKey:
    """What identifies a tag of an agent: device (empty: the node itself) and name; and what is known of it.

    ``datatype`` is the Sparkplug number, also of a data set, template, array or file. ``properties`` is JSON.
    """

    device: str
    name: str
    datatype: int
    unit: str = ""
    description: str = ""
    properties: str = ""


class DefinitionTags:
    """A definition with the tag ids of its aliases, as tables that NumPy can index."""

    def __init__(self, definition: DeviceDefinition, tag_ids: dict[int, int]) -> None:
        self.definition = definition
        self.types = AliasTypes({metric.alias: metric.datatype for metric in definition.metrics})
        self.names = {metric.alias: str(metric.name) for metric in definition.metrics}
        self._base = min(tag_ids, default=0)
        self._tag_ids = np.zeros(max(tag_ids, default=0) - self._base + 1, np.int32)
        for alias, tag_id in tag_ids.items():
            self._tag_ids[alias - self._base] = tag_id

    def tag_ids(self, alias: NDArray[np.int32]) -> NDArray[np.int32]:
        """The tag id of each alias; all of them are in the definition."""
        return self._tag_ids[alias - self._base]


class Identities:
    """The numbers behind names, for the agents of one partition of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.acknowledging: set[int] = set()
        self._agents: dict[AgentName, KnownAgent] = {}
        self._definitions: dict[tuple[int, str], DefinitionTags] = {}
        self._in_use: dict[tuple[int, str], OrderedDict[str, None]] = {}
        """Of each device of an agent the hashes of the definitions that are remembered, the one last used last."""
        self._born: dict[tuple[int, str], str] = {}
        self._tags: dict[tuple[int, str, str], tuple[int, TagKey]] = {}

    async def agent(self, name: AgentName) -> KnownAgent:
        """The agent called ``name``; it is entered, with the default tenant's group, when it is new."""
        known = self._agents.get(name)
        if known is None:
            async with self._database.transaction() as session:
                known, acknowledges = await _enter_agent(session, name)
            self._agents[name] = known
            if acknowledges:
                self.acknowledging.add(known.agent_id)
        return known

    def forget(self) -> None:
        """The database is not as it was remembered: somebody has deleted rows by hand."""
        for known in (self._agents, self._definitions, self._in_use, self._born, self._tags):
            known.clear()

    def known_agent(self, name: AgentName) -> KnownAgent | None:
        """The agent called ``name``, if it has been met."""
        return self._agents.get(name)

    async def learn_definition(self, agent: KnownAgent, definition: DeviceDefinition) -> None:
        """Enter a definition and its tags.

        Unit, type and description of tags that are known already only change when the newest birth of the device named
        this definition, or, before any birth, when the definition is new: it may be that of old data, told late.
        """
        if (agent.agent_id, definition.hash) in self._definitions:
            return
        async with self._database.transaction() as session:
            is_new = await session.execute(
                "INSERT INTO definition (agent_id, tenant_id, hash, device, body) VALUES ($1,$2,$3,$4,$5) "
                "ON CONFLICT DO NOTHING",
                agent.agent_id,
                agent.tenant_id,
                definition.hash,
                definition.device,
                definition.body,
            )
            born = await _born_hash(session, agent, definition.device)
            decides = bool(is_new) if born is None else born == definition.hash
            ids = await _enter_tags(session, agent, _tag_keys(definition), changing=decides)
        self._remember(agent, definition, ids)

    async def born(self, agent: KnownAgent, device: str, hash_: str) -> None:
        """The newest birth of ``device`` names this definition: its tags are as it says, now or when it comes."""
        if self._born.get((agent.agent_id, device)) == hash_:
            return
        async with self._database.transaction() as session:
            await session.execute(
                "INSERT INTO born_definition (agent_id, tenant_id, device, hash) VALUES ($1,$2,$3,$4) "
                "ON CONFLICT (agent_id, device) DO UPDATE SET hash = excluded.hash",
                agent.agent_id,
                agent.tenant_id,
                device,
                hash_,
            )
            definition = await _read_definition(session, agent, hash_)
            if definition is not None and definition.device == device:
                await _enter_tags(session, agent, _tag_keys(definition), changing=True)
        self._born[agent.agent_id, device] = hash_

    async def definition(self, agent: KnownAgent, hash_: str) -> DefinitionTags | None:
        """The definition with this hash, or ``None`` when it has not come yet."""
        known = self._definitions.get((agent.agent_id, hash_))
        if known is not None:
            self._used(agent, known.definition)
            return known
        async with self._database.transaction() as session:
            definition = await _read_definition(session, agent, hash_)
            if definition is None:
                return None
            ids = await _enter_tags(session, agent, _tag_keys(definition), changing=False)
        return self._remember(agent, definition, ids)

    async def tags(self, agent: KnownAgent, keys: Sequence[TagKey]) -> dict[tuple[str, str], int]:
        """The ids of tags that came without a definition, by (device, name)."""
        unknown = [key for key in keys if self._tags.get((agent.agent_id, key.device, key.name), (0, None))[1] != key]
        if unknown:
            async with self._database.transaction() as session:
                ids = await _enter_tags(session, agent, unknown, changing=True)
            for key, tag_id in zip(unknown, ids, strict=True):
                self._tags[agent.agent_id, key.device, key.name] = (tag_id, key)
        return {(key.device, key.name): self._tags[agent.agent_id, key.device, key.name][0] for key in keys}

    def _remember(self, agent: KnownAgent, definition: DeviceDefinition, ids: Sequence[int]) -> DefinitionTags:
        by_alias = {metric.alias: tag_id for metric, tag_id in zip(definition.metrics, ids, strict=True)}
        known = self._definitions[agent.agent_id, definition.hash] = DefinitionTags(definition, by_alias)
        self._used(agent, definition)
        return known

    def _used(self, agent: KnownAgent, definition: DeviceDefinition) -> None:
        in_use = self._in_use.setdefault((agent.agent_id, definition.device), OrderedDict())
        in_use[definition.hash] = None
        in_use.move_to_end(definition.hash)
        while len(in_use) > DEFINITIONS_A_DEVICE:
            oldest, _ = in_use.popitem(last=False)
            del self._definitions[agent.agent_id, oldest]


def _tag_keys(definition: DeviceDefinition) -> list[TagKey]:
    return [
        TagKey(
            definition.device, metric.name, metric.datatype, metric.unit, metric.description, _properties(metric.limits)
        )
        for metric in definition.metrics
    ]


def _properties(limits: tuple[float, float] | None) -> str:
    """As a node of another maker tells them."""
    return "" if limits is None else to_json(dict(zip(LIMIT_PROPERTIES, limits, strict=True)))


async def _enter_agent(session: Session, name: AgentName) -> tuple[KnownAgent, bool]:
    await session.execute(
        "INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        name.group,
        DEFAULT_TENANT,
    )
    await session.execute(
        "INSERT INTO agent (tenant_id, group_name, name) "
        "SELECT tenant_id, group_name, $2 FROM sparkplug_group WHERE group_name = $1 ON CONFLICT DO NOTHING",
        name.group,
        name.name,
    )
    rows = await session.fetch(
        "SELECT agent_id, tenant_id, acknowledges FROM agent WHERE group_name = $1 AND name = $2", name.group, name.name
    )
    return KnownAgent(int(rows[0]["agent_id"]), int(rows[0]["tenant_id"]), name), bool(rows[0]["acknowledges"])


async def _born_hash(session: Session, agent: KnownAgent, device: str) -> str | None:
    rows = await session.fetch(
        "SELECT hash FROM born_definition WHERE agent_id = $1 AND device = $2", agent.agent_id, device
    )
    return str(rows[0]["hash"]) if rows else None


async def _read_definition(session: Session, agent: KnownAgent, hash_: str) -> DeviceDefinition | None:
    rows = await session.fetch("SELECT body FROM definition WHERE agent_id = $1 AND hash = $2", agent.agent_id, hash_)
    return read_definition(bytes(rows[0]["body"])) if rows else None


async def _enter_tags(session: Session, agent: KnownAgent, keys: Sequence[TagKey], *, changing: bool) -> list[int]:
    """The ids of ``keys``, in their order.

    With ``changing``, type, unit and description of tags that are known already become as ``keys`` say.
    """
    columns = (
        [key.device for key in keys],
        [key.name for key in keys],
        [int(key.datatype) for key in keys],
        [key.unit for key in keys],
        [key.description for key in keys],
        [key.properties for key in keys],
    )
    rows = await session.fetch(
        "WITH given AS (SELECT * FROM unnest($3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[], "
        "    $8::text[]) AS given (device, name, datatype, unit, description, properties)), "
        "entered AS (INSERT INTO tag (agent_id, tenant_id, device, name, datatype, unit, description, properties) "
        "    SELECT DISTINCT ON (device, name) $1, $2, device, name, datatype, unit, description, properties "
        "    FROM given "
        "    ON CONFLICT (agent_id, device, name) DO UPDATE SET "
        "        datatype = CASE WHEN $9 THEN excluded.datatype ELSE tag.datatype END, "
        "        unit = CASE WHEN $9 THEN excluded.unit ELSE tag.unit END, "
        "        description = CASE WHEN $9 THEN excluded.description ELSE tag.description END, "
        "        properties = CASE WHEN $9 THEN excluded.properties ELSE tag.properties END "
        "    RETURNING tag_id, device, name) "
        "SELECT tag_id, device, name FROM entered",
        agent.agent_id,
        agent.tenant_id,
        *columns,
        changing,
    )
    ids = {(str(row["device"]), str(row["name"])): int(row["tag_id"]) for row in rows}
    return [ids[key.device, key.name] for key in keys]
