"""Reports of commands into their topic as soon as they come, beside an append of samples that is under way.

The message itself is appended after that with all others, and acknowledged then; so a report that is not in the log yet
is never acknowledged. Nothing is kept here that is not pending in the intake, too, which bounds it.

When the log may have lost its end, reports are appended once more: who reads them knows those that come again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from cloud_ingest.event_log.topics import REPORTS
from cloud_ingest.ingest.pending import Taken
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, RecordRefused, StatementRefused
from connectors.ports.event_log import EventLog


class ReportsAhead:
    """See the module. One append at a time, so that reports stay in their order."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._waiting: dict[int, Taken] = {}  # both by identity
        self._appended: dict[int, Taken] = {}
        self._forgotten = 0
        self._something = asyncio.Event()

    def add(self, taken: Taken) -> None:
        """A message that says something of commands has come."""
        self._waiting[id(taken)] = taken
        self._something.set()

    async def run(self) -> None:
        """Append what has come until cancelled. What the log does not take is left to ``appended``, which says why."""
        while True:
            await self._something.wait()
            self._something.clear()
            with contextlib.suppress(EventLogUnavailable, DatabaseUnavailable, RecordRefused, StatementRefused):
                async with self._one_at_a_time:
                    await self._append(self._waiting.values())

    async def appended(self, messages: Iterable[Taken]) -> None:
        """Return when all that ``messages`` say of commands is in the log. Raises what ``EventLog.append`` raises."""
        if reports := [taken for taken in messages if taken.has_report]:
            async with self._one_at_a_time:
                await self._append(taken for taken in reports if id(taken) not in self._appended)

    def forget_appended(self) -> None:
        """The log may have lost its end, or be another one: what was appended may not be in it, and waits again."""
        self._waiting = {**self._appended, **self._waiting}
        self._appended = {}
        self._forgotten += 1

    def forget(self, messages: Iterable[Taken]) -> None:
        """These messages are pending no more."""
        for taken in messages:
            self._waiting.pop(id(taken), None)
            self._appended.pop(id(taken), None)

    async def _append(self, messages: Iterable[Taken]) -> None:
        """Append ``messages``; when that fails, they wait on in their places, and come before what has come since."""
        if chosen := list(messages):
            before = self._forgotten
            await self._log.append(REPORTS, [taken.record for taken in chosen])
            if before != self._forgotten:
                return  # it may be in the log that was before
            for taken in chosen:
                self._waiting.pop(id(taken), None)
            self._appended |= {id(taken): taken for taken in chosen}
