"""The role ``integrations``: reads what orders ask for, and makes the calls that are due, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from cloud_ingest.event_log.patience import patiently
from cloud_ingest.integrations.calls import CHANNEL, CallKind
from cloud_ingest.integrations.circuits import Line, read_circuit
from cloud_ingest.integrations.customers import start_looking
from cloud_ingest.integrations.making import CallMaker
from cloud_ingest.integrations.rules import Patience
from cloud_ingest.observability.events import StoreReached
from cloud_ingest.observability.integration_events import CircuitClosed
from cloud_ingest.observability.obstacles import INTEGRATIONS, OBSTACLES, vendor_part
from connectors.model.back_off import BackOff
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.crm import Crm
from connectors.ports.database import Database
from connectors.stopping import Tasks

LOOK_S: Final = 1.0
WATCH_S: Final = 5.0
PRUNE_S: Final = 3600.0
KEPT_DAYS: Final = 90
"""So long a call that is over, and a webhook, can be looked at."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


class Integrations:
    """Makes calls in this process, ``at_once_max`` at a time; other processes make others."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        kinds: Mapping[tuple[str, str], CallKind],
        patience: Patience,
        at_once_max: int,
        crms: Mapping[str, Crm] | None = None,
        own: Mapping[str, Mapping[tuple[str, str], CallKind]] | None = None,
    ) -> None:
        """``crms`` by their accounts; ``own``: see ``CallMaker``."""
        self._database = database
        self._clock = clock
        self._unwatched = dict(crms or {})
        self._maker = CallMaker(database, clock, kinds, patience, own=own)
        by_account = {"": kinds, **(own or {})}
        self._lines: Collection[Line] = sorted(
            {Line(port, account) for account, mine in by_account.items() for port, _ in mine}, key=str
        )
        self._at_once_max = at_once_max
        self._due = asyncio.Event()

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Make calls until cancelled; a database that is away is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(INTEGRATIONS, back_off, partial(self._work, back_off))

    async def _work(self, back_off: BackOff) -> None:
        await self._start_looking()
        async with Tasks() as tasks:
            tasks.create_task(self._hear_forever(back_off), name="integrations hear")
            tasks.create_task(self._watch_forever(), name="integrations watch")
            tasks.create_task(self._prune_forever(), name="integrations prune")
            for number in range(self._at_once_max):
                tasks.create_task(self._make_forever(), name=f"integrations calls {number}")

    async def _start_looking(self) -> None:
        """Have changes be asked for in each CRM whose tenant is there."""
        for account, crm in list(self._unwatched.items()):
            async with self._database.transaction() as session:
                if await start_looking(session, self._clock, crm, account):
                    del self._unwatched[account]

    async def _hear_forever(self, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            back_off.reset()
            if OBSTACLES.reason(INTEGRATIONS):
                emit(StoreReached(INTEGRATIONS))
            while True:
                self._due.set()
                await woken.wait(LOOK_S)

    async def _make_forever(self) -> None:
        while True:
            self._due.clear()
            while await self._maker.make_one():
                pass
            await self._due.wait()

    async def _watch_forever(self) -> None:
        """A vendor that another process has found to be back is no obstacle of this one any more."""
        while True:
            await self._start_looking()
            for line in self._lines:
                if OBSTACLES.reason(vendor_part(str(line))):
                    async with self._database.session() as session:
                        circuit = await read_circuit(session, line)
                    if not circuit.openings:
                        emit(CircuitClosed(str(line)))
            await asyncio.sleep(WATCH_S)

    async def _prune_forever(self) -> None:
        while True:
            async with self._database.session() as session:
                await session.execute(
                    "DELETE FROM integration_call WHERE state IN ('done', 'refused', 'dropped') "
                    "AND changed < now() - make_interval(days => $1)",
                    KEPT_DAYS,
                )
                await session.execute(
                    "DELETE FROM vendor_webhook WHERE received < now() - make_interval(days => $1)", KEPT_DAYS
                )
            await asyncio.sleep(PRUNE_S)
