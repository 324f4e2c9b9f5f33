"""What the catalog does by itself: its collections are ready, and log lines do not grow beyond their bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.observability.events import StoreReached, StoreWaiting
from cloud_ingest.observability.obstacles import OBSTACLES
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.documents import CappedCollection, Collection, DocumentStore

PART: Final = "catalog"
TRIM_S: Final = 60.0
RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0


class CatalogRole:
    """The role ``catalog``. Several processes may have it: each does the same, and nothing twice."""

    def __init__(
        self, documents: DocumentStore, collections: Sequence[Collection], logs: CappedCollection, clock: Clock
    ) -> None:
        self._documents = documents
        self._collections = collections
        self._logs = logs
        self._clock = clock

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of it: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Until cancelled; a store that is away is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        is_prepared = False
        while True:
            wait_s = TRIM_S
            try:
                if not is_prepared:
                    await self._documents.prepare([*self._collections, self._logs])
                    is_prepared = True
                await self._documents.trim(self._logs, self._clock.now_ns())
                back_off.reset()
                if OBSTACLES.reason(PART):
                    emit(StoreReached(PART))
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(PART, reason_of(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)
