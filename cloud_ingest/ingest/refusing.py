"""What the log will never take: it is set aside with the reason, and its agent is told.

Telling needs the database first, or the message would be nowhere. While the database is away, the next messages go on
into the log: what was refused is noted here, up to a bound, and its agent hears nothing yet. Beyond the bound a batch
is left to its agent, which sends it again; any other message is dropped and counted.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.storing import store_dead_letters
from cloud_ingest.historian.work import DeadLetter, Work
from cloud_ingest.ingest.acknowledging import Acknowledging
from cloud_ingest.ingest.pending import Taken, batch_of
from cloud_ingest.observability.events import StoreReached, StoreWaiting
from cloud_ingest.observability.ingest_events import MessageRefused
from cloud_ingest.observability.metrics import MESSAGES_DROPPED
from cloud_ingest.observability.obstacles import INGEST_REFUSED, OBSTACLES
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.database import Database

NOTED_MAX: Final = 100
NOTED_BYTES_MAX: Final = 64 * 1024 * 1024
"""A message that is too large for the log is as large as the broker allows."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


class Refusing:
    """Messages that the log has refused; ``acknowledging`` is told of batches among them that are set aside."""

    def __init__(self, database: Database, acknowledging: Acknowledging) -> None:
        self._database = database
        self._acknowledging = acknowledging
        self._identities = Identities(database)
        self._noted: list[tuple[Taken, str]] = []
        self._waits = asyncio.Event()

    async def refuse(self, taken: Taken, reason: str) -> None:
        """Set ``taken`` aside, now or when the database is there."""
        key = batch_of(taken)
        if key is not None and any(batch_of(noted) == key for noted, _ in self._noted):
            return  # its agent has sent it again
        emit(MessageRefused(taken.topic[:200], len(taken.record.value), reason))
        if not self._noted:
            try:
                await self._set_aside(taken, reason)
                return
            except (DatabaseUnavailable, StatementRefused) as exc:
                emit(StoreWaiting(INGEST_REFUSED, reason_of(exc), RETRY_FIRST_S))
        size_bytes = sum(len(noted.record.value) for noted, _ in self._noted) + len(taken.record.value)
        if len(self._noted) < NOTED_MAX and size_bytes <= NOTED_BYTES_MAX:
            self._noted.append((taken, reason))
            self._waits.set()
        else:
            MESSAGES_DROPPED.inc()

    async def set_aside_forever(self) -> None:
        """Set aside what was noted, in its order, until cancelled."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            await self._waits.wait()
            try:
                while self._noted:
                    await self._set_aside(*self._noted[0])
                    del self._noted[0]
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(INGEST_REFUSED, reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)
                continue
            self._waits.clear()
            back_off.reset()
            if OBSTACLES.reason(INGEST_REFUSED):
                emit(StoreReached(INGEST_REFUSED))

    async def _set_aside(self, taken: Taken, reason: str) -> None:
        """Raises ``DatabaseUnavailable`` and ``StatementRefused``."""
        letter = DeadLetter(taken.topic, taken.record.value, reason, taken.record.time_ms)
        key = batch_of(taken)
        if key is not None:
            agent = await self._identities.agent(key.agent)
            brings = "" if taken.delivery is None else taken.delivery.defines
            letter = replace(letter, agent=agent, epoch=key.epoch, batch=key.batch, definition=brings)
        async with self._database.transaction() as session:
            await store_dead_letters(session, Work(next_offset=0, dead_letters=[letter]))
        if key is not None:
            self._acknowledging.refused(key, reason)
