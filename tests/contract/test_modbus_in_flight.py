"""The Modbus driver with several requests on the wire: every reply finds its request, and a fault only its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import ValidationError

from connectors.modbus.connection import ModbusConnection
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.driver import ModbusDriver
from connectors.modbus.link import ModbusLink
from connectors.modbus.plan import coalesce, planned_tags
from connectors.modbus.request_queue import Priority
from connectors.modbus.scan import Scan
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_NO_COMMUNICATION, BAD_TIMEOUT
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, listening, polls, until
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer

BLOCKS = 8
REQUEST_BYTES = 12
PLACES = [200 * block for block in range(BLOCKS)]


def address_of(request: bytes) -> int:
    return int.from_bytes(request[8:10], "big")


def reply(request: bytes) -> bytes:
    """The right reply to the read of one register: its address plus one."""
    return request[:4] + b"\0\x05" + request[6:8] + b"\x02" + (address_of(request) + 1).to_bytes(2, "big")


def exception(request: bytes, code: int) -> bytes:
    return request[:4] + b"\0\x03" + request[6:7] + bytes((request[7] | 0x80, code))


class PipelinedUnit:
    """A unit of which a test decides what it answers to the requests of one segment; nothing: it hangs up."""

    def __init__(self, answer: Callable[[list[bytes]], list[bytes]]) -> None:
        self._answer = answer
        self.segments: list[list[bytes]] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(4096):
            assert len(data) % REQUEST_BYTES == 0
            requests = [data[at : at + REQUEST_BYTES] for at in range(0, len(data), REQUEST_BYTES)]
            self.segments.append(requests)
            for answer in self._answer(requests):
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(answer: Callable[[list[bytes]], list[bytes]]) -> AsyncIterator[tuple[PipelinedUnit, str]]:
    unit = PipelinedUnit(answer)
    async with listening(unit.serve) as endpoint:
        yield unit, endpoint


def pipelined(endpoint: str, in_flight: int = BLOCKS, **more: object) -> ModbusDevice:
    return device_settings(endpoint, [{"at": f"holding {at}"} for at in PLACES], in_flight=in_flight, **more)


def expected_values() -> dict[int, int]:
    return {index: at + 1 for index, at in enumerate(PLACES)}


async def test_all_reads_that_are_due_leave_in_one_write() -> None:
    recorder = Recorder()
    async with serving(lambda requests: [b"".join(reply(each) for each in requests)]) as (unit, endpoint):
        driver = ModbusDriver(pipelined(endpoint), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 3, task)
    assert recorder.last() == expected_values()
    assert {len(segment) for segment in unit.segments} == {BLOCKS}
    assert [address_of(request) for request in unit.segments[0]] == PLACES
    transactions = [request[:2] for segment in unit.segments for request in segment]
    assert len(set(transactions)) == len(transactions) == driver.counters.requests


async def test_the_requests_of_a_window_are_one_call_of_the_kernel() -> None:
    written: list[bytes] = []
    settings = pipelined("tcp://127.0.0.1")
    connection = ModbusConnection(settings, SystemClock(), ModbusCounters())
    link = ModbusLink(connection.bus, ModbusCounters())
    link._transport = cast(asyncio.Transport, SimpleNamespace(write=written.append))
    connection.bus._link = link
    running = asyncio.create_task(connection.run(Scan(coalesce(planned_tags(settings), 8, 125), 1), Priority.POLL))
    await asyncio.sleep(0)
    assert [len(data) for data in written] == [BLOCKS * REQUEST_BYTES]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("in_flight", [1, 8])
async def test_two_neighbouring_blocks_without_an_answer_are_a_silent_unit(
    modbus_unit: ModbusServer, in_flight: int
) -> None:
    modbus_unit.command("refuse holding 400 600 0")
    driver = ModbusDriver(pipelined(modbus_unit.endpoint, in_flight, timeout="300ms"), SystemClock())
    with pytest.raises(DeviceUnavailable, match="read of holding 600"):
        await asyncio.wait_for(driver.acquire(Recorder()), WAIT_S_MAX)


@pytest.mark.parametrize("in_flight", [1, 3, 5])
async def test_there_are_never_more_requests_in_flight_than_allowed(in_flight: int) -> None:
    most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer_one_by_one() -> None:
            while True:
                await asyncio.sleep(0.003)
                if waiting:
                    writer.write(reply(waiting.popleft()))

        nonlocal most
        waiting: deque[bytes] = deque()
        answering = asyncio.create_task(answer_one_by_one())
        try:
            while True:
                waiting.append(await reader.readexactly(REQUEST_BYTES))
                most = max(most, len(waiting))
        finally:
            answering.cancel()

    recorder = Recorder()
    async with listening(serve) as endpoint:
        driver = ModbusDriver(pipelined(endpoint, in_flight, timeout="30s"), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 4, task, tag=BLOCKS - 1)
    assert (most, driver.counters.time_outs) == (in_flight, 0)
    assert recorder.last() == expected_values()


def backwards(requests: list[bytes]) -> list[bytes]:
    return [b"".join(reply(each) for each in reversed(requests))]


def one_segment_each(requests: list[bytes]) -> list[bytes]:
    return [reply(each) for each in requests[4:] + requests[:4]]


def twice_each(requests: list[bytes]) -> list[bytes]:
    return [b"".join(reply(each) * 2 for each in requests)]


def with_unknown_ones(requests: list[bytes]) -> list[bytes]:
    return [b"".join(reply(bytes((each[0] ^ 0x80, *each[1:]))) + reply(each) for each in requests)]


def in_small_pieces(requests: list[bytes]) -> list[bytes]:
    stream = b"".join(reply(each) for each in reversed(requests))
    return [stream[at : at + 7] for at in range(0, len(stream), 7)]


@pytest.mark.parametrize(
    ("answer", "late_each"),
    [(backwards, 0), (one_segment_each, 0), (twice_each, 1), (with_unknown_ones, 1), (in_small_pieces, 0)],
)
async def test_every_reply_finds_its_request(answer: Callable[[list[bytes]], list[bytes]], late_each: int) -> None:
    recorder = Recorder()
    async with serving(answer) as (_unit, endpoint):
        driver = ModbusDriver(pipelined(endpoint, timeout="30s"), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 4, task)
            counters = replace(driver.counters)  # before the cancellation, which makes late replies of those under way
    assert all(recorder.of(index) == [(at + 1, 0)] * len(recorder.of(index)) for index, at in enumerate(PLACES))
    assert (counters.connects, counters.time_outs, len(recorder.onlines)) == (1, 0, 1)
    assert late_each * (counters.requests - BLOCKS) <= counters.late_replies <= late_each * counters.requests


async def test_an_exception_belongs_to_its_own_request() -> None:
    def answer(requests: list[bytes]) -> list[bytes]:
        return [b"".join(exception(each, 6) if address_of(each) in (200, 1000) else reply(each) for each in requests)]

    recorder = Recorder()
    async with (
        serving(answer) as (_unit, endpoint),
        acquiring(ModbusDriver(pipelined(endpoint), SystemClock()), recorder) as task,
    ):
        await polls(recorder, 3, task)
    for index, at in enumerate(PLACES):
        expected = (None, BAD_NO_COMMUNICATION) if at in (200, 1000) else (at + 1, 0)
        assert set(recorder.of(index)) == {expected}


async def test_only_the_oldest_request_is_blamed_for_a_time_out() -> None:
    """A unit that loses one request of each block: with two attempts none fails, whoever else was asked again."""
    lost: set[int] = set()

    def answer(requests: list[bytes]) -> list[bytes]:
        answers = []
        for each in requests:
            if address_of(each) not in lost and unit.connections == len(lost) + 1:
                lost.add(address_of(each))
                break
            answers.append(reply(each))
        return answers

    recorder = Recorder()
    async with serving(answer) as (unit, endpoint):
        driver = ModbusDriver(pipelined(endpoint, timeout="300ms", retries=1), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 3, task)
    assert (lost, len(recorder.onlines), recorder.onlines[0][1]) == (set(PLACES), 1, [])
    assert (driver.counters.time_outs, driver.counters.connects) == (BLOCKS, BLOCKS + 1)
    assert recorder.last() == expected_values()


async def test_a_block_that_is_never_answered_is_named_and_the_others_are_read(modbus_unit: ModbusServer) -> None:
    modbus_unit.command("refuse holding 600 600 0")
    recorder = Recorder()
    driver = ModbusDriver(pipelined(modbus_unit.endpoint, timeout="400ms", retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 3, task)
    problems = recorder.onlines[0][1]
    assert [(problem.tag, problem.quality) for problem in problems] == [("t3", BAD_TIMEOUT)]
    assert "(read of holding 600, tried 2 times)" in problems[0].reason
    assert driver.counters.time_outs == 2


async def test_a_unit_that_answers_one_after_the_other_has_the_whole_time_for_each() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(REQUEST_BYTES)
            await asyncio.sleep(0.15)
            writer.write(reply(request))

    recorder = Recorder()
    async with listening(serve) as endpoint:
        driver = ModbusDriver(pipelined(endpoint, timeout="1s"), SystemClock())
        begin_s = time.monotonic()
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 2, task, tag=BLOCKS - 1)
    assert time.monotonic() - begin_s > 1.0
    assert (driver.counters.time_outs, driver.counters.connects) == (0, 1)


async def test_a_unit_that_falls_silent_with_many_in_flight_says_what_to_check(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    driver = ModbusDriver(pipelined(modbus_unit.endpoint, timeout="500ms", retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("silent -1")
        expected = r"no answer within 0\.5 s; .* takes 8 requests at once \(read of holding 0, tried 2 times\)"
        with pytest.raises(DeviceUnavailable, match=expected):
            await asyncio.wait_for(task, WAIT_S_MAX)


async def test_a_connection_that_is_closed_with_many_in_flight_is_made_again_for_all_of_them() -> None:
    def answer(requests: list[bytes]) -> list[bytes]:
        if len(unit.segments) % 3 == 2:
            return [b"".join(reply(each) for each in requests[:3]), b""]
        return [b"".join(reply(each) for each in requests)]

    recorder = Recorder()
    async with serving(answer) as (unit, endpoint):
        driver = ModbusDriver(pipelined(endpoint, retries=1, timeout="30s"), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 6, task)
    assert (len(recorder.onlines), driver.counters.time_outs) == (1, 0)
    assert driver.counters.connects == unit.connections > 2
    assert recorder.last() == expected_values()


async def test_a_wrong_reply_is_blamed_on_its_own_request() -> None:
    def answer(requests: list[bytes]) -> list[bytes]:
        right = {address_of(each): reply(each) for each in requests}
        for each in requests:
            if address_of(each) == 800:
                right[800] = reply(each[:7] + b"\x04" + each[8:])
        return [b"".join(right[at] for at in sorted(right, reverse=True))]

    recorder = Recorder()
    async with serving(answer) as (_unit, endpoint):
        driver = ModbusDriver(pipelined(endpoint), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 2, task)
    problems = recorder.onlines[0][1]
    assert [problem.tag for problem in problems] == ["t4"]
    assert "answered with function 4 to a request with function 3 (read of holding 800)" in problems[0].reason
    assert driver.counters.invalid_replies == 1


async def test_a_command_is_alone_on_the_wire() -> None:
    async with serving(lambda requests: [reply(each) for each in requests]) as (unit, endpoint):
        settings = pipelined(endpoint, timeout="30s")
        connection = ModbusConnection(settings, SystemClock(), ModbusCounters())
        await connection.open()
        blocks = coalesce(planned_tags(settings), 8, 125)
        first, second, command = Scan(blocks[:3], 1), Scan(blocks[3:6], 1), Scan(blocks[6:], 1)
        await asyncio.wait_for(asyncio.gather(*_runs(connection, [first, second], command)), WAIT_S_MAX)
        await connection.close()
    seen = [[address_of(request) for request in segment] for segment in unit.segments]
    # The first scan was on the wire already; the command goes before the second one, each request of it alone.
    assert seen == [PLACES[:3], [PLACES[6]], [PLACES[7]], PLACES[3:6]]
    assert not any(scan.unread() for scan in (first, second, command))


def _runs(connection: ModbusConnection, scans: Sequence[Scan], command: Scan) -> list[asyncio.Task[None]]:
    async def late_scan() -> None:
        await asyncio.sleep(0)
        await connection.run(scans[1], Priority.POLL)

    return [
        asyncio.create_task(connection.run(scans[0], Priority.POLL)),
        asyncio.create_task(connection.run(command, Priority.COMMAND)),
        asyncio.create_task(late_scan()),
    ]


async def test_nothing_joins_a_command_that_is_on_the_wire() -> None:
    async with serving(lambda requests: [reply(each) for each in requests]) as (_unit, endpoint):
        settings = pipelined(endpoint, timeout="30s")
        connection = ModbusConnection(settings, SystemClock(), ModbusCounters())
        await connection.open()
        blocks = coalesce(planned_tags(settings), 8, 125)
        commanding = asyncio.create_task(connection.run(Scan(blocks[:1], 1), Priority.COMMAND))
        polling = asyncio.create_task(connection.run(Scan(blocks[1:], 1), Priority.POLL))
        await asyncio.sleep(0)
        assert connection.bus._link is not None
        assert [read.block for read in connection.bus._link.in_flight.values()] == [blocks[0]]
        await asyncio.wait_for(asyncio.gather(commanding, polling), WAIT_S_MAX)
        await connection.close()


async def test_a_cancelled_run_leaves_its_replies_to_nobody(modbus_unit: ModbusServer) -> None:
    for at in PLACES:
        modbus_unit.set("holding", at, at + 1)
    counters = ModbusCounters()
    settings = pipelined(modbus_unit.endpoint, timeout="60s")
    connection = ModbusConnection(settings, SystemClock(), counters)
    await connection.open()
    blocks = coalesce(planned_tags(settings), 8, 125)
    first, second = Scan(blocks[:3], 1), Scan(blocks[3:], 1)
    modbus_unit.command("delay 500 3")
    cancelled = asyncio.create_task(connection.run(first, Priority.POLL))
    await until(lambda: counters.requests == 3)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.wait_for(connection.run(second, Priority.POLL), 30)
    await until(lambda: counters.late_replies == 3)
    await connection.close()
    assert [batch.value.tolist() for batch in second.batches()] == [[at + 1 for at in PLACES[3:]]]
    assert first.batches() == []


async def test_scans_share_the_window_in_turns() -> None:
    async with serving(lambda requests: [reply(each) for each in requests]) as (unit, endpoint):
        settings = pipelined(endpoint, in_flight=2, timeout="30s")
        connection = ModbusConnection(settings, SystemClock(), ModbusCounters())
        await connection.open()
        blocks = coalesce(planned_tags(settings), 8, 125)
        long, short = Scan(blocks[:6], 1), Scan(blocks[6:], 1)
        tasks = [asyncio.create_task(connection.run(scan, Priority.POLL)) for scan in (long, short)]
        await asyncio.wait_for(tasks[1], WAIT_S_MAX)
        unread = len(long.unread())
        await asyncio.wait_for(tasks[0], WAIT_S_MAX)
        await connection.close()
    assert unread >= 2
    assert sorted(address_of(request) for segment in unit.segments for request in segment) == PLACES


def test_a_pause_and_several_requests_in_flight_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="'pause' is the time between a reply and the next request"):
        pipelined("tcp://127.0.0.1", in_flight=2, pause="10ms")
    with pytest.raises(ValidationError, match="less than or equal to 16"):
        pipelined("tcp://127.0.0.1", in_flight=17)
