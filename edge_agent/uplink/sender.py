"""Sends batches from the feed, keeps them in the window, and takes them out when they are acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName
from connectors.observability.events import emit
from connectors.ports.broker import BrokerLimits, BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import Acknowledgement
from connectors.sparkplug.edge_session import EdgeSession, Effect, Phase
from edge_agent.acquisition.collector import Collector
from edge_agent.buffer.feed import OLD_AFTER_S, Feed
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.uplink_events import (
    AcknowledgementsMissing,
    BatchesAcknowledged,
    BatchesSent,
    BatchRefused,
)
from edge_agent.uplink.backlog import Backlog
from edge_agent.uplink.messages import TOPIC_BYTES_MAX, newest_ns, record_message, samples_message, too_large
from edge_agent.uplink.options import Delivery, UplinkOptions, UplinkState
from edge_agent.uplink.pace import Pace
from edge_agent.uplink.preview import PREVIEW_EVERY_S, Changed, Preview
from edge_agent.uplink.window import Window

UNSENT_BYTES_MAX: Final = 1024 * 1024
BACKLOG_UNSENT_BYTES_MAX: Final = 64 * 1024
"""What had to wait leaves only while no more than this waits for the socket, where nothing can overtake it."""
PREVIEW_UNSENT_BYTES_MAX: Final = 2 * BACKLOG_UNSENT_BYTES_MAX
SOCKET_LOOK_S: Final = 0.1
TAKE_BATCHES_MAX: Final = 64
VISIT_S: Final = 1.0
"""A device that is born for its backlog alone dies when nothing of it has been on its way for so long."""

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
        changed: Changed,
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
        self._backlog = Backlog(options.backlog_bytes_per_s_max)
        self._pace = Pace()
        self._preview = Preview(session, writer.epoch, changed, options.packet_bytes_max, self._note_published)
        self.broker_bytes_max = 0
        """The largest packet that the broker takes; 0: it has named no limit."""
        self._known_definitions: set[DefinitionHash] = set()
        self._told: set[DefinitionHash] = set()  # sent, and neither acknowledged nor refused yet
        self._refused_definitions: dict[DefinitionHash, str] = {}
        self._urgent: list[StoredBatch] = []  # taken from the feed and not sent yet:
        self._samples: list[StoredBatch] = []  # at most TAKE_BATCHES_MAX of both together
        self._visiting: dict[DeviceName, float] = {}  # when something of it was last sent
        self._published_ns: dict[DeviceName, int] = {}
        self._acked: dict[Epoch, BatchRanges] = {}

    def connected(self, limits: BrokerLimits) -> None:
        """A new connection is up: what was in flight is due again, and no packet is larger than this broker takes."""
        self._pace.connected()
        self.broker_bytes_max = limits.packet_bytes_max
        self._collector.limit_payload(max(0, limits.packet_bytes_max - TOPIC_BYTES_MAX))
        self.window.reconnected()

    async def prepare(self) -> None:
        """Learn from the outbox which definitions the cloud has."""
        self._known_definitions |= await self._writer.call(lambda outbox: outbox.acknowledged_definitions())

    def device_online(self, definition: DeviceDefinition) -> None:
        """A device is really there: it is no longer born for its backlog alone."""
        self._preview.device_online(definition)
        self._visiting.pop(definition.device, None)
        self.note_birth(definition.device)

    def device_offline(self, device: DeviceName) -> None:
        """The device has no values of its own any more."""
        self._preview.device_offline(device)

    def note_birth(self, device: DeviceName) -> None:
        """A birth publishes the newest values: older samples that follow it are history."""
        for value in self._values(device).values():
            self._note_published(device, value.time_ns)

    def _note_published(self, device: DeviceName, time_ns: int) -> None:
        time_ns = min(time_ns, self._clock.now_ns())  # a time in the future would make history of all that comes
        self._published_ns[device] = max(time_ns, self._published_ns.get(device, time_ns))

    def acknowledged(self, acks: Sequence[Acknowledgement]) -> None:
        """The cloud has batches, or will never take some."""
        count = 0
        for ack in acks:
            done = self.window.acknowledge(ack.epoch, ack.batches, self._clock.monotonic_s())
            if done and self.window.round_trip_s is not None:
                self._pace.acknowledged(sum(batch.size_bytes for batch in done), self.window.round_trip_s)
            for batch in done:
                count += 1
                if batch.kind is Kind.DEFINITION:
                    self._definition_known(batch.definition)
            for first, last in ack.batches:
                self._collector.acknowledged(ack.epoch, first, last)
                self._acked.setdefault(ack.epoch, BatchRanges()).add(first, last)
            for number, reason in ack.refused:
                refused = self.window.refuse(ack.epoch, number)
                if refused is not None and refused.kind is Kind.DEFINITION:
                    self._definition_refused(refused.definition, reason)
                self._refuse(ack.epoch, number, reason)
        self._state.acknowledged += count
        emit(BatchesAcknowledged(count))
        if len(self.window) or self._urgent or self._samples or self._feed.has_more or self._visiting:
            self._feed.changed.set()  # else there is nothing to do

    async def run(self) -> None:
        """Publish what is new and what is due again, for as long as the connection lasts.

        Raises ``BrokerUnavailable`` when it does not, ``OutboxUnavailable`` when the outbox cannot be read.
        """
        while True:
            self._feed.changed.clear()
            if self._session.phase is Phase.BORN:
                await self._send_due()
                await self._send_new()
                self._send_preview()
                self._end_visits()
            await self._feed.wait(self._next_due_s())

    def _next_due_s(self) -> float | None:
        if self._session.phase is not Phase.BORN:
            return None  # being born wakes us
        now_s = self._clock.monotonic_s()
        due_s = [self.window.next_due_s(now_s), VISIT_S if self._visiting else None]
        if self._is_behind():
            due_s.append(self._preview.wait_s(now_s) or SOCKET_LOOK_S)
        elif self._feed.has_more:
            due_s.append(OLD_AFTER_S)  # then they count as waiting, and the newest values are previewed
        if self._samples and self.window.room_batches > 0:
            due_s.append(self._backlog.wait_s(now_s))
            due_s.append(SOCKET_LOOK_S if self._broker.unsent_bytes > BACKLOG_UNSENT_BYTES_MAX else None)
        return min((each for each in due_s if each), default=None)

    def _is_behind(self) -> bool:
        """Whether samples wait that are no longer the newest."""
        return (bool(self._samples) and self._is_old(self._samples[0])) or self._feed.has_old_samples

    def _is_old(self, batch: StoredBatch) -> bool:
        """Whether ``batch`` has been waiting for a while, or came before this start."""
        return batch.epoch != self._writer.epoch or batch.number <= self._feed.old_until

    def _send_preview(self) -> None:
        """While delivery is behind, publish the newest values; not while the socket itself is behind."""
        self._state.lag_ms = self._backlog.lag_ms
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ns() // 1_000_000
        if self._preview.wait_s(now_s) or not self._is_behind() or self._broker.unsent_bytes > PREVIEW_UNSENT_BYTES_MAX:
            return
        bytes_max = max(0, self.broker_bytes_max - TOPIC_BYTES_MAX) or sys.maxsize
        for publish in self._preview.messages(now_s, now_ms, bytes_max):
            self._broker.publish(Message(publish.topic, publish.payload, publish.qos))
            self._state.previews += 1

    async def _send_due(self) -> None:
        now_s = self._clock.monotonic_s()
        waited_s = self.window.oldest_s(now_s)
        due = self.window.due(now_s)
        if due and self.window.is_silent:
            emit(AcknowledgementsMissing(len(self.window), round(waited_s, 1)))
        for batch in due:
            await self._drain(UNSENT_BYTES_MAX if len(due) == 1 else BACKLOG_UNSENT_BYTES_MAX)
            await self._publish(batch)
        if due:
            self._state.resent += len(due)
            emit(BatchesSent(len(due), len(due)))

    async def _send_new(self) -> None:
        """Send some of what is new; before each batch of samples, the records and alarms that have come meanwhile."""
        sent_before = self._state.sent
        for _ in range(TAKE_BATCHES_MAX):
            if self.window.room_batches <= 0 or self._session.phase is not Phase.BORN:
                break
            self._send_preview()
            if not await self._send_urgent() and not await self._send_first(self._samples, urgent=False):
                break  # waiting for a definition, for room, for their turn, or for something new
        else:
            self._feed.changed.set()  # there may be more, when what is due has been sent again
        if sent := self._state.sent - sent_before:
            emit(BatchesSent(sent, 0))

    async def _send_urgent(self) -> bool:
        """Send what is urgent; false when there is none, or it has to wait. What was told together arrives so."""
        self._urgent += [] if self._urgent else await self._take(urgent=True)
        has_sent = False
        with self._broker.together():
            while self._urgent and self.window.room_batches > 0 and await self._send_first(self._urgent, urgent=True):
                has_sent = True
        return has_sent

    async def _send_first(self, held: list[StoredBatch], *, urgent: bool) -> bool:
        """Send the first batch of one kind, or refuse it; false when there is none, or it has to wait."""
        held += [] if held else await self._take(urgent=urgent)
        if not held or self._session.phase is not Phase.BORN:
            return False
        batch = held[0]
        if not urgent and await self._has_to_wait(batch):
            return False
        if self._may_send(batch):
            await self._publish(batch)
            self._state.sent += 1
        elif await self._will_be_known(batch.definition):
            return False
        else:
            why = self._refused_definitions.get(batch.definition, "it is not in the outbox")
            self._refuse(batch.epoch, batch.number, f"the cloud does not have its definition: {why}")
        held.pop(0)
        return True

    async def _has_to_wait(self, batch: StoredBatch) -> bool:
        """Whether samples came out of a backlog, and it is not their turn: so that what is live is not behind them."""
        if not self._is_old(batch):
            return False
        if self._backlog.wait_s(self._clock.monotonic_s()) > 0:
            return True
        if self._delivery is Delivery.ACKNOWLEDGED and not self._pace.may_send(
            batch.size_bytes, self.window.in_flight_bytes
        ):
            return True
        await self._drain(BACKLOG_UNSENT_BYTES_MAX)
        return self._broker.unsent_bytes > BACKLOG_UNSENT_BYTES_MAX

    async def _drain(self, bytes_max: int) -> None:
        """Wait for the socket. Previews leave meanwhile, and records and alarms that come end the wait."""
        while self._broker.unsent_bytes > bytes_max and not self._feed.has_urgent:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PREVIEW_EVERY_S / 2):
                    await self._broker.drained(bytes_max)
            self._send_preview()

    async def _take(self, *, urgent: bool) -> list[StoredBatch]:
        """The next batches that are not acknowledged; nothing when the feed is at its end."""
        while self._feed.has_more:
            count_max = min(self.window.room_batches, TAKE_BATCHES_MAX // 2)
            if not (rows := await self._feed.take(count_max, max(1, self.window.room_bytes), urgent=urgent)):
                break
            wanted: list[StoredBatch] = []
            for row in rows:
                if row.number not in self._acked.get(row.epoch, ()):
                    wanted.append(row)
                elif row.kind is Kind.DEFINITION:  # acknowledged to an earlier start, before this one could send it
                    self._definition_known(row.definition)
            if wanted:
                return wanted
        return []

    def _may_send(self, batch: StoredBatch) -> bool:
        """Samples wait until the cloud has their definition, so that it can always read what it has acknowledged."""
        if self._delivery is Delivery.SPARKPLUG or batch.kind is not Kind.SAMPLES or batch.unreadable:
            return True
        return batch.definition in self._known_definitions

    async def _will_be_known(self, definition: DefinitionHash) -> bool:
        """Whether the definition that samples wait for is on its way; it is sent out of its order if it must be.

        Its row comes after the samples when the cloud had refused it, and the device told it anew.
        """
        if definition in self._refused_definitions:
            return False
        if definition in self._told:
            return True
        row = await self._writer.call(lambda outbox: outbox.waiting_definition(definition))
        if row is not None:
            await self._publish(row)
            return definition not in self._refused_definitions
        if definition in await self._writer.call(lambda outbox: outbox.acknowledged_definitions()):
            self._definition_known(definition)
            self._feed.changed.set()
            return True
        return False

    def _definition_known(self, definition: DefinitionHash) -> None:
        self._known_definitions.add(definition)
        self._told.discard(definition)
        self._refused_definitions.pop(definition, None)

    def _definition_refused(self, definition: DefinitionHash, reason: str) -> None:
        self._told.discard(definition)
        self._refused_definitions[definition] = reason

    async def _publish(self, batch: StoredBatch) -> None:
        now_ms = self._clock.now_ns() // 1_000_000
        if (never := batch.unreadable or too_large(batch, self.broker_bytes_max)) is not None:
            if batch.kind is Kind.DEFINITION:
                self._definition_refused(batch.definition, never)
            self.window.refuse(batch.epoch, batch.number)
            self._refuse(batch.epoch, batch.number, never)
            return
        if batch.kind is not Kind.SAMPLES:
            if batch.kind is Kind.DEFINITION:
                self._told.add(batch.definition)
                self._refused_definitions.pop(batch.definition, None)
            publish = self._session.node_data(record_message(batch), now_ms)
        elif (unborn := await self._ensure_born(batch)) is not None:
            self.window.refuse(batch.epoch, batch.number)
            self._refuse(batch.epoch, batch.number, unborn)
            return
        else:
            if not self.window.holds(batch):
                self._leaves(batch, now_ms)
            delivery, metrics = samples_message(batch, historical=self._is_history(batch))
            publish = self._session.device_data(batch.device, delivery, metrics, now_ms)
        self._broker.publish(Message(publish.topic, publish.payload, publish.qos))
        if self._collector.tracing.is_on:
            self._collector.tracing.sent(batch, again=self.window.holds(batch))
        if self._delivery is Delivery.SPARKPLUG:
            await self._drain(0)
            await self._broker.drained(0)
            self._collector.acknowledged(batch.epoch, batch.number, batch.number)
            return
        self.window.sent(batch, self._clock.monotonic_s())
        if self._broker.unsent_bytes > UNSENT_BYTES_MAX:
            await self._broker.drained(UNSENT_BYTES_MAX)

    def _leaves(self, batch: StoredBatch, now_ms: int) -> None:
        """Note how far behind delivery is; by the wall clock, and held to what the monotonic one says."""
        lag_ms, limit_ms, is_old = now_ms - batch.created_ms, round(OLD_AFTER_S * 1000), self._is_old(batch)
        lag_ms = max(lag_ms, limit_ms + 1) if is_old else min(lag_ms, limit_ms)
        self._backlog.leaves(batch.size_bytes, lag_ms, self._clock.monotonic_s(), is_old=is_old)

    def _is_history(self, batch: StoredBatch) -> bool:
        """Whether something newer of the device was published before; notes what this batch publishes."""
        newest = newest_ns(batch)
        published = self._published_ns.get(batch.device)
        self._note_published(batch.device, newest)
        return published is not None and newest <= published

    async def _ensure_born(self, batch: StoredBatch) -> str | None:
        """Give birth to a device that is not there, so that its backlog can leave; why, when it cannot be born."""
        if batch.device in self._visiting:
            self._visiting[batch.device] = self._clock.monotonic_s()
        if self._session.is_born(batch.device):
            return None
        definition = await self._writer.definition(batch.definition)
        if definition is None:
            return f"its definition {batch.definition} is not in the outbox"
        if (unborn := self._session.why_unborn(definition)) is not None:
            return unborn
        self._visiting[batch.device] = self._clock.monotonic_s()
        self._do(self._session.device_online(definition, self._clock.now_ns() // 1_000_000))
        return self._session.why_unborn(definition)

    def _end_visits(self) -> None:
        """Devices that were born for their backlog alone die when it has been sent."""
        if not self._visiting:
            return
        now_s = self._clock.monotonic_s()
        busy = self.window.devices() | {batch.device for batch in (*self._urgent, *self._samples)}
        for device, sent_s in list(self._visiting.items()):
            if device not in busy and now_s - sent_s >= VISIT_S:
                del self._visiting[device]
                self._do(self._session.device_offline(device, self._clock.now_ns() // 1_000_000))

    def _refuse(self, epoch: Epoch, number: int, reason: str) -> None:
        self._collector.refused(epoch, number, reason)
        self._state.refused += 1
        emit(BatchRefused(number, reason))
