"""From what this process says to where it can be searched: by a bounded queue that nothing waits for.

When lines come faster than they can be kept, or the store is away for long, the oldest are dropped and counted. They
are in the process's own log (standard error) all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from dataclasses import fields
from typing import Any, Final

from cloud_ingest.catalog.log_lines import LEVELS, Level, Line, at_least, entry_of, text_of
from cloud_ingest.observability.catalog_events import LogLinesDropped, LogLinesKept
from cloud_ingest.observability.gateway_events import RequestServed
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import Event, emit, event_name, listen, listen_no_more
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.documents import CappedCollection, DocumentStore

QUEUE_MAX: Final = 10_000
AT_ONCE_MAX: Final = 500
EVERY_S: Final = 1.0
TENANT: Final = 1
"""Whose the lines are that are about no agent: the tenant of whoever runs the program."""
RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
_AWAY: Final = (DatabaseUnavailable, StatementRefused)


class LogKeeper(logging.Handler):
    """Keeps the events that are emitted, and warnings of libraries. ``least``: the least level that is kept."""

    def __init__(
        self, documents: DocumentStore, database: Database, collection: CappedCollection, clock: Clock, least: Level
    ) -> None:
        super().__init__(logging.WARNING)
        self._documents = documents
        self._database = database
        self._collection = collection
        self._clock = clock
        self._kept = frozenset(at_least(least))
        self._queue: deque[Line] = deque()
        self._dropped = 0
        self._tenants: dict[str, int] = {}

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of it: nothing of its own."""
        return {}

    def hear(self, event: Event) -> None:
        """Queue the line of ``event``; requests have theirs in the process's own log alone."""
        if event.level not in self._kept or isinstance(event, RequestServed):
            return
        said = {field.name: getattr(event, field.name) for field in fields(event)}
        agent, device = (text_of(said.pop(name, "") or "") for name in ("agent", "device"))
        text = text_of(said.pop("reason", "") or "")
        known = {name: text_of(value) for name, value in said.items() if value not in ("", None)}
        level = event.level
        self._put(Line(self._clock.now_ns(), level, "application", event_name(type(event)), text, agent, device, known))

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a library's line; called from any thread."""
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        if level in self._kept:
            text, said = record.getMessage(), {"logger": record.name}
            self._put(Line(self._clock.now_ns(), level, "application", "library", text, fields=said))

    def _put(self, line: Line) -> None:
        while len(self._queue) >= QUEUE_MAX:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(line)

    async def run(self) -> None:
        """Keep lines until cancelled; a store that is away is waited for."""
        listen(self.hear)
        logging.getLogger().addHandler(self)
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        try:
            while True:
                wait_s = EVERY_S
                try:
                    while await self.keep():
                        pass
                    back_off.reset()
                except _AWAY:  # whoever uses the database says so; here it would make a line of each try
                    wait_s = back_off.next_s()
                await asyncio.sleep(wait_s)
        finally:
            listen_no_more(self.hear)
            logging.getLogger().removeHandler(self)

    async def keep(self) -> int:
        """Keep the oldest lines of the queue; how many. Raises what ``DocumentStore.append`` does, and loses none."""
        now_ns = self._clock.now_ns()
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE_MAX))]
        try:
            by_tenant = defaultdict(list)
            for line in taken:
                by_tenant[await self._tenant(line.agent)].append(entry_of(line, now_ns))
            for tenant_id, entries in by_tenant.items():
                await self._documents.append(tenant_id, self._collection, entries)
        except _AWAY:
            self._queue.extendleft(reversed(taken))  # what was kept of them already is left out the next time
            raise
        if dropped := self._dropped:
            self._dropped = 0
            emit(LogLinesDropped(dropped))
        if taken:
            emit(LogLinesKept(len(taken)))
        return len(taken)

    async def _tenant(self, agent: str) -> int:
        group = agent.partition("/")[0]
        if not group:
            return TENANT
        if group not in self._tenants:
            async with self._database.session() as session:
                rows = await session.fetch("SELECT tenant_id FROM sparkplug_group WHERE group_name = $1", group)
            if not rows:
                return TENANT
            self._tenants[group] = int(rows[0]["tenant_id"])
        return self._tenants[group]


def level_of(text: str) -> Level:
    """The level that another program's ``text`` means."""
    lowered = text.lower()
    if lowered in ("critical", "fatal", "err", "alert", "emergency"):
        return "error"
    if lowered in ("warn", "notice"):
        return "warning" if lowered == "warn" else "info"
    return lowered if lowered in LEVELS else "debug" if lowered == "trace" else "info"
