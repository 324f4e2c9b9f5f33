"""Tells the cloud: every step of the journal, and hellos, as records in the outbox that are committed at once.

A step stays untold in the journal until the outbox has its report, also over a crash; one that is told twice has the
same identity (id, journal, step). That it was told is noted a moment later, and of several at once: the disk has more
urgent things to take while a command is done.

While what is told cannot be signed (``NotSigned``), nothing is: it waits until somebody calls ``wake``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from connectors.commands.reports import CommandReport
from connectors.model.errors import OutboxUnavailable
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_rows import Untold
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.own_key import NotSigned

TOLD_AT_ONCE: Final = 200
TOLD_MAX: Final = 200
"""So many may be told and not noted."""
NOTE_S: Final = 1.0
GATHER_S: Final = 0.02
"""A write takes less than this: that a command was received then leaves together with what came of it."""
UNJOURNALLED_MAX: Final = 1000
RETRY_S: Final = 1.0


class Records(Protocol):
    """The outbox, for records that do not wait for the next commit."""

    async def tell(self, records: Sequence[bytes]) -> None:
        """Commit these records now, in this order. Raises ``OutboxUnavailable``: then none is in it."""
        ...


class Telling:
    """See the module."""

    def __init__(
        self,
        journal: JournalAccess,
        records: Records,
        sealed: Callable[[CommandReport], bytes] = CommandReport.to_json,
    ) -> None:
        """``sealed`` makes of a report what the outbox takes: signed, where the agent has a key; or ``NotSigned``."""
        self._journal = journal
        self._sealed = sealed
        self._records = records
        self._something = asyncio.Event()
        self._at_once = asyncio.Event()
        self._told: list[int] = []  # in the outbox, and not yet noted in the journal; TOLD_MAX and one page at most
        self._note_by_s: float | None = None
        self._unjournalled: deque[CommandReport] = deque(maxlen=UNJOURNALLED_MAX)
        self._keys_had = 0
        """What was on its way when this changed may be signed with the key of before: it stays untold."""

    def wake(self) -> None:
        """There is something in the journal that the cloud is to hear of now."""
        self._at_once.set()
        self._something.set()

    def wake_soon(self) -> None:
        """There is something in the journal that can wait ``GATHER_S`` for what follows it, to be told with it."""
        self._something.set()

    def tell_unjournalled(self, report: CommandReport) -> None:
        """Tell of a command that the journal could not take; of too many, the oldest is never told."""
        self._unjournalled.append(report)
        self.wake()

    async def tell_again(self, number: int) -> None:
        """The cloud has not heard of the newest step of a command: tell it once more. Raises ``JournalUnavailable``."""
        await self._note_told()
        await self._journal.call(lambda journal: journal.tell_again(number))
        self.wake()

    async def signed_with(self, key_id: str) -> None:
        """The agent has this key: what was told without it is told once more. Raises ``JournalUnavailable``.

        Empty: it has none, so that the next one is another one, also when it is the one of before.
        """
        self._keys_had += 1
        await self._note_told()
        if await self._journal.call(lambda journal: journal.signed_with(key_id)):
            self._told.clear()
            self.wake()

    async def run(self) -> None:
        """Tell until cancelled; first what an earlier start did not come to."""
        self.wake()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._note_by_s):
                    await self._something.wait()
                    async with asyncio.timeout(GATHER_S):
                        await self._at_once.wait()
            has_news = self._something.is_set()
            self._something.clear()
            self._at_once.clear()
            try:
                if has_news:
                    await self._tell_all()
                if self._note_by_s is not None and self._note_by_s <= asyncio.get_running_loop().time():
                    await self._note_told()
            except NotSigned:
                continue
            except (JournalUnavailable, OutboxUnavailable):
                self.wake()
                await asyncio.sleep(RETRY_S)

    async def _tell_all(self) -> None:
        while self._unjournalled:
            waiting, key = list(self._unjournalled), self._keys_had
            self._unjournalled.clear()
            try:
                await self._records.tell(await self._all_sealed(waiting))
            except (NotSigned, OutboxUnavailable):
                self._unjournalled.extendleft(reversed(waiting))
                raise
            if key != self._keys_had:
                self._unjournalled.extendleft(reversed(waiting))
        while True:
            if len(self._told) >= TOLD_MAX:
                await self._note_told()
            if not (untold := await self._untold()):
                return
            key = self._keys_had
            await self._records.tell(await self._all_sealed([each.report for each in untold]))
            if key != self._keys_had:
                continue
            self._told += [each.row for each in untold]
            if self._note_by_s is None:
                self._note_by_s = asyncio.get_running_loop().time() + NOTE_S

    async def _untold(self) -> list[Untold]:
        """The next steps that the outbox does not have."""
        told = frozenset(self._told)
        found = await self._journal.call(lambda journal: journal.untold(TOLD_AT_ONCE + len(told)))
        return [each for each in found if each.row not in told][:TOLD_AT_ONCE]

    async def _all_sealed(self, reports: Sequence[CommandReport]) -> list[bytes]:
        found: list[bytes] = []
        for at, report in enumerate(reports):
            found.append(self._sealed(report))
            if at % 16 == 15:
                await asyncio.sleep(0)  # signatures take their time, and polls go on
        return found

    async def _note_told(self) -> None:
        """Note in the journal what the outbox has."""
        if rows := list(self._told):
            await self._journal.call(lambda journal: journal.told(rows))
            noted = frozenset(rows)
            self._told = [row for row in self._told if row not in noted]  # others may have been told meanwhile
        self._note_by_s = asyncio.get_running_loop().time() + NOTE_S if self._told else None
