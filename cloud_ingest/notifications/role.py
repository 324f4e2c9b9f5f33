"""Notifications run beside integrations: they send what is due, to people and to other systems."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final

from cloud_ingest.event_log.patience import patiently
from cloud_ingest.integrations.published import Line, is_well
from cloud_ingest.notifications.mail_sending import MailSender
from cloud_ingest.notifications.sending import Deliverer, Sender
from cloud_ingest.notifications.taking import CHANNEL
from cloud_ingest.observability.events import StoreReached
from cloud_ingest.observability.integration_events import CircuitClosed
from cloud_ingest.observability.obstacles import NOTIFICATIONS, OBSTACLES, vendor_part
from connectors.model.back_off import BackOff
from connectors.observability.events import emit
from connectors.ports.database import Database
from connectors.stopping import Tasks

LOOK_S: Final = 1.0
POSTS_AT_ONCE: Final = 4
WATCH_S: Final = 5.0
PRUNE_S: Final = 3600.0
KEPT_DAYS: Final = 30
"""So long what was sent can be looked at, and what an endpoint does not take is kept for it."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


class Notifications:
    """Sends what is due in this process; other processes send other messages."""

    def __init__(
        self, database: Database, sender: Sender, mails: MailSender, deliverer: Deliverer, ways: Collection[Line] = ()
    ) -> None:
        """``ways``: the channels to people that the settings have, of all and of tenants."""
        self._database = database
        self._sender = sender
        self._mails = mails
        self._deliverer = deliverer
        self._ways = sorted(ways, key=str)
        self._due = asyncio.Event()

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Send until cancelled; a database that is away is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        await patiently(NOTIFICATIONS, back_off, partial(self._work, back_off))

    async def _work(self, back_off: BackOff) -> None:
        async with Tasks() as tasks:
            tasks.create_task(self._hear_forever(back_off), name="notifications hear")
            tasks.create_task(self._prune_forever(), name="notifications prune")
            tasks.create_task(self._watch_forever(), name="notifications watch")
            tasks.create_task(self._each_forever(self._sender.send_one), name="notifications send")
            tasks.create_task(self._each_forever(self._mails.send_one), name="notifications mail")
            for number in range(POSTS_AT_ONCE):
                work = self._each_forever(self._deliverer.deliver_one)
                tasks.create_task(work, name=f"notifications post {number}")

    async def _hear_forever(self, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            back_off.reset()
            if OBSTACLES.reason(NOTIFICATIONS):
                emit(StoreReached(NOTIFICATIONS))
            while True:
                self._due.set()
                await woken.wait(LOOK_S)

    async def _each_forever(self, one: Callable[[], Awaitable[bool]]) -> None:
        while True:
            self._due.clear()
            while await one():
                pass
            await self._due.wait()

    async def _watch_forever(self) -> None:
        """A channel that another process has found to be back is no obstacle of this one any more."""
        while True:
            for way in self._ways:
                if OBSTACLES.reason(vendor_part(str(way))):
                    async with self._database.session() as session:
                        well = await is_well(session, way)
                    if well:
                        emit(CircuitClosed(str(way)))
            await asyncio.sleep(WATCH_S)

    async def _prune_forever(self) -> None:
        while True:
            async with self._database.session() as session:
                for table in ("notification", "mail", "webhook_delivery"):
                    await session.execute(
                        f"DELETE FROM {table} WHERE changed < now() - make_interval(days => $1)",  # noqa: S608
                        KEPT_DAYS,
                    )
                await session.execute("DELETE FROM webhook_old_secret WHERE until < now()")
            await asyncio.sleep(PRUNE_S)
