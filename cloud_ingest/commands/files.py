"""Versions of device files: numbered and kept when they are asked for, and what each agent says that it has.

What became of a version is what became of its command, so nothing here can say something else than the command does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.rules import sync_of
from cloud_ingest.historian.work import KnownAgent
from connectors.commands.envelope import ApplyDeviceFile
from connectors.commands.reports import FileFact
from connectors.ports.database import Database, Session


def complete(action: ApplyDeviceFile, stage: str) -> ApplyDeviceFile:
    """The action with the SHA-256 of its content. Raises ``RequestRefused`` when it names another one."""
    if stage != "execute":
        raise RequestRefused(Why.INVALID, "malformed", "a file is not armed: it is tried, and put back by itself")
    sha256 = hashlib.sha256(action.content.encode()).hexdigest()
    if action.sha256 not in ("", sha256):
        raise RequestRefused(Why.INVALID, "malformed", f"the SHA-256 of the content is {sha256}")
    return action.model_copy(update={"sha256": sha256})


async def numbered(session: Session, agent_id: int, action: ApplyDeviceFile) -> ApplyDeviceFile:
    """The action with its version: the next one, unless it names a later one. Raises ``RequestRefused``."""
    (row,) = await session.fetch(
        "SELECT coalesce(max(version), 0) AS newest FROM device_file_version WHERE agent_id = $1 AND name = $2",
        agent_id,
        action.name,
    )
    newest = int(row["newest"])
    if action.version and action.version <= newest:
        raise RequestRefused(Why.CONFLICT, "version_used", f"{action.name} has a version {newest} already")
    return action.model_copy(update={"version": action.version or newest + 1})


async def note(session: Session, tenant_id: int, agent_id: int, action: ApplyDeviceFile, command: str) -> None:
    """Keep the version that ``command`` asks for, in its transaction."""
    await session.execute(
        "INSERT INTO device_file_version (tenant_id, agent_id, name, version, content, sha256, command_id) "
        "VALUES ($1,$2,$3,$4,$5,$6,$7)",
        tenant_id,
        agent_id,
        action.name,
        action.version,
        action.content,
        action.sha256,
        command,
    )


async def in_use(session: Session, agent: KnownAgent, files: Sequence[FileFact], heard_ms: int) -> None:
    """What an agent has, by its newest hello; of two facts about one file, the later one."""
    files = list({file.name: file for file in files}.values())
    await session.execute(
        "DELETE FROM device_file_in_use WHERE agent_id = $1 AND NOT name = ANY($2::text[])",
        agent.agent_id,
        [file.name for file in files],
    )
    await session.execute(
        "INSERT INTO device_file_in_use (tenant_id, agent_id, name, sha256, version, state, message, heard_ms) "
        "SELECT $1, $2, given.*, $8::bigint "
        "FROM unnest($3::text[], $4::text[], $5::int[], $6::text[], $7::text[]) AS given "
        "ON CONFLICT (agent_id, name) DO UPDATE SET sha256 = excluded.sha256, version = excluded.version, "
        "state = excluded.state, message = excluded.message, heard_ms = excluded.heard_ms",
        agent.tenant_id,
        agent.agent_id,
        [file.name for file in files],
        [file.sha256 for file in files],
        [file.version for file in files],
        [file.state for file in files],
        [file.message for file in files],
        heard_ms,
    )


async def used(session: Session) -> dict[int, list[dict[str, Any]]]:
    """By agent: its files as it has said last, with the version that was asked for last, and whether it has that."""
    rows = await session.fetch(
        "SELECT used.agent_id, used.name, used.sha256, used.version, used.state, used.message, "
        "newest.version AS newest, newest.state AS newest_state, newest.message AS newest_message "
        "FROM device_file_in_use AS used LEFT JOIN LATERAL (SELECT * FROM device_file "
        "    WHERE device_file.agent_id = used.agent_id AND device_file.name = used.name "
        "    ORDER BY version DESC LIMIT 1) AS newest ON true ORDER BY used.agent_id, used.name"
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        sync = sync_of(row["version"], row["state"], row["newest"] or 0, row["newest_state"])
        message = row["newest_message"] if sync == "failed" else row["message"]
        found.setdefault(row["agent_id"], []).append(
            {
                "name": row["name"],
                "sha256": row["sha256"],
                "version": row["version"],
                "state": row["state"],
                "newest": row["newest"],
                "sync": sync,
                "message": message,
            }
        )
    return found


async def used_by(database: Database, tenant_id: int, agent: str) -> list[dict[str, Any]]:
    """The files of an agent of the tenant, see ``used``. Raises ``RequestRefused`` when there is no such agent."""
    async with database.session() as session:
        agent_id = await _agent_id(session, tenant_id, agent)
        return (await used(session)).get(agent_id, [])


async def versions(database: Database, tenant_id: int, agent: str, name: str | None = None) -> list[dict[str, Any]]:
    """The versions that were asked for, the newest first.

    Raises ``RequestRefused`` when the tenant has no such agent.
    """
    async with database.session() as session:
        agent_id = await _agent_id(session, tenant_id, agent)
        rows = await session.fetch(
            "SELECT name, version, sha256, command_id, issuer, state, message, "
            "to_timestamp(requested_ms / 1000.0) AS requested, to_timestamp(changed_ms / 1000.0) AS changed "
            "FROM device_file WHERE agent_id = $1 AND ($2::text IS NULL OR name = $2) "
            "ORDER BY name, version DESC LIMIT 1000",
            agent_id,
            name,
        )
    return [
        {**{key: value for key, value in dict(row).items() if key != "command_id"}, "command": row["command_id"]}
        for row in rows
    ]


async def content(database: Database, tenant_id: int, agent: str, name: str, version: int) -> str:
    """The content of a version. Raises ``RequestRefused`` when the tenant has none."""
    async with database.session() as session:
        agent_id = await _agent_id(session, tenant_id, agent)
        rows = await session.fetch(
            "SELECT content FROM device_file_version WHERE agent_id = $1 AND name = $2 AND version = $3",
            agent_id,
            name,
            version,
        )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_version", f"{agent} was never sent version {version} of {name}")
    return str(rows[0]["content"])


async def _agent_id(session: Session, tenant_id: int, agent: str) -> int:
    group, _, name = agent.partition("/")
    rows = await session.fetch(
        "SELECT agent_id FROM agent WHERE group_name = $1 AND name = $2 AND tenant_id = $3", group, name, tenant_id
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_agent", f"there is no agent {agent}; /api/v1/agents lists them")
    return int(rows[0]["agent_id"])
