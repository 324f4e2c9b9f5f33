"""Tells the cloud: every step of the journal, and hellos, as records in the outbox that are committed at once.

A step stays untold in the journal until the outbox has its report, also over a crash; one that is told twice has the
same identity (id, journal, step).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from connectors.commands.reports import CommandReport
from connectors.model.errors import OutboxUnavailable
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_thread import JournalAccess

TOLD_AT_ONCE: Final = 200
UNJOURNALLED_MAX: Final = 1000
RETRY_S: Final = 1.0


class Records(Protocol):
    """The outbox, for records that do not wait for the next commit."""

    async def tell(self, records: Sequence[bytes]) -> None:
        """Commit these records now, in this order. Raises ``OutboxUnavailable``: then none is in it."""
        ...


class Telling:
    """See the module."""

    def __init__(self, journal: JournalAccess, records: Records) -> None:
        self._journal = journal
        self._records = records
        self._something = asyncio.Event()
        self._told: list[int] = []  # in the outbox, and not yet noted in the journal
        self._unjournalled: deque[CommandReport] = deque(maxlen=UNJOURNALLED_MAX)

    def wake(self) -> None:
        """There is something new in the journal."""
        self._something.set()

    def tell_unjournalled(self, report: CommandReport) -> None:
        """Tell of a command that the journal could not take; of too many, the oldest is never told."""
        self._unjournalled.append(report)
        self._something.set()

    async def run(self) -> None:
        """Tell until cancelled; first what an earlier start did not come to."""
        self._something.set()
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                await self._tell_all()
            except (JournalUnavailable, OutboxUnavailable):
                self._something.set()
                await asyncio.sleep(RETRY_S)

    async def _tell_all(self) -> None:
        while self._unjournalled:
            waiting = list(self._unjournalled)
            self._unjournalled.clear()
            try:
                await self._records.tell([report.to_json() for report in waiting])
            except OutboxUnavailable:
                self._unjournalled.extendleft(reversed(waiting))
                raise
        await self._note_told()
        while untold := await self._journal.call(lambda journal: journal.untold(TOLD_AT_ONCE)):
            await self._records.tell([each.report.to_json() for each in untold])
            self._told = [each.row for each in untold]
            await self._note_told()

    async def _note_told(self) -> None:
        """Note in the journal what the outbox has; until it takes that, nothing further is told."""
        if rows := self._told:
            await self._journal.call(lambda journal: journal.told(rows))
            self._told = []
