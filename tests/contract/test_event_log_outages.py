"""The event log's contract when servers crash and hang, and when members of a group come, leave and die."""

from __future__ import annotations

import asyncio
import time
from itertools import count

import pytest

from connectors.ports.event_log import LogRecord, TopicSpec
from connectors.postgres import event_log as postgres_event_log
from tests.contract.event_log_steps import (
    MEBIBYTE,
    new_topic,
    opened,
    read_all,
    record,
    recovered,
    unavailable,
)
from tests.contract.logs_under_test import LogUnderTest, Member, TaskMember
from tests.patience import WAIT_S_MAX


@pytest.mark.slow
async def test_what_was_appended_survives_a_crash_of_the_server(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
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
                log_server.kill()
                await asyncio.to_thread(time.sleep, 0.3)
                log_server.start()
            await asyncio.sleep(0.7)
            crashed.set()
        found = [int(one.value) for one in await read_all(log, topic)]
        first_seen = list(dict.fromkeys(found))
        assert first_seen == acknowledged, "records are lost or out of order"


async def test_a_server_that_is_down_is_said_and_recovered_from(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        async with log.reader(topic, 0, 0) as reader:
            assert len(await reader.read(WAIT_S_MAX, MEBIBYTE)) == 1
            log_server.kill()
            await unavailable(lambda: log.append(topic, [record("lost")]), log_server.timeout_s)
            await unavailable(lambda: reader.read(1.0, MEBIBYTE), log_server.timeout_s)
            await unavailable(lambda: log.end_offsets(topic), log_server.timeout_s)
            await unavailable(lambda: log.ensure(TopicSpec(topic, 1)), log_server.timeout_s)
            await unavailable(log_server.open, log_server.timeout_s)
            log_server.start()
            await recovered(lambda: log.append(topic, [record("2")]))
            found: list[LogRecord] = []

            async def read() -> None:
                found.extend(await reader.read(5.0, MEBIBYTE))

            while not found or found[-1].value == b"lost":
                await recovered(read)
            assert [one.value for one in found if one.value != b"lost"] == [b"2"]


async def test_a_server_that_hangs_is_given_up_in_time(
    log_server: LogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_event_log, "STATEMENT_TIMEOUT_S", 2.0)
    async with opened(log_server) as log:
        topic = await new_topic(log)
        await log.append(topic, [record("1")])
        async with log.reader(topic, 0, 0) as reader:
            assert len(await reader.read(WAIT_S_MAX, MEBIBYTE)) == 1
            log_server.pause()
            try:
                await asyncio.gather(
                    unavailable(lambda: log.append(topic, [record("lost")]), log_server.timeout_s),
                    unavailable(lambda: reader.read(1.0, MEBIBYTE), log_server.timeout_s),
                )
            finally:
                log_server.resume()
            await recovered(lambda: log.append(topic, [record("2")]))
        values = [one.value for one in await read_all(log, topic)]
        assert [value for value in values if value != b"lost"] == [b"1", b"2"]


async def members_share(one: Member, other: Member, partitions: int) -> None:
    """Wait until both have half of the partitions, and none twice."""
    half = partitions // 2
    mine = await one.partitions_after(lambda share: len(share) == half)
    others = await other.partitions_after(lambda share: len(share) == half)
    assert mine | others == set(range(partitions))


async def test_members_share_the_partitions_and_take_over_from_one_that_dies(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log, partitions=4)
        one, other = await log_server.member(topic, "readers"), None
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                assert await one.partitions_after(lambda share: len(share) == 4) == {0, 1, 2, 3}
            other = await log_server.member(topic, "readers")
            async with asyncio.timeout(WAIT_S_MAX):
                await members_share(one, other, 4)
            await one.kill()
            async with asyncio.timeout(log_server.timeout_s):
                assert await other.partitions_after(lambda share: len(share) == 4) == {0, 1, 2, 3}
        finally:
            await one.kill()
            if other is not None:
                await other.kill()


async def test_a_member_that_leaves_is_replaced_and_groups_are_apart(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log, opened(log_server) as second:
        topic = await new_topic(log, partitions=3)
        one, stranger = TaskMember(log, topic, "readers"), TaskMember(second, topic, "others")
        async with asyncio.timeout(WAIT_S_MAX):
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


@pytest.mark.slow
async def test_a_member_can_end_while_the_server_is_away(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log:
        topic = await new_topic(log, partitions=2)
        member = TaskMember(log, topic, "readers")
        async with asyncio.timeout(WAIT_S_MAX):
            assert await member.partitions_after(bool) == {0, 1}
        log_server.kill()
        await asyncio.sleep(1.5)
        began_s = time.monotonic()
        await member.kill()
        assert time.monotonic() - began_s < 60.0
        log_server.start()
        member = TaskMember(log, topic, "readers")
        async with asyncio.timeout(log_server.timeout_s + WAIT_S_MAX):
            assert await member.partitions_after(bool) == {0, 1}
        await member.kill()


async def test_a_member_without_a_partition_knows_it(log_server: LogUnderTest) -> None:
    async with opened(log_server) as log, opened(log_server) as second:
        topic = await new_topic(log, partitions=1)
        members = [TaskMember(one, topic, "readers") for one in (log, second)]
        async with asyncio.timeout(WAIT_S_MAX):
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
