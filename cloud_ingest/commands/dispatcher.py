"""Sends to the agents what is due, on an MQTT connection of its own. One process at a time does (``role``).

Delivery: a command is written down as sent before it is published, and published again until its agent has reported it
or its time is up. So the broker may lose a message, and a crash at any point loses none; the agent knows one that comes
twice by its id. Nothing is kept here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_ingest.commands.approving import due_approvals
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.book import DUE
from cloud_ingest.commands.keys import KeyUnusable, usable_key
from cloud_ingest.commands.outgoing import AT_ONCE_MAX, Outgoing, due_cancellations, due_commands, due_times, look
from cloud_ingest.observability.command_events import (
    CommandMessagesSent,
    CommandsLost,
    CommandsOffline,
    CommandsOnline,
    SigningKeyLoaded,
    SigningKeyUnusable,
)
from cloud_ingest.observability.steadiness import lasting
from connectors.commands.signing import SigningKey
from connectors.model.back_off import BackOff
from connectors.model.error_groups import first_of
from connectors.model.errors import BrokerUnavailable, DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.broker import BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.stopping import Tasks

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
LOOK_S: Final = 1.0
"""How often it looks without having been woken: agents come back, and messages are due again."""
KEY_S: Final = 10.0
FOLLOW_S: Final = 2.0
UNSENT_BYTES_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DispatcherOptions:
    """``host``: the Sparkplug host whose broker is the one to be on, as agents are there."""

    brokers: tuple[str, ...]
    host: str
    signing_key: Path


class Dispatcher:
    """What is due goes out as long as ``run`` does."""

    def __init__(self, database: Database, broker: BrokerSession, clock: Clock, options: DispatcherOptions) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._options = options
        self._chance = Chance()
        self.broker_url = ""

    async def run(self) -> None:
        """Send until cancelled. Raises ``DatabaseUnavailable`` and ``StatementRefused``; a broker is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        number = 0
        while True:
            key = await self._key()
            url = await self._where_the_host_is() or self._options.brokers[number % len(self._options.brokers)]
            try:
                await self._on(url, key, back_off)
            except BrokerUnavailable as exc:
                number += 1
                wait_s = back_off.next_s()
                emit(CommandsLost(url, str(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _key(self) -> SigningKey:
        """The key to sign with, as soon as there is one that holds."""
        reason = ""
        while True:
            try:
                key = await usable_key(self._database, self._options.signing_key)
            except KeyUnusable as exc:
                if str(exc) != reason:
                    reason = str(exc)
                    emit(SigningKeyUnusable(reason))
                await asyncio.sleep(KEY_S)
            else:
                emit(SigningKeyLoaded(key.key_id))
                return key

    async def _on(self, url: str, key: SigningKey, back_off: BackOff) -> None:
        await self._broker.connect(url, None, _ignore)
        self.broker_url = url
        emit(CommandsOnline(url, key.key_id))
        try:
            with lasting(back_off):
                await self._use(url, key)
        finally:
            self.broker_url = ""
            emit(CommandsOffline(url))
            await self._broker.disconnect()

    async def _use(self, url: str, key: SigningKey) -> None:
        async with first_of(BrokerUnavailable, DatabaseUnavailable, StatementRefused), Tasks() as tasks:
            tasks.create_task(self._broker.closed(), name="commands connection")
            tasks.create_task(self._follow(url, key), name="commands follow the host and the key")
            tasks.create_task(self._send_forever(key), name="commands send")

    async def _send_forever(self, key: SigningKey) -> None:
        async with self._database.notified(DUE) as woken:
            while True:
                while await self._send(key):
                    pass
                await woken.wait(LOOK_S)

    async def _send(self, key: SigningKey) -> bool:
        """Send what is due; whether there may be more than could be looked at in one go. The time comes first."""
        now_ms = self._clock.now_ns() // 1_000_000
        due = await look(self._database, now_ms)
        sent = Outgoing([])
        if due.times:
            await self._publish(await due_times(self._database, key, self._clock.now_ns() // 1_000_000), sent)
        if due.cancellations:
            await self._publish(await due_cancellations(self._database, key, now_ms), sent)
        if due.approvals:
            await self._publish(await due_approvals(self._database, key, now_ms), sent)
        if due.first or due.again:
            await self._publish(await due_commands(self._database, key, now_ms, due, self._chance), sent)
        if not (sent.commands or sent.again or sent.cancellations or sent.times or sent.approvals):
            return False
        emit(CommandMessagesSent(sent.commands, sent.again, sent.cancellations, sent.times, sent.keys, sent.approvals))
        most = max(len(due.first) + len(due.again), sent.times, sent.cancellations, sent.approvals)
        return most >= AT_ONCE_MAX

    async def _publish(self, found: Outgoing, sent: Outgoing) -> None:
        """Publish what was ``found``, and count it in ``sent``."""
        for message in found.messages:
            self._broker.publish(message)
        sent.commands += found.commands
        sent.again += found.again
        sent.cancellations += found.cancellations
        sent.times += found.times
        sent.keys += found.keys
        sent.approvals += found.approvals
        await self._broker.drained(UNSENT_BYTES_MAX)

    async def _follow(self, url: str, key: SigningKey) -> None:
        """Where agents have several brokers, they are on that of the host; and the key may be changed meanwhile."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            there = await self._where_the_host_is()
            if there and there != url:
                raise BrokerUnavailable(f"the host has gone to the broker {there}: commands follow")
            try:
                if (await usable_key(self._database, self._options.signing_key)).key_id != key.key_id:
                    raise BrokerUnavailable("another signing key is to be used")
            except KeyUnusable as exc:
                raise BrokerUnavailable(str(exc)) from exc

    async def _where_the_host_is(self) -> str:
        """The host's broker; empty when nobody knows."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT broker FROM host WHERE name = $1 AND online AND alive > now() - interval '15 seconds'",
                self._options.host,
            )
        there = str(rows[0]["broker"]) if rows else ""
        return there if there in self._options.brokers else ""


def _ignore(_message: Message) -> None:
    """Nothing is subscribed to."""
