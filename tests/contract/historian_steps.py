"""A historian between a real event log and a real PostgreSQL, and what it stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import Counter

from cloud_ingest.event_log.topics import RAW, raw_record, topic_specs
from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian.historian import Historian
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from cloud_ingest.historian.samples_topic import SamplesTopic
from cloud_ingest.store.migrate import migrate
from connectors.kafka.event_log import open_event_log as open_kafka_log
from connectors.model.back_off import BackOff
from connectors.model.datatypes import DataType
from connectors.model.errors import OffsetMoved
from connectors.ports.clock import Clock, SystemClock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog
from connectors.postgres.database import PostgresDatabase, open_database
from connectors.postgres.event_log import open_event_log as open_postgres_log
from connectors.sparkplug.delivery import format_epoch
from tests.contract.logs_under_test import kafka_settings
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Row, Wire
from tests.servers.kafka import KafkaServer

PARTITIONS: Final = 2
RETENTION_DAYS: Final = 400
DAY_S: Final = 86_400


class RawLog(Protocol):
    """Where the raw messages are: on PostgreSQL, in the historian's own database, or on Kafka."""

    async def open(self) -> EventLog: ...
    async def clear(self) -> None: ...


class RawLogOnPostgres:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def open(self) -> EventLog:
        return await open_postgres_log(self._dsn, connections_max=4, application_name="tests")

    async def clear(self) -> None:
        """The database goes with the test."""


class RawLogOnKafka:
    def __init__(self, server: KafkaServer) -> None:
        self._server = server

    async def open(self) -> EventLog:
        settings = kafka_settings(self._server.bootstrap, record_size="4MiB")
        return await open_kafka_log(settings, name="tests")

    async def clear(self) -> None:
        new_admin: Any = AIOKafkaAdminClient
        admin = new_admin(bootstrap_servers=self._server.bootstrap)
        await admin.start()
        try:
            names = set(topic_specs(PARTITIONS, 7 * DAY_S)) & set(await admin.list_topics())
            if names:
                await admin.delete_topics(list(names))
            async with asyncio.timeout(WAIT_S_MAX):
                while names & set(await admin.list_topics()):  # noqa: ASYNC110 # another program's doing
                    await asyncio.sleep(0.02)
        finally:
            await admin.close()


