"""The uplink between a real outbox and a played network: whatever is lost on the way, everything arrives and leaves.

Time is virtual. The network loses messages of either direction and breaks connections by a seed; the cloud refuses what
it is told to. What the cloud has in the end is compared with what was committed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.model.errors import BrokerUnavailable
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagName, TagType
from connectors.ports.broker import BrokerLimits, Message
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import Acknowledgement, Delivery, encode_acknowledgement, read_delivery
from connectors.sparkplug.topics import Verb, parse_topic
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import Kind
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from edge_agent.uplink.options import Delivery as Promise
from edge_agent.uplink.options import UplinkOptions
from edge_agent.uplink.uplink import Uplink
from tests.inline_outbox import InlineReader, InlineWriter
from tests.virtual_time import START_NS, VirtualClock, virtual_time

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
        self.definitions: set[str] = set()
        self.connects: list[str] = []
        self.unreachable: set[str] = set()
        self.unsent_bytes = 0
        self._lost: asyncio.Future[None] | None = None
        self._answer: Callable[[Message], None] = lambda message: None

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        assert will is not None
        self.connects.append(url)
        await asyncio.sleep(LATENCY_S)
        if url in self.unreachable:
            raise BrokerUnavailable(f"the broker {url} cannot be reached")
        self._lost = asyncio.get_running_loop().create_future()
        self._answer = on_message
        return BrokerLimits()

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        await asyncio.sleep(LATENCY_S)

    def publish(self, message: Message) -> None:
        if self._lost is None or self._lost.done():
            raise BrokerUnavailable("the connection was lost")
        topic = parse_topic(message.topic)
        delivery = read_delivery(message.payload)
        self.order.append((topic.verb.value, 0 if delivery is None else delivery.batch))
        if delivery is None or not delivery.batch or self.random.random() < self.loss:
            return
        if topic.verb is Verb.DDATA:
            assert delivery.definition in self.definitions, "samples before the cloud had their definition"
        asyncio.get_running_loop().call_later(LATENCY_S, self._arrive, self._lost, delivery)

    async def drained(self, bytes_max: int) -> None:
        await asyncio.sleep(0)

    async def closed(self) -> None:
        assert self._lost is not None
        await asyncio.shield(self._lost)

    async def disconnect(self) -> None:
        self.break_connection()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def break_connection(self) -> None:
        """End the connection; whoever waits for its end hears of it."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(BrokerUnavailable("the connection was lost"))
            self._lost.exception()

    def say(self, *acks: Acknowledgement) -> None:
        """Send acknowledgements to the agent."""
        self._answer(Message(NCMD, encode_acknowledgement(acks, 0)))

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

    def __init__(self, folder: Path, network: PlayedNetwork, *, brokers: tuple[str, ...] = ("mqtts://a",)) -> None:
        self.network, self.clock = network, VirtualClock()
        self.writer = InlineWriter(folder)
        self.reader = InlineReader(self.writer)
        writer = cast(OutboxWriter, self.writer)
        self.feed = Feed(cast(OutboxReader, self.reader))
        self.collector = Collector(writer, self.feed, CollectorSettings(0.1, 1000, 100_000), self.clock)
        options = UplinkOptions(
            agent=AgentName("plant", "line"),
            brokers=brokers,
            delivery=Promise.ACKNOWLEDGED,
            host="lineside",
            wait_for_host=False,
            properties=(),
            window_batches_max=WINDOW,
            window_bytes_max=1_000_000,
            resend_after_s=2.0,
        )
        values: dict[int, CurrentValue] = {}
        self.uplink = Uplink(
            options,
            network,
            writer=writer,
            feed=self.feed,
            collector=self.collector,
            values=lambda device: values,
            clock=self.clock,
        )
        self.definition: DeviceDefinition | None = None

    async def online(self, datatype: DataType = DataType.DOUBLE) -> None:
        """The device is there."""
        tag = TagType(0, TagName("force"), datatype)
        self.definition, rows = await self.writer.define(PRESS, [tag], START_NS // 1_000_000)
        self.feed.push(rows)
        self.uplink.device_online(self.definition)

    async def put(self, value: float, definition: DefinitionHash | None = None) -> None:
        """A sample of the device, in a batch of its own."""
        assert self.definition is not None
        alias, time_ns = self.definition.metrics[0].alias, self.clock.now_ns()
        batch = SampleBatch(DataType.DOUBLE, np.array([alias], np.int32), np.array([time_ns]), np.array([value]))
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


@pytest.mark.parametrize("seed", range(12))
def test_everything_arrives_and_leaves_the_disk_whatever_the_network_loses(tmp_path: Path, seed: int) -> None:
    @virtual_time
    async def scene() -> None:
        chance = random.Random(seed)
        network = PlayedNetwork(seed, loss=chance.choice([0.0, 0.1, 0.4]))
        bench = Bench(tmp_path, network)
        if chance.random() < 0.5:
            network.refuses = set(chance.sample(range(4, 40), 3))
        async with running(bench):
            await bench.online()
            for number in range(60):
                await bench.put(float(number))
                await asyncio.sleep(chance.choice([0.0, 0.15, 1.0]))
                assert bench.uplink.in_flight <= WINDOW
                if chance.random() < 0.08:
                    network.break_connection()
            await until(lambda: not bench.waiting and not bench.uplink.in_flight)
            numbers = {number for _, number in network.arrived}
            assert numbers | network.refuses >= set(range(1, max(numbers) + 1)), "no number is missing"
            assert not numbers & network.refuses
            gaps = [delivery for delivery in network.arrived.values() if "Lineside/Gap" in delivery.records]
            refused = {number for number in network.refuses if number < max(numbers)}
            assert len(gaps) == len(refused) == bench.uplink.state.refused
            assert bench.uplink.state.acknowledged == len(network.arrived), "each counts once"

    scene()


@virtual_time
async def test_samples_wait_for_the_acknowledgement_of_their_definition_and_then_go_in_order(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(20):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        sent = {number for _, number in network.order if number}
        assert sent == {1, 2}, "the epoch start and the definition"
        assert bench.uplink.in_flight == 2
        network.acknowledges = True
        await until(lambda: not bench.waiting)
    first_sent = list(dict.fromkeys(number for _, number in network.order if number))
    assert first_sent == sorted(first_sent)
    assert [verb for verb, _ in network.order][:2] == ["NBIRTH", "DBIRTH"]


@virtual_time
async def test_while_the_cloud_is_silent_the_window_is_the_limit_and_the_disk_takes_the_rest(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        before = len(network.order)
        for number in range(40):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        await asyncio.sleep(200.0)
        assert bench.uplink.in_flight == WINDOW
        assert len(bench.waiting) == 40
        sent = [number for _, number in network.order[before:]]
        assert set(sent) == set(range(3, 3 + WINDOW))
        assert {number for number in sent if sent.count(number) > 1} == {3}, "only the oldest is sent again"
        network.acknowledges = True
        await until(lambda: not bench.waiting)
        assert {number for _, number in network.arrived} == set(range(1, 43))


@virtual_time
async def test_a_reconnect_gives_births_first_and_then_what_was_in_flight_in_order(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        for number in range(4):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        before = len(network.order)
        network.break_connection()
        await asyncio.sleep(5.0)
    again = [item for item in network.order[before:] if item[0] != "NDEATH"]
    assert again[:6] == [("NBIRTH", 0), ("DBIRTH", 0), ("DDATA", 3), ("DDATA", 4), ("DDATA", 5), ("DDATA", 6)]


@virtual_time
async def test_brokers_are_tried_in_turn_with_growing_waits(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a", "mqtts://b"}
    bench = Bench(tmp_path, network, brokers=("mqtts://a", "mqtts://b"))
    async with running(bench):
        await asyncio.sleep(600.0)
        assert network.connects[:4] == ["mqtts://a", "mqtts://b", "mqtts://a", "mqtts://b"]
        assert 12 <= len(network.connects) <= 30
        assert (bench.uplink.state.phase, bench.uplink.state.reason[:12]) == ("offline", "the broker m")
        network.unreachable = {"mqtts://a"}
        await asyncio.sleep(200.0)
        assert (bench.uplink.state.phase, bench.uplink.state.broker) == ("born", "mqtts://b")


@virtual_time
async def test_an_acknowledgement_of_what_was_never_sent_changes_nothing(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        stranger = Epoch(bench.writer.epoch ^ 1)
        network.acknowledges = False
        await bench.put(1.0)
        await asyncio.sleep(0.5)
        network.say(Acknowledgement(stranger, BatchRanges([(1, 1000)])))
        await asyncio.sleep(5.0)
        assert (bench.waiting, bench.uplink.in_flight) == ([3], 1)
        assert bench.uplink.state.acknowledged == 2


@virtual_time
async def test_a_device_that_is_gone_is_born_for_its_backlog_and_dies_afterwards(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await bench.put(1.0)
        await asyncio.sleep(1.0)
        bench.uplink.device_offline(PRESS)
        network.unreachable = set()
        await until(lambda: not bench.waiting)
        await asyncio.sleep(1.0)
    verbs = [verb for verb, _ in network.order if verb != "NDATA"]
    assert verbs == ["NBIRTH", "DBIRTH", "DDATA", "DDEATH", "NDEATH"]


@virtual_time
async def test_a_damaged_row_is_set_aside_and_its_neighbours_go_on(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(3):
            await bench.put(float(number))
            await asyncio.sleep(0.3)
        damaged = next(row.number for row in bench.reader.rows() if row.kind is Kind.SAMPLES)
        bench.writer.outbox._connection.execute("UPDATE outbox SET payload=x'00' WHERE batch=?", (damaged,))
        bench.feed._fresh.clear()
        bench.feed._fresh_bytes, bench.feed._disk_until = 0, bench.feed._newest
        network.unreachable = set()
        await until(lambda: not bench.waiting)
        assert bench.uplink.state.refused == 1
        assert {number for _, number in network.arrived} == set(range(1, 7)) - {damaged}
        gap = next(each for each in network.arrived.values() if "Lineside/Gap" in each.records)
        assert "the row is damaged" in gap.records["Lineside/Gap"]
