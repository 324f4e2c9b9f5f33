"""Work that never ends: what it needs and is away is waited for, and what one process at a time does is done by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.observability.events import StoreWaiting
from connectors.model.back_off import BackOff
from connectors.model.error_groups import first_of
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.database import Database
from connectors.stopping import Tasks

AWAY: Final = (DatabaseUnavailable, EventLogUnavailable, StatementRefused)
STAND_BY_S: Final = 2.0

Work = Callable[[], Coroutine[Any, Any, None]]


async def patiently(part: str, back_off: BackOff, work: Work) -> NoReturn:
    """Do ``work`` until cancelled: again whenever it has failed because of what is ``AWAY``, after a wait that is said.

    ``work`` resets ``back_off`` when it goes well. Any other error is raised as it is.
    """
    while True:
        try:
            async with first_of(*AWAY):
                await work()
        except AWAY as exc:
            wait_s = back_off.next_s()
            emit(StoreWaiting(part, reason_of(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)


async def alone(
    database: Database, lock: str, what: str, work: Work, standing_by: Callable[[], None] = lambda: None
) -> NoReturn:
    """Do ``work`` for as long as this process has ``lock``, and stand by while another one does, until cancelled.

    Everything of ``work`` has ended before the lock is given back. Raises ``DatabaseUnavailable`` when it is lost
    (``what`` names it for people), and whatever ``work`` raises.
    """
    while True:
        async with database.held_lock(lock) as held:
            if held.held:
                async with first_of(*AWAY), Tasks() as tasks:
                    tasks.create_task(work(), name=what)
                    await held.lost()
                    raise DatabaseUnavailable(f"the lock of {what} in the database was lost")
        standing_by()
        await asyncio.sleep(STAND_BY_S)
