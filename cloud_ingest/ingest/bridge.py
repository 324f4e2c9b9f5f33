"""The role ``ingest``: the Sparkplug host on the broker, and the bridge into the event log.

Delivery: a batch is acknowledged only after the event log has made it durable (``logged``), or after the historian has
stored it, where the log stands on a single machine's page cache (``projected``). Nothing is kept here that its sender
does not keep, so a crash loses nothing. Back-pressure: while the log takes nothing, nothing is acknowledged; when
``pending_bytes_max`` bytes wait, batches that come are dropped, which their agents send again. Reading goes on, or the
broker's answers to our pings would not be seen, and the connection would be lost on top.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cloud_ingest.event_log.topics import DEFINITIONS, RAW
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.storing import PROJECTION, store_dead_letters
from cloud_ingest.historian.work import DeadLetter, Work
from cloud_ingest.ingest.acknowledging import Acknowledging
from cloud_ingest.ingest.pending import Pending, Taken, batch_of, take_message
from cloud_ingest.observability.events import (
    MESSAGES_DROPPED,
    PENDING_BYTES,
    AcknowledgementsSent,
    Appended,
    AppendFailed,
    HostLost,
    HostOffline,
    HostOnline,
    HostStandby,
    LogEndLost,
    MessageRefused,
    MessagesDropped,
    RebirthAsked,
    StoreWaiting,
)
from cloud_ingest.observability.obstacles import INGEST
from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
from connectors.model.errors import BrokerUnavailable, DatabaseUnavailable, EventLogUnavailable, RecordRefused
from connectors.observability.events import emit
from connectors.ports.broker import BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, Position, TopicSpec
from connectors.sparkplug.birth import rebirth_command
from connectors.sparkplug.delivery import encode_acknowledgement
from connectors.sparkplug.state import HostState, decode_state, encode_state
from connectors.sparkplug.topics import NAMESPACE, Topic, Verb, state_topic

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
STANDBY_S: Final = 2.0
PLACES_S: Final = 0.05
REBIRTHS_S: Final = 1.0
APPEND_MESSAGES_MAX: Final = 1000
APPEND_S_CERTAIN: Final = 1.0
"""Within a shorter append, no log has been started again: what it said before still holds."""
SETTLE_S_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Settings of the bridge; see ``IngestSettings`` in the configuration."""

    host: str
    brokers: tuple[str, ...]
    acknowledge: Literal["logged", "projected", "auto"]
    ack_interval_s: float
    pending_bytes_max: int


