"""The role ``ingest``: the Sparkplug host on the broker, and the bridge into the event log.

Delivery: a batch is acknowledged only after the event log has made it durable (``logged``), or after the historian has
stored it, where the log stands on a single machine's page cache (``projected``). Nothing is kept here that its sender
does not keep, so a crash loses nothing. Back-pressure: while the log takes nothing, nothing is acknowledged; when
``pending_bytes_max`` bytes wait, batches that come are dropped, which their agents send again. Reading goes on, or the
broker's answers to our pings would not be seen, and the connection would be lost on top.

Of several processes one is the host. Without a session for sharing it takes everything, and the others stand by. With
one, every process takes its part of the numbered batches (``sharing``), and the host what nobody sends again: births,
deaths, and the data of nodes that do not acknowledge, in their order (docs/decisions/0010).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.ingest.host_book import HostBook
from cloud_ingest.ingest.intake import Intake, IntakeOptions, command_topic
from cloud_ingest.ingest.pending import Taken, take_message
from cloud_ingest.ingest.plain_nodes import PlainNodes
from cloud_ingest.ingest.sharing import Sharing
from cloud_ingest.observability.events import StoreWaiting
from cloud_ingest.observability.ingest_events import HostLost, HostOffline, HostOnline, HostStandby, RebirthAsked
from cloud_ingest.observability.obstacles import INGEST
from cloud_ingest.observability.steadiness import lasting
from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
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
from connectors.ports.database import Database, HeldLock
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.sparkplug.birth import rebirth_command
from connectors.sparkplug.delivery import read_delivery
from connectors.sparkplug.state import HostState, decode_state, encode_state
from connectors.sparkplug.topics import NAMESPACE, Topic, Verb, parse_topic, state_topic
from connectors.stopping import GRACE, Tasks

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
STANDBY_S: Final = 2.0
REBIRTHS_S: Final = 1.0
NODES_S: Final = 2.0
LEAVE_S_MAX: Final = 2.0
FILTERS_MAX: Final = 100
"""In one SUBSCRIBE."""


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Settings of the bridge; see ``IngestSettings`` in the configuration."""

    host: str
    brokers: tuple[str, ...]
    acknowledge: Literal["logged", "projected", "auto"]
    ack_interval_s: float
    pending_bytes_max: int


_AWAY: Final = (BrokerUnavailable, DatabaseUnavailable, EventLogUnavailable, StatementRefused)


