"""The event log's contract, on every implementation: in memory, on a real PostgreSQL and on a real Kafka."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import pytest

from connectors.model.errors import EventLogUnavailable, RecordRefused
from connectors.ports.event_log import Cleanup, EventLog, LogRecord, Position, Record, TopicSpec
from connectors.postgres import event_log as postgres_event_log
from tests.contract.logs_under_test import (
    RECORD_BYTES_MAX,
    SLOW,
    KafkaUnderTest,
    LogUnderTest,
    Member,
    MemoryUnderTest,
    PostgresUnderTest,
    TaskMember,
)

_topic_numbers: Final = count(1)
MEBIBYTE: Final = 1 << 20


@pytest.fixture(
    params=[
        "memory",
        "postgres",
        pytest.param("kafka", marks=pytest.mark.kafka),
    ]
)
def server(request: pytest.FixtureRequest) -> Iterator[LogUnderTest]:
    log_server: LogUnderTest
    if request.param == "memory":
        log_server = MemoryUnderTest()
    elif request.param == "postgres":
        dsn = request.getfixturevalue("database_dsn")
        log_server = PostgresUnderTest(request.getfixturevalue("postgres_server"), dsn)
    else:
        log_server = KafkaUnderTest(request.getfixturevalue("kafka_server"))
    yield log_server
    log_server.start()


@asynccontextmanager
async def opened(server: LogUnderTest) -> AsyncIterator[EventLog]:
    log = await server.open()
    try:
        yield log
    finally:
        await log.close()


async def new_topic(log: EventLog, partitions: int = 1) -> str:
    topic = f"contract.{next(_topic_numbers)}"
    await log.ensure(TopicSpec(topic, partitions))
    return topic


def record(text: str, key: bytes = b"key") -> Record:
    return Record(key, text.encode(), time_ms=1_700_000_000_000)


async def read_all(
    log: EventLog, topic: str, partition: int = 0, offset: int = 0, *, until: int | None = None
) -> list[LogRecord]:
    """The records of a partition up to its end now, or up to the offset ``until``."""
    end = (await log.end_offsets(topic))[partition] if until is None else until
    found: list[LogRecord] = []
    async with log.reader(topic, partition, offset) as reader:
        while (found[-1].offset + 1 if found else offset) < end:
            found += await reader.read(1.0, MEBIBYTE)
    return found


async def unavailable(call: Callable[[], Awaitable[object]], within_s: float) -> None:
    began_s = time.monotonic()
    with pytest.raises(EventLogUnavailable):
        await asyncio.wait_for(call(), within_s)
    assert time.monotonic() - began_s < within_s


async def recovered(call: Callable[[], Awaitable[object]], within_s: float = 20.0) -> None:
    """Repeat ``call`` until it works again, as every caller does."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await call()
            except EventLogUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_records_come_back_as_they_were_appended(server: LogUnderTest) -> None:
    records = [
        Record(b"a/b", b"value", 1, (("kind", b"\x00\x01"), ("größe", b""))),
        Record(b"", b"", 1_700_000_000_000),
        Record("schlüssel".encode(), os.urandom(50_000), 2_000, (("kind", b"x"), ("kind", b"y"))),
    ]
    async with opened(server) as log:
        topic = await new_topic(log)
        positions = await log.append(topic, records)
        assert positions == [Position(0, 1), Position(0, 2), Position(0, 3)]
        found = await read_all(log, topic)
    assert found == [LogRecord(n, r.key, r.value, r.time_ms, r.headers) for n, r in enumerate(records)]
    assert found[0].header("kind") == b"\x00\x01"


async def test_records_of_one_key_stay_in_order_in_one_partition(server: LogUnderTest) -> None:
    keys = [f"plant/{n}".encode() for n in range(20)]
    async with opened(server) as log, opened(server) as other:
        topic = await new_topic(log, partitions=4)
        appended: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        next_offsets: defaultdict[int, int] = defaultdict(int)
        for turn in range(5):
            batch = [record(f"{turn}", key) for key in keys]
            for position, one in zip(await log.append(topic, batch), batch, strict=True):
                assert position.partition == log.partition_of(topic, one.key)
                next_offsets[position.partition] += 1
                assert position.next_offset == next_offsets[position.partition], "offsets have a gap"
                appended[position.partition].append((one.key, one.value))
        assert len(appended) > 1
        ends = await other.end_offsets(topic)
        assert ends == {partition: next_offsets[partition] for partition in range(4)}
        for partition in range(4):
            found = await read_all(other, topic, partition)
            assert [(one.key, one.value) for one in found] == appended[partition]


