"""Reports of commands do not wait for samples that are being appended, and are in the log once and in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from cloud_ingest.event_log.topics import REPORTS
from cloud_ingest.ingest.pending import Taken, take_message
from cloud_ingest.ingest.reports_ahead import ReportsAhead
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import Position, Record
from tests.patience import WAIT_S_MAX
from tests.played_agent import NOW_MS, PlayedAgent


class SlowLog:
    """Appends when it is told to."""

    def __init__(self) -> None:
        self.appended: list[bytes] = []
        self.go = asyncio.Event()
        self.go.set()
        self.failures = 0
        self.calls = 0

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        assert topic == REPORTS
        self.calls += 1
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise EventLogUnavailable("it is away")
        self.appended += [record.value for record in records]
        return [Position(0, len(self.appended)) for _ in records]


def reports(count: int) -> list[Taken]:
    agent, found = PlayedAgent(), []
    for step in range(1, count + 1):
        report = CommandReport(
            id="01JDV3W3Z8Q6C0V2B7N4M5K9XR", journal="ab" * 16, number=1, step=step, state=CommandState.RECEIVED,
            time_ms=NOW_MS, actor="agent",
        )  # fmt: skip
        wire = agent.report(report)
        taken = take_message(wire.topic, wire.payload, NOW_MS)
        assert taken is not None
        assert taken.has_report
        found.append(taken)
    return found


def values(messages: Sequence[Taken]) -> list[bytes]:
    return [taken.record.value for taken in messages]


@asynccontextmanager
async def running(log: SlowLog) -> AsyncIterator[ReportsAhead]:
    ahead = ReportsAhead(log)  # type: ignore[arg-type]
    task = asyncio.create_task(ahead.run())
    try:
        yield ahead
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_report_is_in_the_log_before_anybody_appends_its_message_and_then_not_again() -> None:
    log, (one,) = SlowLog(), reports(1)
    async with running(log) as ahead:
        ahead.add(one)
        await settle()
        assert log.appended == values([one])
        await ahead.appended([one])
        ahead.forget([one])
    assert (log.appended, log.calls) == (values([one]), 1)


async def test_a_message_waits_for_its_report_that_is_on_its_way_and_others_come_behind_it() -> None:
    log, messages = SlowLog(), reports(3)
    async with running(log) as ahead:
        log.go.clear()
        ahead.add(messages[0])
        await settle()
        ahead.add(messages[1])
        waiting = asyncio.create_task(ahead.appended(messages[:2]))
        await settle()
        ahead.add(messages[2])
        await settle()
        assert not waiting.done()
        log.go.set()
        await waiting
        await settle()
    assert log.appended == values(messages)


async def test_what_the_log_does_not_take_is_said_to_who_appends_the_message_and_taken_when_it_does() -> None:
    log, (one,) = SlowLog(), reports(1)
    async with running(log) as ahead:
        log.failures = 2
        ahead.add(one)
        await settle()
        with pytest.raises(EventLogUnavailable):
            await ahead.appended([one])
        assert log.appended == []
        await ahead.appended([one])
        await ahead.appended([one])
    assert log.appended == values([one])


async def test_reports_that_the_log_did_not_take_are_not_overtaken_by_those_that_come_after_them() -> None:
    log, messages = SlowLog(), reports(3)
    async with running(log) as ahead:
        log.failures = 1
        ahead.add(messages[0])
        await settle()
        assert log.calls == 1
        ahead.add(messages[1])
        await settle()
        assert log.appended == values(messages[:2])
        await ahead.appended(messages[:2])
        ahead.add(messages[2])
        await settle()
    assert log.appended == values(messages)


async def test_reports_of_which_nobody_knows_whether_they_are_in_the_log_are_appended_again_in_their_order() -> None:
    log, messages = SlowLog(), reports(3)
    async with running(log) as ahead:
        ahead.add(messages[0])
        ahead.add(messages[1])
        await settle()
        log.appended.clear()  # it has lost its end
        ahead.forget_appended()
        ahead.add(messages[2])
        await settle()
        await ahead.appended(messages)
    assert log.appended == values(messages)


async def test_a_report_that_was_on_its_way_when_the_log_became_uncertain_is_appended_again() -> None:
    log, (one,) = SlowLog(), reports(1)
    async with running(log) as ahead:
        log.go.clear()
        ahead.add(one)
        await settle()
        ahead.forget_appended()
        log.go.set()
        await settle()
        await ahead.appended([one])
        await ahead.appended([one])
    assert log.appended == values([one, one])


async def test_a_message_without_report_waits_for_none() -> None:
    agent, log, (one,) = PlayedAgent(), SlowLog(), reports(1)
    wire = agent.born()
    born = take_message(wire.topic, wire.payload, NOW_MS)
    assert born is not None
    async with running(log) as ahead:
        log.go.clear()
        ahead.add(one)
        await settle()
        async with asyncio.timeout(WAIT_S_MAX):
            await ahead.appended([born])
