"""An uplink of an agent between a real outbox and a played network, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import cast

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, BatchRanges
from connectors.model.errors import BrokerUnavailable, BrokerUnreachable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagName, TagType
from connectors.ports.broker import BrokerLimits, Message
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import GAP, Acknowledgement, Delivery, encode_acknowledgement, read_delivery
from connectors.sparkplug.state import HostState, encode_state
from connectors.sparkplug.topics import Verb, parse_topic
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from edge_agent.uplink.options import Delivery as Promise
from edge_agent.uplink.options import UplinkOptions
from edge_agent.uplink.uplink import Uplink
from tests.inline_outbox import InlineReader, InlineWriter
from tests.virtual_time import START_NS, VirtualClock

PRESS = DeviceName("press")
NCMD = "spBv1.0/plant/NCMD/line"
WINDOW = 8
LATENCY_S = 0.05


class PlayedNetwork:
    """A broker with a cloud behind it. ``loss`` is the part of messages that vanish, in either direction."""

    def __init__(self, seed: int = 0, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.refuses: set[int] = set()
        self.acknowledges = True
        self.arrived: dict[tuple[int, int], Delivery] = {}
        self.order: list[tuple[str, int]] = []
        self.payloads: list[tuple[float, bytes]] = []
        self.definitions: set[str] = set()
        self.connects: list[str] = []
        self.wills: list[Message] = []
        self.unreachable: set[str] = set()
        self.bytes_max = 0
        self.bytes_per_s: float | None = None
        """How fast the link is; one message after the other passes it. ``None``: as fast as they come."""
        self.queues_unseen = False
        """Whether what waits for the link waits behind the socket, where only the round trip shows it."""
        self.came: list[tuple[float, int, bytes]] = []
        """When each DDATA was through the link, its batch number, and the payload."""
        self._link_free_s = 0.0
        self._lost: asyncio.Future[None] | None = None
        self._answer: Callable[[Message], None] = lambda message: None

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        assert will is not None
        self.connects.append(url)
        self.wills.append(will)
        await asyncio.sleep(LATENCY_S)
        if url in self.unreachable:
            raise BrokerUnreachable(f"the broker {url} cannot be reached")
        assert self._lost is None or self._lost.done(), "connected to one broker at a time"
        self._lost = asyncio.get_running_loop().create_future()
        self._answer = on_message
        return BrokerLimits(self.bytes_max)

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        await asyncio.sleep(LATENCY_S)

    def publish(self, message: Message) -> None:
        if self._lost is None or self._lost.done():
            raise BrokerUnavailable("the connection was lost")
        topic = parse_topic(message.topic)
        delivery = read_delivery(message.payload)
        assert not self.bytes_max or len(message.topic) + len(message.payload) <= self.bytes_max
        self.order.append((topic.verb.value, 0 if delivery is None else delivery.batch))
        self.payloads.append((asyncio.get_running_loop().time(), message.payload))
        through_s = self._through_s(len(message.payload))
        if topic.verb is Verb.DDATA and delivery is not None:
            self.came.append((through_s, delivery.batch, message.payload))
        if delivery is None or not delivery.batch or self.random.random() < self.loss:
            return
        if topic.verb is Verb.DDATA:
            assert delivery.definition in self.definitions, "samples before the cloud had their definition"
        asyncio.get_running_loop().call_at(through_s, self._arrive, self._lost, delivery)

    def _through_s(self, size_bytes: int) -> float:
        """When a message that is published now has arrived."""
        now_s = asyncio.get_running_loop().time()
        if self.bytes_per_s is not None:
            self._link_free_s = max(now_s, self._link_free_s) + size_bytes / self.bytes_per_s
        return max(now_s, self._link_free_s) + LATENCY_S

    @property
    def unsent_bytes(self) -> int:
        if self.bytes_per_s is None or self.queues_unseen:
            return 0
        return round(max(0.0, self._link_free_s - asyncio.get_running_loop().time()) * self.bytes_per_s)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def drained(self, bytes_max: int) -> None:
        while self.unsent_bytes > bytes_max:  # noqa: ASYNC110  it is virtual time
            await asyncio.sleep(0.01)

    async def closed(self) -> None:
        assert self._lost is not None
        await asyncio.shield(self._lost)

    async def disconnect(self) -> None:
        self.break_connection()

    def break_connection(self) -> None:
        """End the connection; whoever waits for its end hears of it."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(BrokerUnavailable("the connection was lost"))
            self._lost.exception()

    def explained(self) -> set[int]:
        """The batch numbers that the gaps name which have arrived."""
        records = [delivery.records[GAP] for delivery in self.arrived.values() if GAP in delivery.records]
        spans = [span for record in records for span in json.loads(record)["batches"]]
        return {number for first, last in spans for number in range(first, last + 1)}

    def say(self, *acks: Acknowledgement) -> None:
        """Send acknowledgements to the agent."""
        self._answer(Message(NCMD, encode_acknowledgement(acks, 0)))

    def host_says(self, *, online: bool, timestamp_ms: int) -> None:
        """Publish the STATE of the host."""
        self._answer(Message("spBv1.0/STATE/lineside", encode_state(HostState(online, timestamp_ms))))

    def _arrive(self, connection: asyncio.Future[None], delivery: Delivery) -> None:
        if connection.done() or not self.acknowledges:
            return
        refused = delivery.batch in self.refuses
        if not refused:
            self.arrived[delivery.epoch, delivery.batch] = delivery
            if "Lineside/Definition Body" in delivery.records:
                self.definitions.add(delivery.definition)
        if self.random.random() < self.loss:
            return
        if refused:
            self.say(Acknowledgement(delivery.epoch, BatchRanges(), ((delivery.batch, "too large"),)))
        else:
            self.say(Acknowledgement(delivery.epoch, BatchRanges([(delivery.batch, delivery.batch)])))