class Plant:
    """One historian at a time (or several, on purpose), the log before it, and the database behind it."""

    def __init__(self, raw_log: RawLog, dsn: str, database: Database, log: EventLog, clock: Clock) -> None:
        self.database, self.log, self.clock = database, log, clock
        self.topics = topic_specs(PARTITIONS, 7 * DAY_S)
        self.identity = ""
        self._raw_log, self._dsn = raw_log, dsn
        self._projectors: dict[int, Projector] = {}

    async def append(self, *wires: Wire, received_ms: int | None = None) -> None:
        """Messages, as the bridge writes them."""
        now_ms = time.time_ns() // 1_000_000 if received_ms is None else received_ms
        records = []
        for topic, payload in wires:
            parts = topic.split("/")
            key = f"{parts[1]}/{parts[3]}" if len(parts) > 3 else topic
            records.append(raw_record(key, topic, payload, now_ms))
        await self.log.append(RAW, records)

    @asynccontextmanager
    async def projecting(
        self, *, publish_samples: bool = False, own_connections: bool = False, reorder_ms: int = 2000
    ) -> AsyncIterator[list[int]]:
        """Projectors of all partitions, without the membership in a group that finds them.

        Each begins anew when another one has taken its partition over; the list has one number for each time.
        """
        database: PostgresDatabase | None = None
        if own_connections:
            database = await open_database(self._dsn, connections_max=8, application_name="tests")
        used = self.database if database is None else database
        partitions = Partitions(used, self.clock, RETENTION_DAYS)
        await partitions.prepare()
        samples = SamplesTopic(self.log) if publish_samples else None
        stores = Stores(used, self.log, partitions, samples, self.clock, reorder_ms=reorder_ms)
        taken_over: list[int] = []
        async with tasks_of(self._project(stores, number, taken_over) for number in range(PARTITIONS)):
            yield taken_over
        if database is not None:
            await database.close()

    async def _project(self, stores: Stores, number: int, taken_over: list[int]) -> None:
        while True:
            projector = self._projectors[number] = Projector(stores, self.identity, number)
            try:
                await projector.run(BackOff(0.05, 0.2))
            except OffsetMoved:
                taken_over.append(number)

    @asynccontextmanager
    async def historian(self, *, publish_samples: bool = False) -> AsyncIterator[asyncio.Task[None]]:
        """The whole role, with connections of its own."""
        database = await open_database(self._dsn, connections_max=8, application_name="tests")
        log = await self._raw_log.open()
        historian = Historian(
            database,
            log,
            self.clock,
            topics=self.topics,
            retention_days=RETENTION_DAYS,
            publish_samples=publish_samples,
        )
        try:
            async with tasks_of([historian.run()]) as tasks:
                yield tasks[0]
        finally:
            await log.close()
            await database.close()

    async def caught_up(self, within_s: float = WAIT_S_MAX) -> None:
        """Wait until everything in the log is stored."""
        async with asyncio.timeout(within_s):
            ends = await self.log.end_offsets(RAW)
            while await self.places() != {number: end for number, end in ends.items() if end}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def project(self, *wires: Wire, **options: Any) -> None:
        """Append ``wires`` and have them stored by a historian that is started for it and stopped afterwards.

        It has heard of its commit, too: what it counts follows then.
        """
        await self.append(*wires)
        async with self.projecting(**options):
            await self.caught_up()
            ends = await self.log.end_offsets(RAW)
            async with asyncio.timeout(WAIT_S_MAX):
                while any(one.next_offset < ends[number] for number, one in self._projectors.items()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def places(self) -> dict[int, int]:
        rows = await self.fetch(
            "SELECT partition, next_offset FROM projection WHERE topic_identity = $1 AND next_offset > 0", self.identity
        )
        return {row["partition"]: row["next_offset"] for row in rows}

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a query of the test's own."""
        async with self.database.session() as session:
            return list(await session.fetch(sql, *args))

    async def rows(self, agent: PlayedAgent | str) -> list[Row]:
        """All stored samples of an agent, as they come back to a reader."""
        name = agent if isinstance(agent, str) else str(agent.name)
        found = await self.fetch(
            "SELECT device, tag.name, (extract(epoch FROM time) * 1000000)::bigint AS time_us, quality, datatype, "
            "value_double, value_int, value_bool, value_text, value_bytes, "
            "num_nonnulls(value_double, value_int, value_bool, value_text, value_bytes) AS filled "
            "FROM sample_all AS sample JOIN tag USING (tag_id) JOIN agent USING (agent_id) "
            "WHERE group_name || '/' || agent.name = $1",
            name,
        )
        return [_row(row) for row in found]

    async def epoch(self, agent: PlayedAgent) -> dict[str, Any]:
        """What the ledger says of one start of an agent; empty when it knows nothing of it."""
        for entry in await ledger_of(self.database, str(agent.name)):
            for epoch in entry["epochs"]:
                if epoch["epoch"] == format_epoch(agent.epoch):
                    return dict(epoch)
        return {}

    async def reasons(self) -> list[str]:
        """Why messages were set aside, in order."""
        return [row["reason"] for row in await self.fetch("SELECT reason FROM dead_letter ORDER BY dead_letter_id")]

    async def tables(self) -> dict[str, int]:
        """How many samples each partition has, empty ones left out."""
        rows = await self.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM sample GROUP BY 1")
        return {row["name"]: row["n"] for row in rows}


@asynccontextmanager
async def plant(raw_log: RawLog, dsn: str, *, clock: Clock | None = None) -> AsyncIterator[Plant]:
    """A database with its tables, and topics in the log."""
    database = await open_database(dsn, connections_max=8, application_name="tests")
    log = await raw_log.open()
    made = Plant(raw_log, dsn, database, log, SystemClock() if clock is None else clock)
    try:
        await migrate(database)
        for spec in made.topics.values():
            state = await log.ensure(spec)
            if spec.name == RAW:
                made.identity = state.identity
        yield made
    finally:
        await log.close()
        await database.close()
        await raw_log.clear()


@asynccontextmanager
async def tasks_of(works: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """``works`` as tasks, cancelled at the end; a defect in one of them is the test's."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                if task in failed:
                    task.exception()
                else:
                    await task
    for task in failed:
        task.result()


async def eventually(condition: Callable[[], Coroutine[Any, Any, object]], within_s: float = WAIT_S_MAX) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 # it is about what another task did
            await asyncio.sleep(0.02)


class Counted:
    """By how much counters grew since the test began."""

    def __init__(self, *counters: Counter) -> None:
        self._before = {counter: self._value(counter) for counter in counters}

    def grown(self) -> list[float]:
        return [self._value(counter) - before for counter, before in self._before.items()]

    async def are(self, wanted: list[float]) -> bool:
        """Whether they have grown so far: metrics follow a moment after the commit."""
        return self.grown() == wanted

    @staticmethod
    def _value(counter: Counter) -> float:
        return sum(s.value for metric in counter.collect() for s in metric.samples if s.name.endswith("_total"))


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows for a comparison; a value that is not a number equals itself."""
    return sorted((row._replace(value=repr(row.value)) for row in rows), key=repr)


def expected_rows(agents: Iterable[PlayedAgent]) -> list[Row]:
    """What is stored when every batch of ``agents`` is."""
    return [row for agent in agents for rows in agent.rows.values() for row in rows]


def _row(row: Any) -> Row:
    assert row["filled"] <= 1, "one value in two columns"
    columns = ("value_double", "value_int", "value_bool", "value_text", "value_bytes")
    value = next((row[column] for column in columns if row[column] is not None), None)
    if row["datatype"] == DataType.UINT64 and isinstance(value, str):
        value = int(value)
    return Row(row["device"], row["name"], row["time_us"], value, row["quality"])
