"""The three event logs behind one face, with what the contract suite has to do to their servers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from lineside.servers.postgres import PostgresServer

from connectors.kafka.event_log import open_event_log as open_kafka_log
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import EventLog
from connectors.ports.memory_event_log import MemoryEventLog, MemoryLogServer
from connectors.postgres.database import open_database
from connectors.postgres.event_log import open_event_log as open_postgres_log
from tests.patience import WAIT_S_MAX
from tests.servers.kafka import KafkaServer

RECORD_BYTES_MAX: Final = 100_000
SLOW: Final = b"slow"
"""Appends with this key commit late, where a log has commits."""
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


class Member(Protocol):
    """A member of a group that lives outside of the test."""

    async def partitions_after(self, wanted: Callable[[frozenset[int]], bool]) -> frozenset[int]:
        """The first assignment that is as ``wanted``."""
        ...

    async def kill(self) -> None:
        """End it without a word."""
        ...


class LogUnderTest(Protocol):
    """A server of event logs."""

    timeout_s: float
    """Within this time, a call says that the server is away, and a member that died is replaced."""
    retention_follows: bool
    """Whether the retention of a topic that exists is changed by ``ensure``: not in a cluster that others run."""

    async def open(self) -> EventLog: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def delete_topic(self, topic: str) -> None: ...
    async def forget_below(self, topic: str, partition: int, offset: int) -> None: ...
    async def commit_slowly(self, topic: str, wait_s: float) -> None: ...
    async def member(self, topic: str, group: str) -> Member: ...


class TaskMember:
    """A member in a task of the test itself: at its end it leaves the group in an orderly way."""

    def __init__(self, log: EventLog, topic: str, group: str) -> None:
        self._assignments: asyncio.Queue[frozenset[int]] = asyncio.Queue()
        self._task = asyncio.create_task(self._follow(log, topic, group))

    async def _follow(self, log: EventLog, topic: str, group: str) -> None:
        async with log.assigned(topic, group) as changes:
            async for partitions in changes:
                self._assignments.put_nowait(partitions)

    async def partitions_after(self, wanted: Callable[[frozenset[int]], bool]) -> frozenset[int]:
        while not wanted(partitions := await self._assignments.get()):
            pass
        return partitions

    async def ended(self) -> None:
        """Return or raise as its membership does."""
        await self._task

    async def kill(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, EventLogUnavailable):
            await self._task


class _Process:
    """A member in a process of its own, which writes one line for each assignment (see ``group_member``)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, kind: str, address: str, topic: str, group: str) -> _Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.group_member", kind, address, topic, group,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_CHECKOUT,
        )  # fmt: skip
        return cls(process)

    async def partitions_after(self, wanted: Callable[[frozenset[int]], bool]) -> frozenset[int]:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if wanted(partitions := frozenset(json.loads(line))):
                return partitions
        raise AssertionError("the member ended")

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


class MemoryUnderTest:
    timeout_s = 5.0
    retention_follows = True

    def __init__(self) -> None:
        self._server = MemoryLogServer()

    async def open(self) -> EventLog:
        if not self._server.available:
            raise EventLogUnavailable("the event log in memory is switched off")
        return MemoryEventLog(self._server, record_bytes_max=RECORD_BYTES_MAX)

    def kill(self) -> None:
        self._server.available = False

    def start(self) -> None:
        self._server.available = True

    pause = kill
    resume = start

    async def delete_topic(self, topic: str) -> None:
        del self._server.topics[topic]

    async def forget_below(self, topic: str, partition: int, offset: int) -> None:
        self._server.forget_below(topic, partition, offset)

    async def commit_slowly(self, topic: str, wait_s: float) -> None:
        pass  # an append is one step here

    async def member(self, topic: str, group: str) -> Member:
        return TaskMember(await self.open(), topic, group)