class Bench:
    """The uplink of an agent with one device."""

    def __init__(
        self,
        folder: Path,
        network: PlayedNetwork,
        *,
        brokers: tuple[str, ...] = ("mqtts://a",),
        backlog_bytes_per_s_max: float | None = None,
        wait_for_host: bool = False,
        sealing: Sealing = PLAIN,
        window_batches_max: int = WINDOW,
        window_bytes_max: int = 1_000_000,
        samples_pending_max: int = 1000,
    ) -> None:
        self.changed: list[SampleBatch] = []
        self.network, self.clock = network, VirtualClock()
        self.writer = InlineWriter(folder, sealing)
        self.reader = InlineReader(self.writer)
        writer = cast(OutboxWriter, self.writer)
        self.feed = Feed(cast(OutboxReader, self.reader), monotonic_s=self.clock.monotonic_s)
        self.collector = Collector(
            writer, self.feed, CollectorSettings(0.1, samples_pending_max, 1 << 30, 100_000), self.clock
        )
        options = UplinkOptions(
            agent=AgentName("plant", "line"),
            brokers=brokers,
            delivery=Promise.ACKNOWLEDGED,
            host="lineside",
            wait_for_host=wait_for_host,
            properties=(),
            window_batches_max=window_batches_max,
            window_bytes_max=window_bytes_max,
            resend_after_s=2.0,
            backlog_bytes_per_s_max=backlog_bytes_per_s_max,
        )
        self.values: dict[int, CurrentValue] = {}
        self.uplink = Uplink(
            options,
            network,
            writer=writer,
            feed=self.feed,
            collector=self.collector,
            values=lambda device: self.values,
            changed=lambda device: self._changed(),
            clock=self.clock,
        )
        self.definition: DeviceDefinition | None = None

    async def online(self, datatype: DataType = DataType.DOUBLE) -> None:
        """The device is there."""
        tag = TagType(0, TagName("force"), datatype)
        self.definition, rows = await self.writer.define(PRESS, [tag], START_NS // 1_000_000)
        self.feed.push(rows)
        self.uplink.device_online(self.definition)

    def _changed(self) -> list[SampleBatch]:
        found, self.changed = self.changed[-1:], []
        return found

    async def put(self, value: float, definition: DefinitionHash | None = None, *, time_ns: int | None = None) -> None:
        """A sample of the device, in a batch of its own."""
        assert self.definition is not None
        alias, time_ns = self.definition.metrics[0].alias, time_ns or self.clock.now_ns()
        batch = SampleBatch(DataType.DOUBLE, np.array([alias], np.int32), np.array([time_ns]), np.array([value]))
        self.changed.append(batch)
        await self.collector.put(PRESS, definition or self.definition.hash, batch, None)

    @property
    def waiting(self) -> list[int]:
        """The numbers of the batches in the outbox."""
        return [row.number for row in self.reader.rows()]


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(bench.collector.run()), asyncio.create_task(bench.uplink.run())]
    try:
        yield
    finally:
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        bench.collector.stop()
        await tasks[0]
        bench.writer.outbox.close()


async def until(condition: Callable[[], object], limit_s: float = 600.0) -> None:
    end_s = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < end_s, "it did not happen in time"
        await asyncio.sleep(0.1)
