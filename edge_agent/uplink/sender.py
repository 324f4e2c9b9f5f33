"""Sends batches from the feed, keeps them in the window, and takes them out when they are acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName
from connectors.observability.events import emit
from connectors.ports.broker import BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import Acknowledgement
from connectors.sparkplug.edge_session import EdgeSession, Effect, Phase
from edge_agent.acquisition.collector import Collector
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.events import (
    AcknowledgementsMissing,
    BatchesAcknowledged,
    BatchesSent,
    BatchRefused,
)
from edge_agent.uplink.messages import newest_ns, record_message, samples_message
from edge_agent.uplink.options import Delivery, UplinkOptions, UplinkState
from edge_agent.uplink.window import Window

UNSENT_BYTES_MAX: Final = 1024 * 1024
TAKE_BATCHES_MAX: Final = 64

Values = Callable[[DeviceName], dict[int, CurrentValue]]


class Sender:
    """The delivery of the outbox over whatever connection there is; lives across connections."""

    def __init__(
        self,
        options: UplinkOptions,
        state: UplinkState,
        session: EdgeSession,
        broker: BrokerSession,
        *,
        writer: OutboxWriter,
        feed: Feed,
        collector: Collector,
        values: Values,
        clock: Clock,
        do: Callable[[Sequence[Effect]], None],
    ) -> None:
        self._delivery = options.delivery
        self._state = state
        self._session = session
        self._broker = broker
        self._writer = writer
        self._feed = feed
        self._collector = collector
        self._values = values
        self._clock = clock
        self._do = do
        self.window = Window(
            batches_max=options.window_batches_max,
            bytes_max=options.window_bytes_max,
            resend_after_s=options.resend_after_s,
        )
        self._known_definitions: set[DefinitionHash] = set()
        self._held: list[StoredBatch] = []  # taken from the feed and not sent yet: at most TAKE_BATCHES_MAX
        self._visiting: set[DeviceName] = set()
        self._published_ns: dict[DeviceName, int] = {}
        self._acked: dict[Epoch, BatchRanges] = {}

    async def prepare(self) -> None:
        """Learn from the outbox which definitions the cloud has."""
        self._known_definitions = await self._writer.call(lambda outbox: outbox.acknowledged_definitions())

    def device_online(self, definition: DeviceDefinition) -> None:
        """A device is really there: it is no longer born for its backlog alone."""
        self._visiting.discard(definition.device)
        self.note_birth(definition.device)

    def note_birth(self, device: DeviceName) -> None:
        """A birth publishes the newest values: older samples that follow it are history."""
        for value in self._values(device).values():
            self._published_ns[device] = max(value.time_ns, self._published_ns.get(device, value.time_ns))

    def acknowledged(self, acks: Sequence[Acknowledgement]) -> None:
        """The cloud has batches, or will never take some."""
        count = 0
        for ack in acks:
            for batch in self.window.acknowledge(ack.epoch, ack.batches, self._clock.monotonic_s()):
                count += 1
                if batch.kind is Kind.DEFINITION:
                    self._known_definitions.add(batch.definition)
            for first, last in ack.batches:
                self._collector.acknowledged(ack.epoch, first, last)
                self._acked.setdefault(ack.epoch, BatchRanges()).add(first, last)
            for number, reason in ack.refused:
                self.window.refuse(ack.epoch, number)
                self._refuse(ack.epoch, number, reason)
        self._state.acknowledged += count
        emit(BatchesAcknowledged(count))
        self._feed.changed.set()

    async def run(self) -> None:
        """Publish what is new and what is due again, for as long as the connection lasts.

        Raises ``BrokerUnavailable`` when it does not, ``OutboxUnavailable`` when the outbox cannot be read.
        """
        while True:
            self._feed.changed.clear()
            if self._session.phase is Phase.BORN:
                await self._send_due()
                await self._send_new()
                self._end_visits()
            due_s = self.window.next_due_s(self._clock.monotonic_s())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._feed.changed.wait()

    async def _send_due(self) -> None:
        now_s = self._clock.monotonic_s()
        waited_s = self.window.oldest_s(now_s)
        due = self.window.due(now_s)
        if due and self.window.is_silent:
            emit(AcknowledgementsMissing(len(self.window), round(waited_s, 1)))
        for batch in due:
            await self._publish(batch)
        if due:
            self._state.resent += len(due)
            emit(BatchesSent(len(due), len(due)))

    async def _send_new(self) -> None:
        while self.window.room_batches > 0 and self._session.phase is Phase.BORN:
            if not self._held:
                self._held = await self._take()
            sent = 0
            while self._held and self.window.room_batches > 0 and self._may_send(self._held[0]):
                await self._publish(self._held[0])
                self._held.pop(0)
                sent += 1
            if sent:
                self._state.sent += sent
                emit(BatchesSent(sent, 0))
            if self._held or not sent:
                return  # waiting for a definition, for room, or for something new

    async def _take(self) -> list[StoredBatch]:
        """The next batches that are not acknowledged; nothing when the feed is at its end."""
        while self._feed.has_more:
            count_max = min(self.window.room_batches, TAKE_BATCHES_MAX)
            rows = await self._feed.take(count_max, max(1, self.window.room_bytes))
            wanted = [row for row in rows if row.number not in self._acked.get(row.epoch, ())]
            if wanted:
                return wanted
        return []

    def _may_send(self, batch: StoredBatch) -> bool:
        """Samples wait until the cloud has their definition, so that it can always read what it has acknowledged."""
        if self._delivery is Delivery.SPARKPLUG or batch.kind is not Kind.SAMPLES:
            return True
        return batch.definition in self._known_definitions

    async def _publish(self, batch: StoredBatch) -> None:
        now_ms = self._clock.now_ns() // 1_000_000
        if batch.kind is not Kind.SAMPLES:
            publish = self._session.node_data(record_message(batch), now_ms)
        elif not batch.parts:
            self._refuse(batch.epoch, batch.number, f"the row is damaged: {batch.record.decode()}")
            return
        elif not await self._ensure_born(batch):
            self._refuse(batch.epoch, batch.number, f"its definition {batch.definition} is not in the outbox")
            return
        else:
            delivery, metrics = samples_message(batch, historical=self._is_history(batch))
            publish = self._session.device_data(batch.device, delivery, metrics, now_ms)
        self._broker.publish(Message(publish.topic, publish.payload, publish.qos))
        if self._delivery is Delivery.SPARKPLUG:
            await self._broker.drained(0)
            self._collector.acknowledged(batch.epoch, batch.number, batch.number)
            return
        self.window.sent(batch, self._clock.monotonic_s())
        if self._broker.unsent_bytes > UNSENT_BYTES_MAX:
            await self._broker.drained(UNSENT_BYTES_MAX)

    def _is_history(self, batch: StoredBatch) -> bool:
        """Whether something newer of the device was published before; notes what this batch publishes."""
        newest = newest_ns(batch)
        published = self._published_ns.get(batch.device)
        self._published_ns[batch.device] = newest if published is None else max(newest, published)
        return published is not None and newest <= published

    async def _ensure_born(self, batch: StoredBatch) -> bool:
        """Give birth to a device that is not there, so that its backlog can leave; false when it cannot be."""
        if self._session.is_born(batch.device):
            return True
        definition = await self._writer.definition(batch.definition)
        if definition is None:
            return False
        self._visiting.add(batch.device)
        self._do(self._session.device_online(definition, self._clock.now_ns() // 1_000_000))
        return True

    def _end_visits(self) -> None:
        """Devices that were born for their backlog alone die when it has been sent."""
        if not self._visiting or self._feed.has_more or self._held or len(self.window):
            return
        for device in self._visiting:
            self._do(self._session.device_offline(device, self._clock.now_ns() // 1_000_000))
        self._visiting.clear()

    def _refuse(self, epoch: Epoch, number: int, reason: str) -> None:
        self._collector.refused(epoch, number, reason)
        self._state.refused += 1
        emit(BatchRefused(number, reason))
