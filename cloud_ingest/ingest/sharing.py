"""Numbered batches, shared by all processes of the ingest: each takes its part of them from the broker.

The subscriptions are shared ones (MQTT 5, 4.8.2): the broker gives each message to one of those that have subscribed.
Order does not matter, as a batch says itself which one it is; nor does it matter when a process dies with what the
broker has given it: what is not acknowledged is sent again. So every process takes part, the host among them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.ingest.host_book import HostBook
from cloud_ingest.ingest.intake import Intake
from cloud_ingest.ingest.pending import take_message
from cloud_ingest.ingest.plain_nodes import PlainNodes
from cloud_ingest.observability.events import StoreWaiting
from cloud_ingest.observability.ingest_events import SharingLost, SharingOffline, SharingOnline
from cloud_ingest.observability.obstacles import INGEST_SHARING
from cloud_ingest.observability.steadiness import lasting
from connectors.model.back_off import BackOff
from connectors.model.error_groups import first_of
from connectors.model.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    EventLogUnavailable,
    PayloadInvalid,
    StatementRefused,
)
from connectors.observability.events import emit
from connectors.ports.broker import BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.sparkplug.topics import NAMESPACE, Verb, parse_topic
from connectors.stopping import Tasks

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
FOLLOW_S: Final = 2.0


def shared_filters(host: str) -> list[tuple[str, int]]:
    """The subscriptions that all processes of ``host`` share."""
    return [
        (f"$share/{host}/{NAMESPACE}/+/{Verb.NDATA.value}/+", 0),
        (f"$share/{host}/{NAMESPACE}/+/{Verb.DDATA.value}/+/+", 0),
    ]


_AWAY: Final = (BrokerUnavailable, DatabaseUnavailable, EventLogUnavailable, StatementRefused)


class Sharing:
    """This process's part of the numbered batches."""

    def __init__(
        self,
        host: str,
        brokers: tuple[str, ...],
        broker: BrokerSession,
        intake: Intake,
        nodes: PlainNodes,
        book: HostBook,
        clock: Clock,
    ) -> None:
        self._host = host
        self._brokers = brokers
        self._broker = broker
        self._intake = intake
        self._nodes = nodes
        self._book = book
        self._clock = clock
        self.broker_url = ""

    async def run(self) -> None:
        """Take part until cancelled: on the broker where the host is, if there is one."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        number = 0
        while True:
            url = await self._where_the_host_is() or self._brokers[number % len(self._brokers)]
            try:
                await self._on(url, back_off)
            except BrokerUnavailable as exc:
                number += 1
                wait_s = back_off.next_s()
                emit(SharingLost(url, str(exc), round(wait_s, 1)))
            except (DatabaseUnavailable, EventLogUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(INGEST_SHARING, reason_of(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)

    async def _on(self, url: str, back_off: BackOff) -> None:
        await self._intake.prepare()
        await self._broker.connect(url, None, self._received)
        try:
            await self._broker.subscribe(shared_filters(self._host))
            self.broker_url = url
            emit(SharingOnline(url))
            with lasting(back_off):
                await self._take_part(url)
        finally:
            if self.broker_url:
                emit(SharingOffline(url))
            self.broker_url = ""
            await self._broker.disconnect()

    async def _take_part(self, url: str) -> None:
        async with first_of(*_AWAY), Tasks() as tasks:
            tasks.create_task(self._broker.closed(), name="ingest sharing connection")
            tasks.create_task(self._intake.acknowledge_forever(self._broker), name="ingest sharing acknowledge")
            tasks.create_task(self._follow_host(url), name="ingest sharing follows the host")

    async def _follow_host(self, url: str) -> None:
        """Where agents have several brokers, they are on that of the host."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            there = await self._where_the_host_is()
            if there and there != url:
                raise BrokerUnavailable(f"the host has gone to the broker {there}: this process follows")

    async def _where_the_host_is(self) -> str:
        """The host's broker; empty when nobody knows."""
        with contextlib.suppress(DatabaseUnavailable, StatementRefused):
            there = await self._book.broker()
            return there if there in self._brokers else ""
        return ""

    def _received(self, message: Message) -> None:
        taken = take_message(message.topic, message.payload, self._clock.now_ns() // 1_000_000)
        if taken is None:
            return
        if taken.agent is not None:
            self._nodes.acknowledges(taken.agent)
        else:
            with contextlib.suppress(PayloadInvalid):
                name = parse_topic(message.topic).agent
                if not self._nodes.is_acknowledging(name):
                    self._nodes.heard(name)
                    return  # the host takes it, in its order
        self._intake.take(taken)
