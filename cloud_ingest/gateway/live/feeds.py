"""What clients are told of, read from the tables: events of the domain, states of commands, newest values of tags."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.sight import seen, sight_of
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.commands import questions
from cloud_ingest.event_log.topics import LINE_EVENTS, ORDER_EVENTS
from cloud_ingest.gateway.live.subscription import COMMANDS, LINES, ORDERS, FeedEvent, TagName, event_text
from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceDefinition
from connectors.ports.database import Database, Row
from connectors.sparkplug.definition import read_definition

PAGE: Final = 500
FIRST_LOOK: Final = timedelta(hours=25)
"""A tag that had no value for longer has none at first; its next one is told as ever."""
AHEAD_MAX: Final = timedelta(days=1)
"""A source time that is further ahead is not told: it would hide what has the right time."""
FEEDS: Final = (LINES, ORDERS, COMMANDS)
_TOPICS: Final = {LINES: LINE_EVENTS, ORDERS: ORDER_EVENTS}
_VALUES: Final = ("value_double", "value_int", "value_bool", "value_text")
_NEWEST: Final = (
    "SELECT wanted.tag_id, newest.* FROM unnest($1::int[], $2::timestamptz[]) AS wanted (tag_id, after) "
    "CROSS JOIN LATERAL (SELECT time, quality, value_double, value_int, value_bool, value_text, value_bytes "
    "FROM sample WHERE sample.tag_id = wanted.tag_id AND time > wanted.after AND time < $3 "
    "ORDER BY time DESC LIMIT 1) AS newest"
)


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A tag that a client may see. ``is_numbered``: its agent numbers its batches, and so they can be read anywhere."""

    tag_id: int
    agent: str
    device: str
    tag: str
    is_numbered: bool = False

    def document(self) -> dict[str, Any]:
        """As the client is told which id stands for which names."""
        return {"id": self.tag_id, "agent": self.agent, "device": self.device, "tag": self.tag}


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value of a tag as it is stored."""

    tag_id: int
    time: datetime
    value: bool | float | str | None
    quality: int


async def ends(database: Database) -> dict[str, int]:
    """The newest number of each feed."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT topic, max(number) AS number FROM event_outbox WHERE topic = ANY($1) GROUP BY topic",
            list(_TOPICS.values()),
        )
    found = {row["topic"]: int(row["number"]) for row in rows}
    places = {feed: found.get(topic, 0) for feed, topic in _TOPICS.items()}
    return {**places, COMMANDS: await questions.newest_cursor(database)}


async def oldest(database: Database) -> int:
    """The number of the oldest event of the domain that is still there; 0 when there is none."""
    async with database.session() as session:
        (row,) = await session.fetch("SELECT coalesce(min(number), 0) AS number FROM event_outbox")
    return int(row["number"])


async def after(database: Database, feed: str, number: int) -> list[FeedEvent]:
    """The next events of ``feed`` behind ``number``, in their order; up to ``PAGE``."""
    async with database.session() as session:
        if feed == COMMANDS:
            return [_command(row) for row in await questions.states_after(session, number, PAGE)]
        rows = await session.fetch(
            "SELECT number, tenant_id, key, event FROM event_outbox WHERE topic = $1 AND number > $2 "
            "ORDER BY number LIMIT $3",
            _TOPICS[feed],
            number,
            PAGE,
        )
    return [_event(feed, row) for row in rows]


def _event(feed: str, row: Row) -> FeedEvent:
    event = json.loads(row["event"])
    number, key, type_, data = int(row["number"]), row["key"], event["type"], event["data"]
    text = event_text(feed, number, type_, key, event["time"], data)
    return FeedEvent(feed, number, row["tenant_id"], key, type_, data, text)


def _command(row: Row) -> FeedEvent:
    data = questions.state_document(row)
    number, key = int(row["state_id"]), row["agent"]
    time = datetime.fromtimestamp(data["time_ms"] / 1000, UTC).isoformat()
    text = event_text(COMMANDS, number, "command", key, time, data)
    return FeedEvent(COMMANDS, number, row["tenant_id"], key, "command", data, text)


async def known_tags(database: Database, principal: Principal, asked: Sequence[int | TagName]) -> list[KnownTag]:
    """Those of ``asked`` that there are, and that ``principal`` may see."""
    ids = [one for one in asked if isinstance(one, int)]
    names = [one for one in asked if isinstance(one, TagName)]
    async with tenant_session(database, principal.tenant_id) as session:
        rows = await session.fetch(
            "SELECT tag_id, group_name || '/' || agent.name AS agent, device, tag.name AS tag, "  # noqa: S608  our own
            "acknowledges AS is_numbered FROM tag JOIN agent USING (agent_id) WHERE (tag_id = ANY($1) OR EXISTS ("
            "SELECT FROM unnest($2::text[], $3::text[], $4::text[]) AS named (agent, device, tag) "
            "WHERE tag.name = named.tag AND tag.device = named.device "
            "AND group_name || '/' || agent.name = named.agent)) "
            f"AND {seen(5)} ORDER BY tag_id",
            ids,
            [one.agent for one in names],
            [one.device for one in names],
            [one.tag for one in names],
            *sight_of(principal, Permission.DATA_READ).arguments,
        )
    return [KnownTag(**row) for row in rows]


async def newest(database: Database, seen_until: Mapping[int, datetime]) -> list[StoredValue]:
    """Of each tag its newest value behind the time that was seen of it, where there is one."""
    async with database.session() as session:
        rows = await session.fetch(_NEWEST, list(seen_until), list(seen_until.values()), datetime.now(UTC) + AHEAD_MAX)
    return [StoredValue(row["tag_id"], row["time"], _value(row), row["quality"]) for row in rows]


def _value(row: Row) -> bool | float | str | None:
    value: Any = next((row[column] for column in _VALUES if row[column] is not None), None)
    return bytes(row["value_bytes"]).hex() if value is None and row["value_bytes"] is not None else value


async def definition(database: Database, agent: AgentName, hash_: str) -> DeviceDefinition | None:
    """The definition of ``agent`` with this hash, once the historian has it."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT body FROM definition JOIN agent USING (agent_id) "
            "WHERE group_name = $1 AND agent.name = $2 AND hash = $3",
            agent.group,
            agent.name,
            hash_,
        )
    with contextlib.suppress(PayloadInvalid):
        return read_definition(bytes(rows[0]["body"])) if rows else None
    return None
