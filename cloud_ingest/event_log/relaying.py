"""From the outbox of events to their topics: in order, at least once. One process at a time does it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from cloud_ingest.event_log.announcing import CHANNEL, lock_topics
from cloud_ingest.event_log.domain_events import event_record, read_event
from cloud_ingest.event_log.patience import alone, patiently
from cloud_ingest.observability.events import StoreReached
from cloud_ingest.observability.obstacles import EVENTS, OBSTACLES
from cloud_ingest.observability.platform_events import EventNotPublished, EventNumbersPassed
from connectors.model.back_off import BackOff
from connectors.model.errors import PayloadInvalid, RecordRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.stopping import Tasks

LOCK: Final = "lineside events"
AT_ONCE_MAX: Final = 500
LOOK_S: Final = 5.0
PRUNE_S: Final = 600.0
KEPT_DAYS: Final = 7
"""So long a published event stays in the outbox: clients of the gateway that were away read on from there."""
READ_WAIT_S: Final = 2.0
READ_BYTES_MAX: Final = 1024 * 1024
RETRY_FIRST_S: Final = 0.5
RETRY_LONGEST_S: Final = 15.0
_NUMBERS: Final = "event_outbox_number_seq"
_NUMBER_ANEW: Final = (
    "WITH waiting AS (DELETE FROM event_outbox USING (SELECT topic AS of, max(number) AS number FROM "
    "(SELECT topic, number FROM event_relay UNION ALL SELECT DISTINCT topic, 0 FROM event_outbox) AS each "
    "GROUP BY topic) AS published WHERE topic = of AND event_outbox.number > published.number "
    "RETURNING event_outbox.*) "
    "INSERT INTO event_outbox (number, tenant_id, topic, key, event, created) OVERRIDING SYSTEM VALUE "
    "SELECT $1 + row_number() OVER (ORDER BY number), tenant_id, topic, key, event, created FROM waiting"
)


class EventRelay:
    """Publishes the events of ``topics``."""

    def __init__(self, database: Database, log: EventLog, clock: Clock, topics: Mapping[str, TopicSpec]) -> None:
        self._database = database
        self._log = log
        self._clock = clock
        self._topics = topics

    def facts(self) -> dict[str, Any]:
        """What ``cloud-ingest status`` shows of this part: nothing of its own."""
        return {}

    async def run(self) -> None:
        """Publish until cancelled; what is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)

        async def relay() -> None:
            for topic in self._topics.values():
                await self._log.ensure(topic)
            work = partial(self._as_the_one, back_off)
            await alone(self._database, LOCK, "the event relay", work, standing_by=back_off.reset)

        await patiently(EVENTS, back_off, relay)

    async def _as_the_one(self, back_off: BackOff) -> None:
        await self.pass_numbers_of_the_log()
        async with Tasks() as tasks:
            tasks.create_task(self._publish_forever(back_off), name="events publish")
            tasks.create_task(self._prune_forever(), name="events prune")

    async def pass_numbers_of_the_log(self) -> None:
        """Number what is not published behind all that is in the log: a number that is used twice is taken once.

        A database that was restored from a backup goes on with numbers that the log has already, and whoever reads
        would take new events for old ones. Raises ``DatabaseUnavailable`` and ``EventLogUnavailable``.
        """
        newest = max([0, *[await self._newest_number(topic) for topic in self._topics]])
        async with self._database.transaction() as session:
            await lock_topics(session, self._topics)  # nobody numbers anything meanwhile
            (row,) = await session.fetch(f"SELECT last_value FROM {_NUMBERS}")  # noqa: S608  a constant
            known = int(row["last_value"])
            if known >= newest:
                return
            await session.execute(_NUMBER_ANEW, newest)
            await session.fetch(
                "SELECT setval($1::regclass, greatest($2, coalesce((SELECT max(number) FROM event_outbox), 0)))",
                _NUMBERS,
                newest,
            )
        emit(EventNumbersPassed(known, newest))

    async def _newest_number(self, topic: str) -> int:
        """The highest number among the last events in the log; 0 where there are none."""
        newest = 0
        for partition, end in (await self._log.end_offsets(topic)).items():
            following = max(0, end - AT_ONCE_MAX)  # what was published together may stand there twice, in part
            if following == end:
                continue
            async with self._log.reader(topic, partition, following) as reader:
                while following < end and (records := await reader.read(READ_WAIT_S, READ_BYTES_MAX)):
                    following = records[-1].offset + 1
                    for record in records:
                        with contextlib.suppress(PayloadInvalid):  # nothing of ours, and nobody's number
                            newest = max(newest, read_event(record).number)
        return newest

    async def _publish_forever(self, back_off: BackOff) -> None:
        async with self._database.notified(CHANNEL) as woken:
            while True:
                while await self.publish():
                    pass
                back_off.reset()
                if OBSTACLES.reason(EVENTS):
                    emit(StoreReached(EVENTS))
                await woken.wait(LOOK_S)

    async def publish(self) -> int:
        """Publish the next events of every topic; how many there were."""
        return sum([await self._publish(topic) for topic in self._topics])

    async def _publish(self, topic: str) -> int:
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT number, key, event FROM event_outbox WHERE topic = $1 AND number > "
                "coalesce((SELECT number FROM event_relay WHERE topic = $1), 0) ORDER BY number LIMIT $2",
                topic,
                AT_ONCE_MAX,
            )
        if not rows:
            return 0
        now_ms = self._clock.now_ns() // 1_000_000
        records = [event_record(topic, row["number"], row["key"], row["event"], now_ms) for row in rows]
        try:
            await self._log.append(topic, records)
        except RecordRefused:
            for record in records:  # one that the log will never take keeps no other from being published
                try:
                    await self._log.append(topic, [record])
                except RecordRefused as exc:
                    emit(EventNotPublished(topic, record.key.decode(), str(exc)))
        async with self._database.session() as session:
            await session.execute(
                "INSERT INTO event_relay (topic, number) VALUES ($1, $2) "
                "ON CONFLICT (topic) DO UPDATE SET number = greatest(event_relay.number, excluded.number)",
                topic,
                rows[-1]["number"],
            )
        return len(rows)

    async def _prune_forever(self) -> None:
        while True:
            async with self._database.session() as session:
                await session.execute(
                    "DELETE FROM event_outbox USING event_relay WHERE event_relay.topic = event_outbox.topic "
                    "AND event_outbox.number <= event_relay.number AND created < now() - make_interval(days => $1)",
                    KEPT_DAYS,
                )
                await session.execute(
                    "DELETE FROM idempotency_key WHERE created < now() - make_interval(days => $1)", KEPT_DAYS
                )
            await asyncio.sleep(PRUNE_S)
