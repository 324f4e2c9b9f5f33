"""The role ``orders``: hears events, and looks at orders whose time has come. Processes share the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from cloud_ingest.event_log.consuming import Consumer
from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.observability.events import StoreReached, StoreWaiting
from cloud_ingest.observability.metrics import ORDERS_STUCK
from cloud_ingest.observability.obstacles import OBSTACLES
from cloud_ingest.orders.handling import Orders
from cloud_ingest.orders.listening import projections
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks

TIMER: Final = "orders timer"
LOOK_S: Final = 1.0
COUNT_EACH: Final = 15
"""Looks: so often it is counted how many orders are stuck."""
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0


class OrdersRole:
    """Orders in this process."""

    def __init__(self, orders: Orders, log: EventLog, topics: Mapping[str, TopicSpec]) -> None:
        self._orders = orders
        self._consumers = [Consumer(orders.database, log, one) for one in projections(orders, topics)]

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Work until cancelled; what is down is waited for."""
        async with Tasks() as tasks:
            for number, consumer in enumerate(self._consumers):
                tasks.create_task(consumer.run(), name=f"orders consumer {number}")
            tasks.create_task(self._look_forever(), name=TIMER)

    async def _look_forever(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        looked = 0
        while True:
            try:
                if looked % COUNT_EACH == 0:
                    for problem, orders in (await self._orders.stuck()).items():
                        ORDERS_STUCK.labels(problem).set(orders)
                looked += 1
                while await self._orders.look_at_due():
                    pass
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(TIMER, reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)
                continue
            back_off.reset()
            if OBSTACLES.reason(TIMER):
                emit(StoreReached(TIMER))
            await asyncio.sleep(LOOK_S)