class PostgresUnderTest:
    timeout_s = 20.0
    retention_follows = True

    def __init__(self, server: PostgresServer, dsn: str) -> None:
        self._server = server
        self._dsn = dsn

    async def open(self) -> EventLog:
        return await open_postgres_log(
            self._dsn, connections_max=4, application_name="tests", record_bytes_max=RECORD_BYTES_MAX
        )

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    async def delete_topic(self, topic: str) -> None:
        await self.sql(f"DROP TABLE {await self.table(topic)}", f"DELETE FROM event_log.topic WHERE name = '{topic}'")

    async def forget_below(self, topic: str, partition: int, offset: int) -> None:
        table = await self.table(topic)
        await self.sql(f'DELETE FROM {table} WHERE partition = {partition} AND "offset" < {offset}')

    async def commit_slowly(self, topic: str, wait_s: float) -> None:
        """A constraint that is checked at the commit, and takes its time: what was appended stays unseen until then."""
        table = await self.table(topic)
        await self.sql(
            f"""
            CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep({wait_s}); RETURN NULL; END $$
            """,
            f"""
            CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.key = '{SLOW.decode()}') EXECUTE FUNCTION wait()
            """,
        )

    async def member(self, topic: str, group: str) -> Member:
        return await _Process.start("postgres", self._dsn, topic, group)

    async def table(self, topic: str) -> str:
        rows = await self.rows("SELECT topic_id FROM event_log.topic WHERE name = $1", topic)
        return f"event_log.records_{rows[0]['topic_id']}"

    async def sql(self, *statements: str) -> None:
        async with _database(self._dsn) as database, database.session() as session:
            for statement in statements:
                await session.execute(statement)

    async def rows(self, query: str, *args: Any) -> Any:
        async with _database(self._dsn) as database, database.session() as session:
            return await session.fetch(query, *args)


class KafkaUnderTest:
    timeout_s = 40.0
    retention_follows = False

    def __init__(self, server: KafkaServer) -> None:
        self._server = server

    async def open(self) -> EventLog:
        return await open_kafka_log(kafka_settings(self._server.bootstrap), name="tests")

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    async def delete_topic(self, topic: str) -> None:
        async with _admin(self._server) as admin:
            await admin.delete_topics([topic])
            async with asyncio.timeout(WAIT_S_MAX):
                while topic in await admin.list_topics():  # noqa: ASYNC110 # another program's doing
                    await asyncio.sleep(0.05)

    async def forget_below(self, topic: str, partition: int, offset: int) -> None:
        up_to: Any = RecordsToDelete
        async with _admin(self._server) as admin:
            await admin.delete_records({TopicPartition(topic, partition): up_to(before_offset=offset)})

    async def commit_slowly(self, topic: str, wait_s: float) -> None:
        pass  # the leader writes one batch after the other

    async def member(self, topic: str, group: str) -> Member:
        return await _Process.start("kafka", self._server.bootstrap, topic, group)


def kafka_settings(bootstrap: str, **changes: Any) -> KafkaLog:
    """One broker, without TLS, that takes records of ``RECORD_BYTES_MAX``."""
    return KafkaLog.model_validate(
        {
            "brokers": (bootstrap,),
            "insecure": True,
            "replication": 1,
            "in_sync": 1,
            "record_size": f"{RECORD_BYTES_MAX}B",
            "timeout": "5s",
            "session_timeout": "6s",
            **changes,
        }
    )


async def open_log(kind: str, address: str) -> EventLog:
    """A log from the command line of ``group_member``."""
    opened: dict[str, Callable[[], Awaitable[EventLog]]] = {
        "kafka": lambda: open_kafka_log(kafka_settings(address), name="member"),
        "postgres": lambda: open_postgres_log(address, connections_max=2, application_name="member"),
    }
    return await opened[kind]()


@asynccontextmanager
async def _database(dsn: str) -> AsyncIterator[Any]:
    database = await open_database(dsn, connections_max=1, application_name="tests")
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _admin(server: KafkaServer) -> AsyncIterator[Any]:
    new_admin: Any = AIOKafkaAdminClient
    admin = new_admin(bootstrap_servers=server.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
