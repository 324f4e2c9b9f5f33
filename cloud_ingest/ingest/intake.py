"""From the broker's messages to the event log, and from the log to what may be acknowledged.

Nothing is kept here that its sender does not keep. Back-pressure: while the log takes nothing, nothing is acknowledged;
when ``pending_bytes_max`` bytes wait, batches that come are dropped, which their agents send again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.event_log.topics import DEFINITIONS, RAW, REPORTS
from cloud_ingest.historian.storing import PROJECTION
from cloud_ingest.ingest.acknowledging import Acknowledging
from cloud_ingest.ingest.confirming import confirmed
from cloud_ingest.ingest.lag_guard import LagGuard
from cloud_ingest.ingest.pace import AppendPace
from cloud_ingest.ingest.pending import Pending, Taken, batch_of
from cloud_ingest.ingest.refusing import Refusing
from cloud_ingest.ingest.reports_ahead import ReportsAhead
from cloud_ingest.observability.ingest_events import (
    AcknowledgementsSent,
    Appended,
    AppendFailed,
    LogEndLost,
    MessagesDropped,
    MessagesTakenAgain,
)
from cloud_ingest.observability.metrics import MESSAGES_DROPPED, PENDING_BYTES
from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, RecordRefused, StatementRefused
from connectors.observability.events import emit
from connectors.ports.broker import BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, Position, TopicSpec
from connectors.sparkplug.delivery import encode_acknowledgement
from connectors.sparkplug.topics import Topic, Verb

RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
PLACES_S: Final = 0.05
APPEND_MESSAGES_MAX: Final = 1000
APPEND_S_CERTAIN: Final = 1.0
"""Within a shorter append, no log has been started again: what it said before still holds."""
SETTLE_S_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """Settings of the intake; see ``IngestSettings`` in the configuration."""

    acknowledge: Literal["logged", "projected", "auto"]
    ack_interval_s: float
    pending_bytes_max: int


class Intake:
    """What was taken from the broker and is not acknowledged yet."""

    def __init__(
        self, options: IntakeOptions, log: EventLog, database: Database, clock: Clock, topics: Mapping[str, TopicSpec]
    ) -> None:
        self._options = options
        self._log = log
        self._database = database
        self._clock = clock
        self._topics = topics
        self.pending = Pending(options.pending_bytes_max)
        self.acknowledging = Acknowledging()
        self._arrived = asyncio.Event()
        self._dropping = False
        self.pace = AppendPace(clock)
        self.guard = LagGuard(log, clock, topics[RAW], self._places)
        self._identity = ""
        self._waits_for_projection = False
        self._certain: set[int] = set()  # partitions of which it is known that the historian does not stand beyond
        self._settled = asyncio.Event()
        self._settled.set()
        self.refusing = Refusing(database, self.acknowledging)
        self.reports = ReportsAhead(log)

    def take(self, taken: Taken) -> None:
        """A message from the broker; it is dropped, and counted, when too many wait.

        While the historian is so far behind that the log might delete what it has not read, no batch is taken.
        """
        if self.guard.is_holding_back and batch_of(taken) is not None:
            MESSAGES_DROPPED.inc()
            return
        if not self.pending.takes(taken):
            MESSAGES_DROPPED.inc()
            if not self._dropping:
                emit(MessagesDropped(self.pending.size_bytes))
            self._dropping = True
            return
        self.pending.add(taken)
        self._arrived.set()
        if taken.has_report:
            self.reports.add(taken)

    async def prepare(self) -> None:
        """Have the topics, and know when a batch is safe in them. Raises ``EventLogUnavailable``."""
        state = await self._log.ensure(self._topics[RAW])
        await self._log.ensure(self._topics[DEFINITIONS])
        await self._log.ensure(self._topics[REPORTS])
        if state.identity != self._identity:
            self.acknowledging.forget_waiting()
            self.reports.forget_appended()
        self._identity = state.identity
        self.guard.is_as(state)
        acknowledge = self._options.acknowledge
        self._waits_for_projection = acknowledge == "projected" or (
            acknowledge == "auto" and not state.survives_power_loss
        )

    async def append_forever(self) -> None:
        """Append what is taken, until cancelled."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        if len(self.pending):
            self._arrived.set()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            messages = self.pending.take_all()
            PENDING_BYTES.set(self.pending.size_bytes)
            while messages:
                part, messages = messages[:APPEND_MESSAGES_MAX], messages[APPEND_MESSAGES_MAX:]
                self._settled.clear()
                try:
                    with self.pace.measured():
                        await self._append(part)
                    self.pending.still_taken(messages)
                    self._settled.set()
                    back_off.reset()
                except asyncio.CancelledError:
                    self.pending.put_back([*part, *messages])  # the task may be started again
                    raise
                except (EventLogUnavailable, DatabaseUnavailable, StatementRefused) as exc:
                    self.is_uncertain()
                    self.pending.put_back([*part, *messages])
                    PENDING_BYTES.set(self.pending.size_bytes)
                    wait_s = back_off.next_s()
                    emit(AppendFailed(reason_of(exc), len(self.pending), round(wait_s, 1)))
                    await asyncio.sleep(wait_s)
                    self._arrived.set()
                    break
            PENDING_BYTES.set(self.pending.size_bytes)
            if self._dropping and not self.pending.is_full:
                self._dropping = False
                emit(MessagesTakenAgain(self.pending.size_bytes))

    async def _append(self, messages: list[Taken]) -> None:
        """Append ``messages``; when that fails half-way, those that are done with are no longer among them."""
        started_s = self._clock.monotonic_s()
        try:
            positions = await self._append_together(messages)
        except RecordRefused:
            while messages:
                await self._append_alone(messages[0])
                self.reports.forget(messages[:1])
                del messages[0]
            return
        self.reports.forget(messages)
        for taken, position in zip(messages, positions, strict=True):
            self._durable(taken, position)
        size = sum(len(taken.record.value) for taken in messages)
        emit(Appended(len(messages), size, self._clock.monotonic_s() - started_s))

    async def _append_together(self, messages: Sequence[Taken]) -> Sequence[Position]:
        definitions = [record for taken in messages if (record := taken.definition) is not None]
        if definitions:
            await self._log.append(DEFINITIONS, definitions)
        await self.reports.appended(messages)
        records = [taken.record for taken in messages]
        if not self._waits_for_projection:
            return await self._log.append(RAW, records)
        touched = {self._log.partition_of(RAW, record.key) for record in records}
        before = {} if touched <= self._certain else await self._places_if_known()
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
        lost = self.acknowledging.appended(spans)
        for number, end in lost.items():
            emit(LogEndLost(RAW, number, end, spans[number][0]))
        if lost:
            with contextlib.suppress(EventLogUnavailable):
                await self.prepare()
        places = before
        if lost or took_s > APPEND_S_CERTAIN:
            self._certain.clear()
            places = await self._places_if_known()
        self._certain = self._certain - spans.keys() if places is None else self._certain | spans.keys()
        unknown = {number: end for number, (_, end) in spans.items()}
        self.acknowledging.stands_beyond(unknown if places is None else places, spans)

    def is_uncertain(self) -> None:
        """The log may have lost its end, and have taken others in its place, without our seeing it."""
        self._certain.clear()
        self.acknowledging.forget_appended()
        self.reports.forget_appended()

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
            await self.refusing.refuse(taken, str(exc))
            return
        self._durable(taken, position)

    def _durable(self, taken: Taken, position: Position) -> None:
        key = batch_of(taken)
        if key is None:
            return
        if self._waits_for_projection:
            self.acknowledging.wait_for_projection(key, position.partition, position.next_offset)
        else:
            self.acknowledging.logged(key)

    async def acknowledge_forever(self, broker: BrokerSession) -> None:
        """Tell the agents on ``broker`` what is safe. Raises ``BrokerUnavailable`` and ``DatabaseUnavailable``."""
        while True:
            await asyncio.sleep(PLACES_S if self.acknowledging.wants_places else self._options.ack_interval_s)
            if self.acknowledging.wants_places:
                await self._pass_projected()
            count = 0
            for agent, acks in self.acknowledging.take():
                payload = encode_acknowledgement(acks, self._clock.now_ns() // 1_000_000)
                broker.publish(Message(command_topic(agent), payload))
                count += sum(len(ack.batches) for ack in acks)
            if count:
                emit(AcknowledgementsSent(count))

    async def _pass_projected(self) -> None:
        """Acknowledge what the historian has passed, unless an append may have found that the log has lost its end.

        Other processes append, too: a log can lose its end and grow again without our seeing it. So a place only says
        when to look; whether the batch is stored, the ledger itself is asked. What it does not have comes again.
        """
        places = await self._places()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S_MAX):
                await self._settled.wait()
            passed = self.acknowledging.passed(places)
            for key in await confirmed(self._database, passed):
                self.acknowledging.logged(key)

    async def watch_lag_forever(self) -> None:
        """Take no batch while the historian is so far behind that the log may delete what it has not read."""
        await self.guard.watch_forever()

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


def _spans(positions: Sequence[Position]) -> dict[int, tuple[int, int]]:
    """By partition, the first offset of an append and the one after its last."""
    spans: dict[int, tuple[int, int]] = {}
    for position in positions:
        first, end = spans.get(position.partition, (position.next_offset - 1, position.next_offset))
        spans[position.partition] = min(first, position.next_offset - 1), max(end, position.next_offset)
    return spans


def command_topic(agent: AgentName) -> str:
    """Where ``agent`` hears of what the host wants."""
    return str(Topic(agent, Verb.NCMD))