async def test_offsets_continue_for_the_next_process(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1"), record("2")])
    async with opened(server) as log:
        assert await log.append(topic, [record("3")]) == [Position(0, 3)]
        assert [one.value for one in await read_all(log, topic, offset=1)] == [b"2", b"3"]


async def test_an_append_can_be_larger_than_a_batch_of_the_log(server: LogUnderTest) -> None:
    values = [os.urandom(12_000) for _ in range(200)]
    async with opened(server) as log:
        topic = await new_topic(log)
        positions = await log.append(topic, [Record(b"key", value, 1) for value in values])
        assert [position.next_offset for position in positions] == list(range(1, 201))
        assert [one.value for one in await read_all(log, topic)] == values


async def test_nothing_can_be_appended(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        assert list(await log.append(topic, [])) == []
        assert await log.end_offsets(topic) == {0: 0}


async def test_a_topic_is_made_once_whoever_asks_first(server: LogUnderTest) -> None:
    topic = f"contract.{next(_topic_numbers)}"
    async with opened(server) as one, opened(server) as other:
        states = await asyncio.gather(*(log.ensure(TopicSpec(topic, 3)) for log in (one, other, one, other)))
        states.append(await one.ensure(TopicSpec(topic, 5)))
    assert {state.identity for state in states} == {states[0].identity}
    assert {state.partitions for state in states} == {3}


async def test_a_topic_that_is_made_again_has_another_identity(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("old")])
        before = await log.ensure(TopicSpec(topic, 1))
        await server.delete_topic(topic)
        after = await log.ensure(TopicSpec(topic, 2))
        assert after.identity != before.identity
        assert after.partitions == 2
        await log.append(topic, [record("new")])
        found = [await read_all(log, topic, partition) for partition in range(2)]
        assert [one.value for records in found for one in records] == [b"new"]


async def test_a_compacted_topic_keeps_the_newest_of_each_key(server: LogUnderTest) -> None:
    topic = f"contract.{next(_topic_numbers)}"
    async with opened(server) as log:
        state = await log.ensure(TopicSpec(topic, 1, Cleanup.COMPACT))
        assert state.partitions == 1
        await log.append(topic, [record("1", b"a"), record("2", b"b"), record("3", b"a")])
        newest = {one.key: one.value for one in await read_all(log, topic)}
    assert newest == {b"a": b"3", b"b": b"2"}


async def test_a_topic_that_does_not_exist_is_an_error(server: LogUnderTest) -> None:
    async with opened(server) as log:
        await new_topic(log)
        with pytest.raises(EventLogUnavailable, match="no topic"):
            await log.append("contract.missing", [record("1")])


async def test_a_record_that_is_too_large_is_refused_and_nothing_else(server: LogUnderTest) -> None:
    too_large = Record(b"key", bytes(RECORD_BYTES_MAX + 10_000), 1)
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        with pytest.raises(RecordRefused, match="bytes"):
            await log.append(topic, [too_large])
        with pytest.raises(RecordRefused):
            await log.append(topic, [record("2"), too_large])
        await log.append(topic, [Record(b"key", bytes(RECORD_BYTES_MAX), 1)])
        await log.append(topic, [record("3")])
        assert [len(one.value) for one in await read_all(log, topic)] == [1, RECORD_BYTES_MAX, 1]


async def test_a_read_stops_at_its_bytes_but_gives_one_record(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [Record(b"key", bytes([n]) * 1000, 1) for n in range(10)])
        async with log.reader(topic, 0, 0) as reader:
            sizes = [len(await reader.read(1.0, bytes_max)) for bytes_max in (3_500, 1_000, 10, 2_000, 1_000_000)]
            assert sizes == [3, 1, 1, 2, 3]
            assert list(await reader.read(0.0, 1_000)) == []
            await log.append(topic, [record("next")])
            assert [one.value for one in await reader.read(1.0, 1_000)] == [b"next"]


async def test_reading_below_the_oldest_record_begins_with_it(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record(str(n)) for n in range(10)])
        await server.forget_below(topic, 0, 6)
        async with log.reader(topic, 0, 2) as reader:
            found = await reader.read(2.0, MEBIBYTE)
            assert [(one.offset, one.value) for one in found] == [(n, str(n).encode()) for n in range(6, 10)]
        await server.forget_below(topic, 0, 10)
        assert (await log.append(topic, [record("10")])) == [Position(0, 11)]
        assert [one.offset for one in await read_all(log, topic, offset=3, until=11)] == [10]


