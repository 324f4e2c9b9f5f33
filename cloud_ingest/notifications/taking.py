"""From events to messages that wait: by the rules of their tenant, and by the endpoints that want them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.notifications.rules import ITEMS_MAX, Item, Rule, due, wants
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Session

CHANNEL: Final = "lineside_notifications"
"""Notified when there is something to send."""
KNOWN_S: Final = 2.0
"""So late a rule or an endpoint may take effect in a process that runs."""


@dataclass(frozen=True, slots=True)
class _Known:
    read_s: float
    rules: Sequence[tuple[str, Rule]]
    endpoints: Sequence[tuple[str, Sequence[str]]]


class EventsTell:
    """Takes events of any topic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[int, _Known] = {}

    async def take(self, work: UnitOfWork, event: ReadEvent, topic: str) -> None:
        """Take one event, in the transaction that moves the place in the log."""
        known = await self._of_tenant(work.session, event.tenant_id)
        is_told = False
        for rule_id, rule in known.rules:
            if wants(rule, event.type, event.data):
                await self._add(work.session, event, rule_id, rule)
                is_told = True
        wanting = [one for one, patterns in known.endpoints if any(fnmatchcase(event.type, p) for p in patterns)]
        if wanting:
            await self._deliver(work.session, event, topic, wanting)
        if is_told or wanting:
            work.notify(CHANNEL)

    async def _of_tenant(self, session: Session, tenant_id: int) -> _Known:
        now_s = self._clock.monotonic_s()
        known = self._known.get(tenant_id)
        if known is not None and now_s - known.read_s < KNOWN_S:
            return known
        rules = await session.fetch(
            "SELECT rule_id, rule FROM notification_rule WHERE tenant_id = $1 AND enabled ORDER BY rule_id", tenant_id
        )
        endpoints = await session.fetch(
            "SELECT endpoint_id, events FROM webhook_endpoint WHERE tenant_id = $1 AND enabled ORDER BY endpoint_id",
            tenant_id,
        )
        self._known[tenant_id] = found = _Known(
            now_s,
            [(row["rule_id"], Rule.model_validate_json(row["rule"])) for row in rules],
            [(row["endpoint_id"], list(row["events"])) for row in endpoints],
        )
        return found

    async def _add(self, session: Session, event: ReadEvent, rule_id: str, rule: Rule) -> None:
        """Add the event to the rule's message that waits, or begin one."""
        now_ns = self._clock.now_ns()
        now = datetime.fromtimestamp(now_ns / 1e9, UTC)
        held = await session.fetch(
            "SELECT greatest(held_until, $2) AS held_until FROM notification_rule WHERE rule_id = $1 FOR UPDATE",
            rule_id,
            now,
        )
        if not held:
            return  # it was deleted since
        item = _item(event)
        waiting = await session.fetch(
            "SELECT notification_id, items, events FROM notification WHERE rule_id = $1 AND state = 'waiting' "
            "AND tries = 0 AND due > $2 ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED",
            rule_id,
            now,
        )
        if waiting:
            items = json.loads(waiting[0]["items"])
            more = [item] if len(items) < ITEMS_MAX else []
            await session.execute(
                "UPDATE notification SET events = events + 1, items = $2, changed = $3 WHERE notification_id = $1",
                waiting[0]["notification_id"],
                json.dumps([*items, *more], ensure_ascii=False),
                now,
            )
            return
        leaves, held_until = due(rule, now, held[0]["held_until"])
        await session.execute(
            "INSERT INTO notification (notification_id, tenant_id, rule_id, channel, recipients, due, items, created, "
            "changed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
            new_ulid(now_ns // 1_000_000),
            event.tenant_id,
            rule_id,
            rule.channel,
            list(rule.recipients),
            leaves,
            json.dumps([item], ensure_ascii=False),
            now,
        )
        await session.execute("UPDATE notification_rule SET held_until = $2 WHERE rule_id = $1", rule_id, held_until)

    async def _deliver(self, session: Session, event: ReadEvent, topic: str, endpoints: Sequence[str]) -> None:
        now_ns = self._clock.now_ns()
        now = datetime.fromtimestamp(now_ns / 1e9, UTC)
        body = json.dumps(
            {
                "specversion": "1.0",
                "id": f"{topic}/{event.number}",
                "type": event.type,
                "source": f"/lineside/tenants/{event.tenant_id}",
                "subject": event.key,
                "time": _time(event.time_ns),
                "datacontenttype": "application/json",
                "data": dict(event.data),
            },
            ensure_ascii=False,
        )
        await session.execute_many(
            "INSERT INTO webhook_delivery (delivery_id, tenant_id, endpoint_id, type, body, next_try, created, changed)"
            " SELECT $1, $2, endpoint_id, $4, $5, $6, $6, $6 FROM webhook_endpoint WHERE endpoint_id = $3",
            [(new_ulid(now_ns // 1_000_000), event.tenant_id, one, event.type, body, now) for one in endpoints],
        )


def item_of(document: Mapping[str, Any]) -> Item:
    """The item in a message's row."""
    return Item(str(document["type"]), str(document["key"]), str(document["time"]), document["data"])


def _item(event: ReadEvent) -> dict[str, object]:
    data = {name: value for name, value in event.data.items() if isinstance(value, str | int | float | bool)}
    short = {name: value[:500] if isinstance(value, str) else value for name, value in list(data.items())[:50]}
    return {"type": event.type, "key": event.key, "time": _time(event.time_ns), "data": short}


def _time(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
