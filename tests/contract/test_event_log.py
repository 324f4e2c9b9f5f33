"""The event log's contract, on every implementation: in memory, on a real PostgreSQL and on a real Kafka."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import defaultdict

import pytest

from connectors.model.errors import EventLogUnavailable, RecordRefused
from connectors.ports.event_log import Cleanup, LogRecord, Position, Record, TopicSpec
from connectors.postgres import event_log_reader
from tests.contract.event_log_steps import (
    MEBIBYTE,
    new_topic,
    new_topic_name,
    opened,
    read_all,
    record,
)
from tests.contract.logs_under_test import RECORD_BYTES_MAX, SLOW, LogUnderTest
from tests.patience import WAIT_S_MAX


@pytest.mark.parametrize("size", [50, 50_000])
async def test_records_come_back_as_they_were_appended(log_server: LogUnderTest, size: int) -> None:
    records = [
        Record(b"a/b", b"value", 1, (("kind", b"\x00\x01"), ("größe", b""))),
        Record(b"", b"", 1_700_000_000_000),
        Record("schlüssel".encode(), os.urandom(size), 2_000, (("kind", b"x"), ("kind", b"y"))),
    ]
    async with opened(log_server) as log:
        topic = await new_topic(log)
        positions = await log.append(topic, records)
        assert positions == [Position(0, 1), Position(0, 2), Position(0, 3)]
        found = await read_all(log, topic)
    assert found == [LogRecord(n, r.key, r.value, r.time_ms, r.headers) for n, r in enumerate(records)]
    assert found[0].header("kind") == b"\x00\x01"


@pytest.mark.parametrize("count", [20, 60])
async def test_records_of_one_key_stay_in_order_in_one_partition(log_server: LogUnderTest, count: int) -> None:
    keys = [f"plant/{n % 20}".encode() for n in range(count)]
    async with opened(log_server) as log, opened(log_server) as other:
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


async def test_offsets_continue_for_the_next_process(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1"), record("2")])
    async with opened(log_server) as log:
        assert await log.append(topic, [record("3")]) == [Position(0, 3)]
        assert [one.value for one in await read_all(log, topic, offset=1)] == [b"2", b"3"]


async def test_an_append_can_be_larger_than_a_batch_of_the_log(log_server: LogUnderTest) -> None:
    values = [os.urandom(12_000) for _ in range(200)]
    async with opened(log_server) as log:
        topic = await new_topic(log)
        positions = await log.append(topic, [Record(b"key", value, 1) for value in values])
        assert [position.next_offset for position in positions] == list(range(1, 201))
        assert [one.value for one in await read_all(log, topic)] == values


async def test_nothing_can_be_appended(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        assert list(await log.append(topic, [])) == []
        assert await log.end_offsets(topic) == {0: 0}


async def test_a_topic_is_made_once_whoever_asks_first(log_server: LogUnderTest) -> None:
    topic = new_topic_name()
    async with opened(log_server) as one, opened(log_server) as other:
        states = await asyncio.gather(*(log.ensure(TopicSpec(topic, 3)) for log in (one, other, one, other)))
        states.append(await one.ensure(TopicSpec(topic, 5)))
    assert {state.identity for state in states} == {states[0].identity}
    assert {state.partitions for state in states} == {3}


async def test_a_topic_says_how_long_it_really_keeps_its_records(log_server: LogUnderTest) -> None:
    topic = new_topic_name()
    async with opened(log_server) as log:
        made = await log.ensure(TopicSpec(topic, 1, retention_s=7200))
        assert (made.retention_s, made.bytes_max) == (7200, None)
        asked = await log.ensure(TopicSpec(topic, 1, retention_s=86_400))
        assert asked.retention_s == (86_400 if log_server.retention_follows else 7200)
        compacted = await log.ensure(TopicSpec(new_topic_name(), 1, Cleanup.COMPACT))
        assert compacted.retention_s == math.inf


async def test_a_topic_that_is_made_again_has_another_identity(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("old")])
        before = await log.ensure(TopicSpec(topic, 1))
        await log_server.delete_topic(topic)
        after = await log.ensure(TopicSpec(topic, 2))
        assert after.identity != before.identity
        assert after.partitions == 2
        await log.append(topic, [record("new")])
        found = [await read_all(log, topic, partition) for partition in range(2)]
        assert [one.value for records in found for one in records] == [b"new"]


async def test_a_compacted_topic_keeps_the_newest_of_each_key(log_server: LogUnderTest) -> None:
    topic = new_topic_name()
    async with opened(log_server) as log:
        state = await log.ensure(TopicSpec(topic, 1, Cleanup.COMPACT))
        assert state.partitions == 1
        await log.append(topic, [record("1", b"a"), record("2", b"b"), record("3", b"a")])
        newest = {one.key: one.value for one in await read_all(log, topic)}
    assert newest == {b"a": b"3", b"b": b"2"}


async def test_a_topic_that_does_not_exist_is_an_error(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        await new_topic(log)
        with pytest.raises(EventLogUnavailable, match="no topic"):
            await log.append("contract.missing", [record("1")])


async def test_a_record_that_is_too_large_is_refused_and_nothing_else(log_server: LogUnderTest) -> None:
    too_large = Record(b"key", bytes(RECORD_BYTES_MAX + 10_000), 1)
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        with pytest.raises(RecordRefused, match="bytes"):
            await log.append(topic, [too_large])
        with pytest.raises(RecordRefused):
            await log.append(topic, [record("2"), too_large])
        await log.append(topic, [Record(b"key", bytes(RECORD_BYTES_MAX), 1)])
        await log.append(topic, [record("3")])
        assert [len(one.value) for one in await read_all(log, topic)] == [1, RECORD_BYTES_MAX, 1]


async def test_a_read_stops_at_its_bytes_but_gives_one_record(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [Record(b"key", bytes([n]) * 1000, 1) for n in range(10)])
        async with log.reader(topic, 0, 0) as reader:
            sizes = [
                len(await reader.read(WAIT_S_MAX, bytes_max)) for bytes_max in (3_500, 1_000, 10, 2_000, 1_000_000)
            ]
            assert sizes == [3, 1, 1, 2, 3]
            assert list(await reader.read(0.0, 1_000)) == []
            await log.append(topic, [record("next")])
            assert [one.value for one in await reader.read(WAIT_S_MAX, 1_000)] == [b"next"]


async def test_reading_below_the_oldest_record_begins_with_it(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record(str(n)) for n in range(10)])
        await log_server.forget_below(topic, 0, 6)
        async with log.reader(topic, 0, 2) as reader:
            found = await reader.read(WAIT_S_MAX, MEBIBYTE)
            assert [(one.offset, one.value) for one in found] == [(n, str(n).encode()) for n in range(6, 10)]
        await log_server.forget_below(topic, 0, 10)
        assert (await log.append(topic, [record("10")])) == [Position(0, 11)]
        assert [one.offset for one in await read_all(log, topic, offset=3, until=11)] == [10]


async def test_a_waiting_reader_wakes_up_at_once(log_server: LogUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log_reader, "POLL_S", WAIT_S_MAX)
    async with opened(log_server) as log, opened(log_server) as other:
        topic = await new_topic(log)
        async with log.reader(topic, 0, 0) as reader:
            latencies_s = []
            for number in range(5):
                waiting = asyncio.create_task(reader.read(2 * WAIT_S_MAX, MEBIBYTE))
                await asyncio.sleep(0.3)
                assert not waiting.done()
                began_s = time.monotonic()
                await other.append(topic, [record(str(number))])
                assert [one.value for one in await waiting] == [str(number).encode()]
                latencies_s.append(time.monotonic() - began_s)
        assert max(latencies_s) < WAIT_S_MAX / 2, "it has looked again by itself"
        assert min(latencies_s) < 0.5, "each has waited for the end of a turn, of a second with Kafka"


async def test_a_reader_for_which_nothing_comes_waits_its_time(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log, partitions=2)
        other_key = next(key for n in range(100) if log.partition_of(topic, key := str(n).encode()) == 1)
        async with log.reader(topic, 0, 0) as reader:
            began_s = time.monotonic()
            await log.append(topic, [record("elsewhere", other_key)])
            assert list(await reader.read(0.4, MEBIBYTE)) == []
            assert 0.3 < time.monotonic() - began_s < 30.0


async def test_a_cancelled_read_loses_nothing(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
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


async def test_a_reader_misses_and_reorders_nothing_while_many_append(log_server: LogUnderTest) -> None:
    tasks, turns = 12, 15
    async with opened(log_server) as one, opened(log_server) as two, opened(log_server) as three:
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

        async with asyncio.timeout(WAIT_S_MAX), asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            for task in range(tasks):
                group.create_task(append(task))
        found = reading.result()
        assert [record.offset for record in found] == list(range(tasks * turns * 3))
        for task in range(tasks):
            mine = [record.value.rstrip(b".") for record in found if record.key == f"agent/{task}".encode()]
            assert mine == [f"{task}.{turn}.{part}".encode() for turn in range(turns) for part in range(3)]


async def test_a_reader_never_passes_an_append_that_commits_later(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log, opened(log_server) as other:
        topic = await new_topic(log)
        await log_server.commit_slowly(topic, 1.0)
        async with log.reader(topic, 0, 0) as reader, asyncio.TaskGroup() as group:
            group.create_task(log.append(topic, [record("first", SLOW)]))
            await asyncio.sleep(0.3)
            group.create_task(other.append(topic, [record("second")]))
            found = list(await reader.read(WAIT_S_MAX, MEBIBYTE))
            found += await reader.read(WAIT_S_MAX, MEBIBYTE) if len(found) < 2 else []
        assert [(one.offset, one.value) for one in found] == [(0, b"first"), (1, b"second")]


@pytest.mark.parametrize("turns", range(4))
async def test_a_reading_that_is_cancelled_just_as_records_come_ends(log_server: LogUnderTest, turns: int) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        async with log.reader(topic, 0, 0) as reader:

            async def read_on() -> None:
                while True:
                    await reader.read(60.0, MEBIBYTE)

            reading = asyncio.create_task(read_on())
            await asyncio.sleep(0.05)  # it waits for records; if it does not yet, it is no harder to cancel
            await log.append(topic, [record("1")])
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            done, _ = await asyncio.wait([reading], timeout=log_server.timeout_s)
            reading.cancel()
            assert done, "it reads on"