async def test_a_waiting_reader_wakes_up_at_once(server: LogUnderTest) -> None:
    async with opened(server) as log, opened(server) as other:
        topic = await new_topic(log)
        async with log.reader(topic, 0, 0) as reader:
            latencies_s = []
            for number in range(5):
                waiting = asyncio.create_task(reader.read(10.0, MEBIBYTE))
                await asyncio.sleep(0.3)
                assert not waiting.done()
                began_s = time.monotonic()
                await other.append(topic, [record(str(number))])
                assert [one.value for one in await waiting] == [str(number).encode()]
                latencies_s.append(time.monotonic() - began_s)
        assert sorted(latencies_s)[2] < 0.2


async def test_a_reader_for_which_nothing_comes_waits_its_time(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log, partitions=2)
        other_key = next(key for n in range(100) if log.partition_of(topic, key := str(n).encode()) == 1)
        async with log.reader(topic, 0, 0) as reader:
            began_s = time.monotonic()
            await log.append(topic, [record("elsewhere", other_key)])
            assert list(await reader.read(0.4, MEBIBYTE)) == []
            assert 0.3 < time.monotonic() - began_s < 2.0


async def test_a_cancelled_read_loses_nothing(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        found: list[LogRecord] = []
        async with log.reader(topic, 0, 0) as reader:
            for number in range(30):
                reading = asyncio.create_task(reader.read(10.0, MEBIBYTE))
                await asyncio.sleep(0.001 * (number % 5))
                await log.append(topic, [record(str(number))])
                await asyncio.sleep(0.0005 * (number % 7))
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled():
                    found += reading.result()
            while len(found) < 30:
                found += await reader.read(2.0, MEBIBYTE)
        assert [one.value for one in found] == [str(number).encode() for number in range(30)]


async def test_a_reader_misses_and_reorders_nothing_while_many_append(server: LogUnderTest) -> None:
    tasks, turns = 12, 15
    async with opened(server) as one, opened(server) as two, opened(server) as three:
        topic = await new_topic(one)

        async def append(task: int) -> None:
            log = (one, two, three)[task % 3]
            for turn in range(turns):
                size = 20_000 if (task + turn) % 4 == 0 else 20
                values = [f"{task}.{turn}.{part}".encode().ljust(size, b".") for part in range(3)]
                await log.append(topic, [Record(f"agent/{task}".encode(), value, 1) for value in values])

        async def read() -> list[LogRecord]:
            found: list[LogRecord] = []
            async with three.reader(topic, 0, 0) as reader:
                while len(found) < tasks * turns * 3:
                    found += await reader.read(5.0, 100_000)
            return found

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            for task in range(tasks):
                group.create_task(append(task))
        found = reading.result()
        assert [record.offset for record in found] == list(range(tasks * turns * 3))
        for task in range(tasks):
            mine = [record.value.rstrip(b".") for record in found if record.key == f"agent/{task}".encode()]
            assert mine == [f"{task}.{turn}.{part}".encode() for turn in range(turns) for part in range(3)]


async def test_a_reader_never_passes_an_append_that_commits_later(server: LogUnderTest) -> None:
    async with opened(server) as log, opened(server) as other:
        topic = await new_topic(log)
        await server.commit_slowly(topic, 1.0)
        async with log.reader(topic, 0, 0) as reader, asyncio.TaskGroup() as group:
            group.create_task(log.append(topic, [record("first", SLOW)]))
            await asyncio.sleep(0.3)
            group.create_task(other.append(topic, [record("second")]))
            found: list[LogRecord] = []
            while len(found) < 2:
                found += await reader.read(5.0, MEBIBYTE)
        assert [(one.offset, one.value) for one in found] == [(0, b"first"), (1, b"second")]


async def test_what_was_appended_survives_a_crash_of_the_server(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        acknowledged: list[int] = []
        crashed = asyncio.Event()

        async def append() -> None:
            for number in count():
                before = len(acknowledged)
                await recovered(lambda number=number: append_one(number))  # type: ignore[misc]
                assert len(acknowledged) == before + 1
                if crashed.is_set() and number % 10 == 0:
                    return

        async def append_one(number: int) -> None:
            await log.append(topic, [record(str(number))])
            acknowledged.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(append())
            for _ in range(2):
                await asyncio.sleep(0.7)
                server.kill()
                await asyncio.to_thread(time.sleep, 0.3)
                server.start()
            await asyncio.sleep(0.7)
            crashed.set()
        found = [int(one.value) for one in await read_all(log, topic)]
        first_seen = list(dict.fromkeys(found))
        assert first_seen == acknowledged, "records are lost or out of order"


async def test_a_server_that_is_down_is_said_and_recovered_from(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        async with log.reader(topic, 0, 0) as reader:
            assert len(await reader.read(1.0, MEBIBYTE)) == 1
            server.kill()
            await unavailable(lambda: log.append(topic, [record("lost")]), server.timeout_s)
            await unavailable(lambda: reader.read(1.0, MEBIBYTE), server.timeout_s)
            await unavailable(lambda: log.end_offsets(topic), server.timeout_s)
            await unavailable(lambda: log.ensure(TopicSpec(topic, 1)), server.timeout_s)
            await unavailable(server.open, server.timeout_s) if not isinstance(server, MemoryUnderTest) else None
            server.start()
            await recovered(lambda: log.append(topic, [record("2")]))
            found: Sequence[LogRecord] = ()

            async def read() -> None:
                nonlocal found
                found = await reader.read(5.0, MEBIBYTE)

            await recovered(read)
            assert [one.value for one in found if one.value != b"lost"] == [b"2"]


async def test_a_server_that_hangs_is_given_up_in_time(server: LogUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_event_log, "STATEMENT_TIMEOUT_S", 2.0)
    async with opened(server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        async with log.reader(topic, 0, 0) as reader:
            assert len(await reader.read(1.0, MEBIBYTE)) == 1
            server.pause()
            try:
                await asyncio.gather(
                    unavailable(lambda: log.append(topic, [record("lost")]), server.timeout_s),
                    unavailable(lambda: reader.read(1.0, MEBIBYTE), server.timeout_s),
                )
            finally:
                server.resume()
            await recovered(lambda: log.append(topic, [record("2")]))
        values = [one.value for one in await read_all(log, topic)]
        assert [value for value in values if value != b"lost"] == [b"1", b"2"]


async def members_share(one: Member, other: Member, partitions: int) -> None:
    """Wait until both have half of the partitions, and none twice."""
    half = partitions // 2
    mine = await one.partitions_after(lambda share: len(share) == half)
    others = await other.partitions_after(lambda share: len(share) == half)
    assert mine | others == set(range(partitions))


async def test_members_share_the_partitions_and_take_over_from_one_that_dies(server: LogUnderTest) -> None:
    async with opened(server) as log:
        topic = await new_topic(log, partitions=4)
        one, other = await server.member(topic, "readers"), None
        try:
            async with asyncio.timeout(20):
                assert await one.partitions_after(lambda share: len(share) == 4) == {0, 1, 2, 3}
            other = await server.member(topic, "readers")
            async with asyncio.timeout(20):
                await members_share(one, other, 4)
            await one.kill()
            async with asyncio.timeout(server.timeout_s):
                assert await other.partitions_after(lambda share: len(share) == 4) == {0, 1, 2, 3}
        finally:
            await one.kill()
            if other is not None:
                await other.kill()


async def test_a_member_that_leaves_is_replaced_and_groups_are_apart(server: LogUnderTest) -> None:
    async with opened(server) as log, opened(server) as second:
        topic = await new_topic(log, partitions=3)
        one, stranger = TaskMember(log, topic, "readers"), TaskMember(second, topic, "others")
        async with asyncio.timeout(30):
            for alone in (one, stranger):
                assert await alone.partitions_after(bool) == {0, 1, 2}
            other = TaskMember(second, topic, "readers")
            mine = await one.partitions_after(lambda share: len(share) < 3)
            others = await other.partitions_after(lambda share: len(share) == 3 - len(mine))
            assert mine | others == {0, 1, 2}
            await other.kill()
            assert await one.partitions_after(lambda share: len(share) == 3) == {0, 1, 2}
            await one.kill()
            await stranger.kill()


async def test_a_member_without_a_partition_knows_it(server: LogUnderTest) -> None:
    async with opened(server) as log, opened(server) as second:
        topic = await new_topic(log, partitions=1)
        members = [TaskMember(one, topic, "readers") for one in (log, second)]
        async with asyncio.timeout(30):
            shares = [await member.partitions_after(lambda _share: True) for member in members]
            idle = members[0] if not shares[0] else members[1]
            if all(shares):  # the first came so early that it was alone for a moment
                idle = await first_without(members)
            (busy,) = (member for member in members if member is not idle)
            await busy.kill()
            assert await idle.partitions_after(bool) == {0}
            await idle.kill()


async def first_without(members: list[TaskMember]) -> TaskMember:
    """The member that first says that it has no partition."""
    waiting = {asyncio.create_task(member.partitions_after(lambda share: not share)): member for member in members}
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return waiting[done.pop()]