class Bridge:
    """One host on one broker at a time; of several processes only one is.

    ``sharing``: a second connection, for this process's part of the numbered batches; without it the host takes all.
    """

    def __init__(
        self,
        options: BridgeOptions,
        broker: BrokerSession,
        log: EventLog,
        database: Database,
        clock: Clock,
        topics: dict[str, TopicSpec],
        sharing: BrokerSession | None = None,
    ) -> None:
        self._options = options
        self._broker = broker
        self._database = database
        self._clock = clock
        intake_options = IntakeOptions(options.acknowledge, options.ack_interval_s, options.pending_bytes_max)
        self._intake = Intake(intake_options, log, database, clock, topics)
        self._nodes = PlainNodes(database)
        self._book = HostBook(database, options.host)
        self._sharing: Sharing | None = None
        if sharing is not None:
            self._sharing = Sharing(
                options.host, options.brokers, sharing, self._intake, self._nodes, self._book, clock
            )
        self._online_since_ms = 0
        self.broker_url = ""

    @property
    def is_online(self) -> bool:
        """Whether this process is the host, and connected."""
        return bool(self.broker_url)

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this process."""
        intake = self._intake
        return {
            "pending_bytes": intake.pending.size_bytes,
            "unread": {number: (one.records, one.behind_s) for number, one in intake.guard.by_partition.items()},
        }

    async def run(self) -> None:
        """Be the host until cancelled, or stand by for the one that is. What was taken is appended in any case."""
        async with Tasks() as tasks:
            tasks.create_task(self._intake.append_forever(), name="ingest append")
            tasks.create_task(self._intake.reports.run(), name="ingest reports")
            tasks.create_task(self._intake.watch_lag_forever(), name="ingest lag")
            tasks.create_task(self._intake.pace.watch_forever(), name="ingest pace")
            tasks.create_task(self._intake.refusing.set_aside_forever(), name="ingest refused")
            if self._sharing is not None:
                tasks.create_task(self._sharing.run(), name="ingest sharing")
                tasks.create_task(self._learn_nodes_forever(), name="ingest nodes")
            await self._host_forever()

    async def _host_forever(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        number = 0
        while True:
            url = self._options.brokers[number % len(self._options.brokers)]
            try:
                await self._as_host(url, back_off)
                continue
            except BrokerUnavailable as exc:
                number += 1
                wait_s = back_off.next_s()
                emit(HostLost(url, str(exc), round(wait_s, 1)))
            except (DatabaseUnavailable, EventLogUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(INGEST, reason_of(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)

    async def _as_host(self, url: str, back_off: BackOff) -> None:
        """Be the host for as long as the lock and the connection last; stand by while another process is."""
        async with self._database.held_lock(f"lineside host {self._options.host}") as lock:
            if not lock.held:
                emit(HostStandby(self._options.host))
                await asyncio.sleep(STANDBY_S)
                return
            await self._intake.prepare()
            self._intake.is_uncertain()  # another process may have been the host in the meantime
            try:
                await self._connect(url)
                with lasting(back_off):
                    await self._be_host(lock)
            finally:
                was_online = self.is_online
                if was_online:
                    emit(HostOffline(self._options.host, url))
                self.broker_url = ""
                await self._disconnect(is_host=lock.held)
                if was_online:
                    with contextlib.suppress(DatabaseUnavailable, StatementRefused, TimeoutError):
                        async with asyncio.timeout(GRACE.at_most(LEAVE_S_MAX)):
                            await self._book.left(self._online_since_ms, self._clock.now_ns() // 1_000_000)

    async def _be_host(self, lock: HeldLock) -> None:
        """Work as the host on a connection that is there. Raises when that is lost, or the lock is, or a store."""
        async with first_of(*_AWAY), Tasks() as tasks:
            tasks.create_task(self._broker.closed(), name="ingest connection")
            if self._sharing is None:
                acknowledging = self._intake.acknowledge_forever(self._broker)
                tasks.create_task(acknowledging, name="ingest acknowledge")
            else:
                tasks.create_task(self._subscribe_nodes_forever(), name="ingest plain nodes")
            tasks.create_task(self._ask_rebirths_forever(), name="ingest rebirths")
            await lock.lost()
            raise DatabaseUnavailable("the host's lock in the database was lost")

    # -- the broker ----------------------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> None:
        """Connect, subscribe, then announce the host (Sparkplug 3.0, 5.6): the will has the birth's timestamp."""
        topic = state_topic(self._options.host)
        self._online_since_ms = self._clock.now_ns() // 1_000_000
        will = Message(topic, encode_state(HostState(False, self._online_since_ms)), 1, retain=True)
        await self._broker.connect(url, will, self._received)
        await self._broker.subscribe([*_filters(shares=self._sharing is not None), (topic, 1)])
        self._announce()
        self.broker_url = url
        emit(HostOnline(self._options.host, url))
        await self._book.came(url, self._online_since_ms)

    def _announce(self) -> None:
        state = encode_state(HostState(True, self._online_since_ms))
        self._broker.publish(Message(state_topic(self._options.host), state, 1, retain=True))

    async def _disconnect(self, *, is_host: bool) -> None:
        """Say that the host leaves; as the will would, when another process may be the host already (5.6)."""
        since_ms = self._clock.now_ns() // 1_000_000 if is_host else self._online_since_ms
        with contextlib.suppress(BrokerUnavailable):
            state = encode_state(HostState(False, since_ms))
            self._broker.publish(Message(state_topic(self._options.host), state, 1, retain=True))
        await self._broker.disconnect()

    def _received(self, message: Message) -> None:
        if message.topic.startswith(f"{NAMESPACE}/STATE/"):
            self._state(message)
            return
        taken = take_message(message.topic, message.payload, self._clock.now_ns() // 1_000_000)
        if taken is None:
            return
        if self._sharing is None or self._is_of_the_host(taken):
            self._intake.take(taken)

    def _is_of_the_host(self, taken: Taken) -> bool:
        """Numbered batches come on the other connection; a node that is born is looked at, whether it numbers any."""
        if taken.agent is not None:
            self._nodes.acknowledges(taken.agent)
            return False
        with contextlib.suppress(PayloadInvalid):
            topic = parse_topic(taken.topic)
            if topic.verb is Verb.NBIRTH and read_delivery(taken.record.value) is None:
                self._nodes.heard(topic.agent)
        return True

    def _state(self, message: Message) -> None:
        """Our own STATE says offline while we are online: an old will came late. Say it again (5.6)."""
        if message.topic != state_topic(self._options.host):
            return
        with contextlib.suppress(Exception):
            if not decode_state(message.payload).online and self.is_online:
                self._announce()

    async def _ask_rebirths_forever(self) -> None:
        """Ask nodes for their births where the historian wants them: each at most once a second."""
        while True:
            await asyncio.sleep(REBIRTHS_S)
            for agent in await self._book.rebirths_due():
                self._broker.publish(Message(command_topic(agent), rebirth_command(self._clock.now_ns() // 1_000_000)))
                emit(RebirthAsked(str(agent)))

    # -- nodes that do not acknowledge, while numbered batches are shared ----------------------------------------------

    async def _learn_nodes_forever(self) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                await self._nodes.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NODES_S):
                    await self._nodes.has_strangers.wait()

    async def _subscribe_nodes_forever(self) -> None:
        """Take the data of nodes that do not acknowledge on the host's own connection, where it has its order."""
        subscribed: set[AgentName] = set()
        while True:
            fresh = sorted(self._nodes.plain - subscribed, key=str)
            filters = [(str(topic), 0) for name in fresh for topic in _data_topics(name)]
            for at in range(0, len(filters), FILTERS_MAX):
                await self._broker.subscribe(filters[at : at + FILTERS_MAX])
            subscribed.update(fresh)
            await self._nodes.changed(subscribed)


def _filters(*, shares: bool) -> list[tuple[str, int]]:
    """What the host subscribes to: everything, or what is not shared and not of nodes that are known only later."""
    if not shares:
        return [(f"{NAMESPACE}/#", 0)]
    nodes = [(f"{NAMESPACE}/+/{verb.value}/+", 0) for verb in (Verb.NBIRTH, Verb.NDEATH)]
    return nodes + [(f"{NAMESPACE}/+/{verb.value}/+/+", 0) for verb in (Verb.DBIRTH, Verb.DDEATH)]


def _data_topics(name: AgentName) -> Sequence[Topic]:
    return (Topic(name, Verb.NDATA), Topic(name, Verb.DDATA, "+"))