class Bridge:
    """One host on one broker at a time; of several processes only one is, the others stand by."""

    def __init__(
        self,
        options: BridgeOptions,
        broker: BrokerSession,
        log: EventLog,
        database: Database,
        clock: Clock,
        topics: dict[str, TopicSpec],
    ) -> None:
        self._options = options
        self._broker = broker
        self._log = log
        self._database = database
        self._clock = clock
        self._topics = topics
        self._pending = Pending(options.pending_bytes_max)
        self._acknowledging = Acknowledging()
        self._arrived = asyncio.Event()
        self._dropping = False
        self._identity = ""
        self._waits_for_projection = False
        self._is_certain = False
        self._settled = asyncio.Event()
        self._settled.set()
        self._identities = Identities(database)
        self._online_since_ms = 0
        self.broker_url = ""

    @property
    def is_online(self) -> bool:
        """Whether this process is the host, and connected."""
        return bool(self.broker_url)

    async def run(self) -> None:
        """Be the host until cancelled, or stand by for the one that is. What was taken is appended in any case."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._append_forever(), name="ingest append")
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
            except (DatabaseUnavailable, EventLogUnavailable) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(INGEST, str(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)

    async def _as_host(self, url: str, back_off: BackOff) -> None:
        """Be the host for as long as the lock and the connection last; stand by while another process is."""
        async with self._database.held_lock(f"lineside host {self._options.host}") as lock:
            if not lock.held:
                emit(HostStandby(self._options.host))
                await asyncio.sleep(STANDBY_S)
                return
            await self._prepare_log()
            self._is_certain = False  # another process may have been the host in the meantime
            try:
                await self._connect(url)
                back_off.reset()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._broker.closed(), name="ingest connection")
                    tasks.create_task(self._acknowledge_forever(), name="ingest acknowledge")
                    tasks.create_task(self._ask_rebirths_forever(), name="ingest rebirths")
                    await lock.lost()
                    raise DatabaseUnavailable("the host's lock in the database was lost")
            except* (BrokerUnavailable, DatabaseUnavailable, EventLogUnavailable) as group:
                raise group.exceptions[0] from group
            finally:
                if self.is_online:
                    emit(HostOffline(self._options.host, url))
                self.broker_url = ""
                await self._disconnect(is_host=lock.held)

    async def _prepare_log(self) -> None:
        state = await self._log.ensure(self._topics[RAW])
        await self._log.ensure(self._topics[DEFINITIONS])
        if state.identity != self._identity:
            self._acknowledging.forget_waiting()
        self._identity = state.identity
        acknowledge = self._options.acknowledge
        self._waits_for_projection = acknowledge == "projected" or (
            acknowledge == "auto" and not state.survives_power_loss
        )

    # -- the broker ----------------------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> None:
        """Connect, subscribe, then announce the host (Sparkplug 3.0, 5.6): the will has the birth's timestamp."""
        topic = state_topic(self._options.host)
        self._online_since_ms = self._clock.now_ns() // 1_000_000
        will = Message(topic, encode_state(HostState(False, self._online_since_ms)), 1, retain=True)
        await self._broker.connect(url, will, self._received)
        await self._broker.subscribe([(f"{NAMESPACE}/#", 0), (topic, 1)])
        self._announce()
        self.broker_url = url
        emit(HostOnline(self._options.host, url))

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
        if not self._pending.takes(taken):
            MESSAGES_DROPPED.inc()
            if not self._dropping:
                emit(MessagesDropped(self._pending.size_bytes))
            self._dropping = True
            return
        self._pending.add(taken)
        self._arrived.set()

    def _state(self, message: Message) -> None:
        """Our own STATE says offline while we are online: an old will came late. Say it again (5.6)."""
        if message.topic != state_topic(self._options.host):
            return
        with contextlib.suppress(Exception):
            if not decode_state(message.payload).online and self.is_online:
                self._announce()

    # -- the log -------------------------------------------------------------------------------------------------------

    async def _append_forever(self) -> None:
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            messages = self._pending.take_all()
            PENDING_BYTES.set(self._pending.size_bytes)
            while messages:
                part, messages = messages[:APPEND_MESSAGES_MAX], messages[APPEND_MESSAGES_MAX:]
                self._settled.clear()
                try:
                    await self._append(part)
                    self._pending.still_taken(messages)
                    self._settled.set()
                    back_off.reset()
                except (EventLogUnavailable, DatabaseUnavailable) as exc:
                    self._is_certain = False
                    self._pending.put_back([*part, *messages])
                    PENDING_BYTES.set(self._pending.size_bytes)
                    wait_s = back_off.next_s()
                    emit(AppendFailed(str(exc), len(self._pending), round(wait_s, 1)))
                    await asyncio.sleep(wait_s)
                    self._arrived.set()
                    break
            PENDING_BYTES.set(self._pending.size_bytes)
            self._dropping = self._dropping and self._pending.is_full

    async def _append(self, messages: list[Taken]) -> None:
        """Append ``messages``; when that fails half-way, those that are done with are no longer among them."""
        started_s = self._clock.monotonic_s()
        try:
            positions = await self._append_together(messages)
        except RecordRefused:
            while messages:
                await self._append_alone(messages[0])
                del messages[0]
            return
        for taken, position in zip(messages, positions, strict=True):
            self._durable(taken, position)
        size = sum(len(taken.record.value) for taken in messages)
        emit(Appended(len(messages), size, self._clock.monotonic_s() - started_s))

    async def _append_together(self, messages: Sequence[Taken]) -> Sequence[Position]:
        definitions = [record for taken in messages if (record := taken.definition) is not None]
        if definitions:
            await self._log.append(DEFINITIONS, definitions)
        records = [taken.record for taken in messages]
        if not self._waits_for_projection:
            return await self._log.append(RAW, records)
        before = {} if self._is_certain else await self._places_if_known()
        started_s = self._clock.monotonic_s()
        positions = await self._log.append(RAW, records)
        await self._compare(positions, before, self._clock.monotonic_s() - started_s)
        return positions

    async def _compare(self, positions: Sequence[Position], before: Mapping[int, int] | None, took_s: float) -> None:
        """Find out whether the log has lost its end, so that the historian stands beyond what was appended now.

        ``before``: where the historian was before the append, as far as that matters. When it is not known (``None``),
        nothing of this append is acknowledged: its senders send it again.
        """
        spans = _spans(positions)
        lost = self._acknowledging.appended(spans)
        for number, end in lost.items():
            emit(LogEndLost(RAW, number, end, spans[number][0]))
        if lost:
            with contextlib.suppress(EventLogUnavailable):
                await self._prepare_log()
        places = await self._places_if_known() if lost or took_s > APPEND_S_CERTAIN else before
        self._is_certain = places is not None
        unknown = {number: end for number, (_, end) in spans.items()}
        self._acknowledging.stands_beyond(unknown if places is None else places, spans)

    async def _places_if_known(self) -> dict[int, int] | None:
        try:
            return await self._places()
        except DatabaseUnavailable:
            return None

    async def _append_alone(self, taken: Taken) -> None:
        """Append one message; if the log will never take it, set it aside and tell its sender."""
        try:
            (position,) = await self._append_together([taken])
        except RecordRefused as exc:
            record = taken.record
            emit(MessageRefused(taken.topic[:200], len(record.value), str(exc)))
            letter = DeadLetter(taken.topic, record.value, str(exc), record.time_ms)
            key = batch_of(taken)
            if key is not None:
                agent = await self._identities.agent(key.agent)
                letter = replace(letter, agent=agent, epoch=key.epoch, batch=key.batch)
            async with self._database.transaction() as session:
                await store_dead_letters(session, Work(next_offset=0, dead_letters=[letter]))
            if key is not None:
                self._acknowledging.refused(key, str(exc))
            return
        self._durable(taken, position)

    def _durable(self, taken: Taken, position: Position) -> None:
        key = batch_of(taken)
        if key is None:
            return
        if self._waits_for_projection:
            self._acknowledging.wait_for_projection(key, position.partition, position.next_offset)
        else:
            self._acknowledging.logged(key)

    # -- the way back --------------------------------------------------------------------------------------------------

    async def _acknowledge_forever(self) -> None:
        while True:
            await asyncio.sleep(PLACES_S if self._acknowledging.wants_places else self._options.ack_interval_s)
            if self._acknowledging.wants_places:
                await self._pass_projected()
            count = 0
            for agent, acks in self._acknowledging.take():
                payload = encode_acknowledgement(acks, self._clock.now_ns() // 1_000_000)
                self._broker.publish(Message(_command_topic(agent), payload))
                count += sum(len(ack.batches) for ack in acks)
            if count:
                emit(AcknowledgementsSent(count))

    async def _pass_projected(self) -> None:
        """Acknowledge what the historian has passed, unless an append may have found that the log has lost its end."""
        places = await self._places()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S_MAX):
                await self._settled.wait()
            self._acknowledging.projected(places)

    async def _places(self) -> dict[int, int]:
        """Where the historian is in each partition of the raw log."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT partition, next_offset FROM projection "
                "WHERE projection = $1 AND topic = $2 AND topic_identity = $3",
                PROJECTION,
                RAW,
                self._identity,
            )
        return {int(row["partition"]): int(row["next_offset"]) for row in rows}

    async def _ask_rebirths_forever(self) -> None:
        """Ask nodes for their births where the historian wants them: each at most once a second."""
        while True:
            await asyncio.sleep(REBIRTHS_S)
            async with self._database.session() as session:
                rows = await session.fetch(
                    "UPDATE agent SET rebirth_wanted = NULL, rebirth_asked = now() WHERE rebirth_wanted IS NOT NULL "
                    "AND (rebirth_asked IS NULL OR rebirth_asked < now() - interval '1 second') "
                    "RETURNING group_name, name"
                )
            for row in rows:
                agent = AgentName(str(row["group_name"]), str(row["name"]))
                self._broker.publish(Message(_command_topic(agent), rebirth_command(self._clock.now_ns() // 1_000_000)))
                emit(RebirthAsked(str(agent)))


def _spans(positions: Sequence[Position]) -> dict[int, tuple[int, int]]:
    """By partition, the first offset of an append and the one after its last."""
    spans: dict[int, tuple[int, int]] = {}
    for position in positions:
        first, end = spans.get(position.partition, (position.next_offset - 1, position.next_offset))
        spans[position.partition] = min(first, position.next_offset - 1), max(end, position.next_offset)
    return spans


def _command_topic(agent: AgentName) -> str:
    return str(Topic(agent, Verb.NCMD))
