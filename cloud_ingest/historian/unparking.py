"""Batches that were parked are stored when their definition has come: a bounded part of them in each transaction.

A transaction takes the batches from the table by their numbers: one that somebody else has taken makes it fail as a
whole, and one that was parked in the meantime stays for the next. So each is stored once, and a crash in between leaves
the rest parked; whoever reads the definition again goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloud_ingest.event_log.failures import OTHER_TABLES, Cause, cause_of, outside, sentence_of
from cloud_ingest.historian.interpreter import Interpreter
from cloud_ingest.historian.ledger_book import LedgerBook
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.samples_topic import SamplesTopic
from cloud_ingest.historian.storing import copies_of, read_parked, write
from cloud_ingest.historian.work import KnownAgent, ParkedBatch, Work
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, OffsetMoved, StatementRefused
from connectors.ports.clock import Clock
from connectors.ports.database import Database

BATCHES_MAX: Final = 500
BYTES_MAX: Final = 8 * 1024 * 1024


class Unparking:
    """Stores parked batches, as ``interpreter`` reads them, in the ledger of ``book``.

    ``stored`` hears of each work and how long its transaction took.
    """

    def __init__(
        self,
        database: Database,
        partitions: Partitions,
        samples: SamplesTopic | None,
        interpreter: Interpreter,
        book: LedgerBook,
        stored: Callable[[Work, float], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._samples = samples
        self._interpreter = interpreter
        self._book = book
        self._stored = stored
        self._clock = clock

    async def unpark(self, definitions: Iterable[tuple[KnownAgent, str]]) -> bool:
        """Store what waits for ``definitions``, which have come; whether there was any.

        What cannot be read or stored is set aside, each batch alone. Raises ``OffsetMoved``, ``DatabaseUnavailable``
        and ``EventLogUnavailable``: what is not stored by then is still parked.
        """
        was_any = False
        for agent, definition in dict.fromkeys(definitions):
            if not await self._interpreter.knows(agent, definition):
                continue
            while parked := await read_parked(self._database, agent, definition, BATCHES_MAX, BYTES_MAX):
                was_any = True
                await self._take(parked)
        return was_any

    async def _take(self, parked: Sequence[ParkedBatch]) -> None:
        error = await self._failure_of(parked)
        if isinstance(error, StatementRefused) and error.sqlstate in OTHER_TABLES:
            await self._partitions.prepare()
            error = await self._failure_of(parked)
        if error is None:
            return
        if cause_of(error) is Cause.OUTSIDE:
            raise outside(error) if isinstance(error, StatementRefused) else error
        if len(parked) == 1:
            work = Work(0)
            await self._interpreter.set_parked_aside(work, parked[0], sentence_of(error))
            await self._commit(work)
            return
        middle = len(parked) // 2
        await self._take(parked[:middle])
        await self._take(parked[middle:])

    async def _failure_of(self, parked: Sequence[ParkedBatch]) -> Exception | None:
        """Store ``parked`` in one transaction; why that failed, if it was not the database or the log that is away."""
        try:
            work = Work(0)
            await self._interpreter.unpark(work, parked)
            await self._commit(work)
        except (DatabaseUnavailable, EventLogUnavailable, OffsetMoved):
            raise
        except Exception as exc:  # refused, or a defect of ours: the caller finds the batch that brings it out
            self._book.forget()
            return exc
        return None

    async def _commit(self, work: Work) -> None:
        await self._partitions.ensure(work.rows)
        if self._samples is not None and work.rows:
            await self._samples.publish(work)
        copies = copies_of(work, self._partitions)
        started_s = self._clock.monotonic_s()
        async with self._database.transaction() as session:
            await write(session, work, copies)
        self._book.committed(work)
        self._stored(work, self._clock.monotonic_s() - started_s)
