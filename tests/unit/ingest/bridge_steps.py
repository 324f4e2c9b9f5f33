"""A bridge between a broker, a log and a database that all stand in one test, and can each be switched off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Final

from cloud_ingest.event_log.topics import RAW, topic_specs
from cloud_ingest.ingest import bridge as bridge_module
from cloud_ingest.ingest import intake as intake_module
from cloud_ingest.ingest import refusing as refusing_module
from cloud_ingest.ingest import sharing as sharing_module
from cloud_ingest.ingest.bridge import Bridge, BridgeOptions
from connectors.model.errors import BrokerUnavailable, DatabaseUnavailable
from connectors.ports.broker import BrokerLimits, Message
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import LogRecord, Position, Record, TopicSpec, TopicState
from connectors.ports.memory_event_log import MemoryEventLog
from connectors.sparkplug.state import HostState, decode_state
from tests.patience import WAIT_S_MAX
from tests.played_agent import Wire, acknowledged

STATE_TOPIC: Final = "spBv1.0/STATE/lineside"


class FakeBroker:
    """See ``BrokerSession``."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.connects: list[str] = []
        self.wills: list[Message] = []
        self.calls: list[str] = []
        self.filters: list[tuple[str, int]] = []
        self.published: list[Message] = []
        self._on_message: Callable[[Message], None] | None = None
        self._closed = asyncio.Event()

    @property
    def unsent_bytes(self) -> int:
        return 0

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        await asyncio.sleep(0)
        self.connects.append(url)
        if url in self.refuses:
            raise BrokerUnavailable(f"the broker {url} cannot be reached")
        self.calls.append("connect")
        self.wills += [] if will is None else [will]
        self._on_message, self._closed = on_message, asyncio.Event()
        return BrokerLimits()

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        await asyncio.sleep(0)
        self.calls.append("subscribe")
        self.filters += filters

    def publish(self, message: Message) -> None:
        if self._on_message is None:
            raise BrokerUnavailable("there is no connection")
        self.calls.append("publish")
        self.published.append(message)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def drained(self, bytes_max: int) -> None:
        await asyncio.sleep(0)

    async def closed(self) -> None:
        await self._closed.wait()
        raise BrokerUnavailable("the connection was lost")

    async def disconnect(self) -> None:
        await asyncio.sleep(0)
        if self._on_message is not None:
            self.calls.append("disconnect")
        self._on_message = None

    def lose(self) -> None:
        """The connection breaks."""
        self._closed.set()

    def deliver(self, topic: str, payload: bytes) -> None:
        """A message for the bridge."""
        assert self._on_message is not None, "nobody is connected"
        self._on_message(Message(topic, payload))

    def states(self) -> list[HostState]:
        """What was published of the host's state."""
        return [decode_state(message.payload) for message in self.published if message.topic == STATE_TOPIC]

    def commands(self, agent: str = "plant/line-1") -> list[bytes]:
        """The NCMDs that an agent got."""
        group, name = agent.split("/")
        return [m.payload for m in self.published if m.topic == f"spBv1.0/{group}/NCMD/{name}"]

    def acknowledged(self, agent: str = "plant/line-1") -> tuple[list[int], dict[int, str]]:
        """The batches that an agent was told of, as often as it was told, and those refused with the reason."""
        batches: list[int] = []
        refused: dict[int, str] = {}
        for payload in self.commands(agent):
            for ranges, reasons in acknowledged(payload).values():
                batches += [batch for first, last in ranges for batch in range(first, last + 1)]
                refused |= reasons
        return batches, refused


class FakeLog(MemoryEventLog):
    """A log that can be away, durable or not, and that can lose its answer after it has appended."""

    def __init__(self, *, record_bytes_max: int = 100_000, survives_power_loss: bool = True) -> None:
        super().__init__(record_bytes_max=record_bytes_max)
        self.open = asyncio.Event()
        self.open.set()
        self.answers_lost = 0
        self.keeps_s: float | None = None
        """What it keeps, where that is not what it was told to."""
        self._survives_power_loss = survives_power_loss

    async def ensure(self, topic: TopicSpec) -> TopicState:
        state = await super().ensure(topic)
        keeps_s = state.retention_s if self.keeps_s is None else self.keeps_s
        return replace(state, survives_power_loss=self._survives_power_loss, retention_s=keeps_s)

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        await self.open.wait()
        positions = await super().append(topic, records)
        if topic == RAW and self.answers_lost:
            self.answers_lost -= 1
            self.server.available = False
            self.server.topic(topic)  # raises
        return positions

    def lose_end(self, key: bytes, offset: int) -> None:
        """The partition of ``key`` ends at ``offset`` now: what came after was not on the disk when the power went."""
        partition = self.server.topics[RAW].partitions[self.partition_of(RAW, key)]
        partition.records = partition.records[:offset]
        partition.next_offset = offset

    def records(self, topic: str = RAW) -> list[LogRecord]:
        """Everything in a topic, by partition."""
        return [record for partition in self.server.topics[topic].partitions for record in partition.records]


