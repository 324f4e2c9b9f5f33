"""People at the API: they ask for commands until they are taken, approve them, and take some back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import keys
from cloud_ingest.commands.audit import TENANT
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.requests import Requests
from connectors.commands.envelope import WriteTag
from connectors.model.errors import DatabaseUnavailable
from connectors.ports.clock import Clock
from tests.simulation.commanded import KEY, SETPOINT, Order
from tests.simulation.database import DatabaseServer, SimulatedDatabase
from tests.simulation.process import Process

LOOK_S: Final = 0.3


class Gateway:
    """One life of the program that people ask."""

    def __init__(self, server: DatabaseServer, process: Process, clock: Clock, orders: Sequence[Order]) -> None:
        self._database = SimulatedDatabase(server, process)
        self._clock = clock
        self._orders = orders
        self._requests = Requests(self._database, clock)

    async def run(self) -> None:
        """Serve whoever asks."""
        while True:
            try:
                if not await keys.holding(self._database):
                    await keys._enter(self._database, self._clock, Path("signing.jwk"), KEY, "root", None)
                for order in self._orders:
                    await self._look(order)
            except DatabaseUnavailable:
                pass  # whoever asked asks again
            await asyncio.sleep(LOOK_S)

    async def _look(self, order: Order) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= order.at_s and not order.taken:
            await self._ask(order)
        if not order.taken:
            return
        (command,) = order.taken
        if order.approved_s is not None and now_s >= order.approved_s and not order.is_approved:
            order.is_approved = await self._is_done(self._requests.approve(command, tenant_id=TENANT, approver="berta"))
        if order.cancelled_s is not None and now_s >= order.cancelled_s and not order.is_cancelled:
            asked = self._requests.cancel(command, tenant_id=TENANT, actor="anna", reason="not now")
            order.is_cancelled = await self._is_done(asked)

    async def _ask(self, order: Order) -> None:
        action = WriteTag(device=f"{order.agent}-press", tag=SETPOINT, value=order.value)
        request = CommandRequest(
            agent=f"plant/{order.agent}", action=action, reason="new recipe", expires_s=order.lasts_s,
            approval=order.approved_s is not None,
        )  # fmt: skip
        try:
            taken = await self._requests.take(request, tenant_id=TENANT, issuer="anna", key=order.key)
            order.taken.add(taken.command)
        except RequestRefused:
            return  # the agent, or its press, is not known yet

    async def _is_done(self, asked: Awaitable[object]) -> bool:
        """It need not be asked once more, for a no is an answer."""
        with suppress(RequestRefused):
            await asked
        return True
