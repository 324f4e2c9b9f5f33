"""What a client asks to be told, and what of it it may know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.sight import Sight, sight_of
from connectors.model.quality import name_of

TAGS_MAX: Final = 200
NAMES_MAX: Final = 200
INTERVAL_MS: Final = 100
LINES: Final = "lines"
ORDERS: Final = "orders"
COMMANDS: Final = "commands"
_ALARM: Final = "lineside.lines.alarm-"
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class TagName(BaseModel):
    """A tag by its names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", max_length=511)]
    device: Annotated[str, Field(max_length=255)] = ""
    tag: Annotated[str, Field(min_length=1, max_length=1000)]


Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=600)], ...], Field(max_length=NAMES_MAX)]


class Subscribe(BaseModel):
    """Everything that the client wants from now on; ``*`` is all of a kind. What it wanted before is over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tags: Annotated[tuple[Annotated[int, Field(ge=1, lt=1 << 31)] | TagName, ...], Field(max_length=TAGS_MAX)] = ()
    lines: Names = ()
    """``site/line``, for their states, counts, stops and work orders."""
    alarms: Names = ()
    """``site/line``."""
    orders: Names = ()
    commands: Names = ()
    """``group/name`` of agents."""
    since: Annotated[str, Field(max_length=200)] = ""
    """The cursor of the last message before the connection was lost."""
    interval_ms: Annotated[int, Field(ge=50, le=60_000)] = INTERVAL_MS
    """No two messages come closer than that."""


class ClientMessage(BaseModel):
    """What a client sends: a token, at the beginning or when the one before ends, or what it wants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: Annotated[str | None, Field(max_length=8192)] = None
    subscribe: Subscribe | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription of somebody. Events that ``take`` lets through are theirs to know."""

    principal: Principal
    asked: Subscribe
    agents: Sight | None
    """Whose commands they may see; ``None``: nobody's, as they did not ask."""

    def feeds(self) -> frozenset[str]:
        """Which feeds it needs."""
        asked = self.asked
        named = {LINES: asked.lines or asked.alarms, ORDERS: asked.orders, COMMANDS: asked.commands}
        return frozenset(feed for feed, names in named.items() if names)

    def thing_of(self, event: FeedEvent) -> str | None:
        """What of this subscription ``event`` is the newest of; ``None`` when it is not to be told."""
        if event.tenant_id != self.principal.tenant_id:
            return None
        match event.feed:
            case "lines":
                return self._line_thing(event)
            case "orders":
                is_theirs = self.principal.customer in (None, event.data.get("customer"))
                return f"order {event.key}" if is_theirs and _has(self.asked.orders, event.key) else None
            case "commands":
                sees = self.agents is not None and self.agents.sees(event.tenant_id, event.key)
                return f"command {event.data['id']}" if sees and _has(self.asked.commands, event.key) else None
            case _:
                return None

    def _line_thing(self, event: FeedEvent) -> str | None:
        site, _, line = event.key.partition("/")
        if not self.principal.may(Permission.LINES_READ, site=site, line=line):
            return None
        if event.type.startswith(_ALARM):
            return f"alarm {event.data.get('alarm')}" if _has(self.asked.alarms, event.key) else None
        if not _has(self.asked.lines, event.key):
            return None
        is_work = "work-order" in event.type
        if is_work and not self.principal.may(Permission.WORK_ORDERS_READ, site=site, line=line):
            return None
        which = event.data.get("work_order") if is_work else event.data.get("stop", event.type)
        return f"line {event.key} {which}"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """Something that happened; ``number`` grows within its feed. ``text`` is what clients are sent (JSON in UTF-8)."""

    feed: str
    number: int
    tenant_id: int
    key: str
    type: str
    data: Mapping[str, Any]
    text: bytes


def wanted_by(principal: Principal, asked: Subscribe) -> Wanted:
    """The subscription. Raises ``RequestRefused`` when they may see nothing of a kind that they ask for."""
    needs = (
        (asked.tags, Permission.DATA_READ),
        (asked.lines + asked.alarms, Permission.LINES_READ),
        (asked.orders, Permission.ORDERS_READ),
        (asked.commands, Permission.COMMANDS_READ),
    )
    for names, permission in needs:
        if names and not principal.may_somewhere(permission):
            why = f"{principal.name!r} may not see this: it needs {permission.value}"
            raise RequestRefused(Why.FORBIDDEN, "not_your_role", why)
    if asked.orders and principal.kind == "nobody":
        why = "orders are told to who says who they are: send a token"
        raise RequestRefused(Why.NO_TOKEN, "no_token", why)
    agents = sight_of(principal, Permission.COMMANDS_READ) if asked.commands else None
    return Wanted(principal, asked, agents)


def event_text(feed: str, number: int, type_: str, key: str, time: Any, data: Mapping[str, Any]) -> bytes:
    """An event as clients get it."""
    told = {"feed": feed, "number": number, "type": type_, "key": key, "time": time, "data": data}
    return _JSON.encode(told).encode("utf-8", "replace")


def value_text(tag_id: int, time: str, value: bool | float | str | None, quality: int) -> bytes:
    """A value of a tag as clients get it; ``time`` by ISO 8601. A number that JSON has none for is told as text."""
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    told = {"id": tag_id, "time": time, "value": value, "quality": name_of(quality)}
    return _JSON.encode(told).encode("utf-8", "replace")


def _has(names: tuple[str, ...], name: str) -> bool:
    return name in names or "*" in names