class FakeLock:
    def __init__(self, *, held: bool) -> None:
        self.held = held
        self.gone = asyncio.Event()

    async def lost(self) -> None:
        await self.gone.wait()
        self.held = False


class FakeDatabase:
    """What the bridge asks of the database: the host's lock, the historian's places, wanted rebirths, dead letters."""

    def __init__(self) -> None:
        self.available = True
        self.lock_is_free = True
        self.lock = FakeLock(held=False)
        self.places: dict[int, int] = {}
        self.identity = ""
        self.rebirths: list[tuple[str, str]] = []
        self.dead_letters: list[tuple[Any, ...]] = []
        self.hosts: list[tuple[str, Any, Any]] = []
        self.plain: set[tuple[str, str]] = set()
        self.stored: dict[int, str] | None = None
        """What the ledger has, by epoch; ``None``: whatever it is asked for."""
        self.host_broker = ""

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> AsyncIterator[FakeDatabase]:
        await asyncio.sleep(0)
        if not self.available:
            raise DatabaseUnavailable("the database is away")
        yield self

    transaction = session

    @asynccontextmanager
    async def held_lock(self, name: str) -> AsyncIterator[FakeLock]:
        if not self.available:
            raise DatabaseUnavailable("the database is away")
        assert name == "lineside host lineside"
        self.lock = FakeLock(held=self.lock_is_free)
        yield self.lock

    async def fetch(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        if "FROM projection" in sql and self.identity not in ("", args[2]):
            return []
        if "FROM projection" in sql:
            return [{"partition": number, "next_offset": place} for number, place in self.places.items()]
        if "FROM host" in sql:
            return [{"broker": self.host_broker}] if self.host_broker else []
        if "WHERE NOT acknowledges" in sql:
            return [{"group_name": group, "name": name} for group, name in sorted(self.plain)]
        if "FROM unnest" in sql:
            return [
                {"place": place, "taken": asked if self.stored is None else self.stored.get(epoch, "{}")}
                for place, (epoch, asked) in enumerate(zip(args[2], args[3], strict=True), 1)
            ]
        if "FROM agent" in sql:
            return [{"agent_id": 7, "tenant_id": 1, "acknowledges": True}]
        assert "rebirth_wanted" in sql
        wanted, self.rebirths = self.rebirths, []
        return [{"group_name": group, "name": name} for group, name in wanted]

    async def execute(self, sql: str, *args: Any) -> int:
        if "INSERT INTO dead_letter" in sql:
            self.dead_letters.append(args)
        elif "INTO host" in sql:
            self.hosts.append(("came", args[1], args[2]))
        elif "UPDATE host SET online = false" in sql:
            self.hosts.append(("left", args[1], args[2]))
        elif "INSERT INTO agent" in sql:
            self.plain.add((args[0], args[1]))
        elif "UPDATE host SET alive" not in sql and "SET rebirth_wanted = coalesce" not in sql:
            assert "INSERT INTO agent" in sql or "INSERT INTO sparkplug_group" in sql
        return 1

    async def close(self) -> None:
        pass


class Stage:
    """A bridge with everything around it."""

    def __init__(
        self,
        *,
        acknowledge: Any = "logged",
        brokers: tuple[str, ...] = ("mqtts://one",),
        pending_bytes_max: int = 1_000_000,
        log: FakeLog | None = None,
        shares: bool = False,
    ) -> None:
        self.broker, self.database = FakeBroker(), FakeDatabase()
        self.shared = FakeBroker()
        self.log = FakeLog() if log is None else log
        options = BridgeOptions("lineside", brokers, acknowledge, 0.005, pending_bytes_max)
        database: Any = self.database
        sharing = self.shared if shares else None
        self.bridge = Bridge(options, self.broker, self.log, database, SystemClock(), topic_specs(4, 3600), sharing)

    def send(self, *wires: Wire) -> None:
        """Messages from the broker."""
        for wire in wires:
            self.broker.deliver(*wire)

    @asynccontextmanager
    async def running(self, *, online: bool = True) -> AsyncIterator[asyncio.Task[None]]:
        """The bridge at work, and whether what it raised is what a cancellation raises."""
        task = asyncio.create_task(self.bridge.run())
        try:
            if online:
                await eventually(lambda: self.bridge.is_online or task.done())
            yield task
        finally:
            ended = task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert not ended, "the bridge ended by itself"


async def eventually(condition: Callable[[], object], within_s: float = WAIT_S_MAX) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 # it is about what another task did
            await asyncio.sleep(0.002)


async def settled(wait_s: float = 0.05) -> None:
    """Time enough for what must not happen."""
    await asyncio.sleep(wait_s)


def quick_retries(monkeypatch: Any) -> None:
    """Back-offs of milliseconds instead of seconds."""
    for module in (bridge_module, intake_module, refusing_module, sharing_module):
        for name in ("RETRY_FIRST_S", "RETRY_LONGEST_S", "STANDBY_S", "PLACES_S", "REBIRTHS_S", "FOLLOW_S", "NODES_S"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 0.01)
