"""The Modbus driver where no unit answers, where one breaks the rules, and where its own side is slow or stops it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus.connection import ModbusConnection
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.driver import ModbusDriver
from connectors.modbus.plan import coalesce, planned_tags
from connectors.modbus.request_queue import Priority
from connectors.modbus.scan import Scan
from connectors.model.errors import DeviceUnavailable, OutboxUnavailable
from connectors.model.samples import SampleBatch
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import (
    IN_FLIGHT,
    DeviceMaker,
    Recorder,
    acquiring,
    device_settings,
    listening,
    polls,
    until,
)
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, in_flight=request.param)


@asynccontextmanager
async def raw_unit(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[str]:
    """A unit of which a test decides every byte; each part of an answer is a packet of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for part in answer(await reader.readexactly(12)):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.002)

    async with listening(serve) as endpoint:
        yield endpoint


def whole_reply(request: bytes, value: int = 77) -> bytes:
    count = int.from_bytes(request[10:12], "big")
    data = value.to_bytes(2, "big") * count
    return request[:4] + (3 + len(data)).to_bytes(2, "big") + request[6:8] + bytes((len(data),)) + data


async def test_a_pause_that_is_longer_than_the_timeout_is_no_silence(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}]
    driver = ModbusDriver(device_settings(modbus_unit.endpoint, tags, pause="600ms", timeout="500ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task, tag=1)
    assert (driver.counters.time_outs, driver.counters.connects) == (0, 1)


async def test_one_lost_reply_is_asked_for_again(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}], retries=1, timeout="500ms")
    driver = ModbusDriver(settings, SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("silent 1")
        await polls(recorder, 3, task)
    assert (driver.counters.time_outs, driver.counters.connects, len(recorder.onlines)) == (1, 2, 1)


async def test_every_request_has_all_its_attempts() -> None:
    """A unit that loses the first request for each block, every time that another one came between."""
    last = b""

    def answer(request: bytes) -> list[bytes]:
        nonlocal last
        seen, last = last, request[8:]
        return [whole_reply(request)] if seen == last else []

    recorder = Recorder()
    tags = [{"at": f"holding {at}"} for at in (0, 200, 400)]
    async with raw_unit(answer) as endpoint:
        settings = device_settings(endpoint, tags, timeout="200ms", retries=1)
        async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
            await polls(recorder, 3, task)
    assert (len(recorder.onlines), recorder.onlines[0][1]) == (1, [])


async def test_a_pause_between_requests_is_kept(modbus_unit: ModbusServer) -> None:
    tags = [{"at": f"holding {at}"} for at in (0, 100, 200, 300)]
    recorder = Recorder()
    driver = ModbusDriver(device_settings(modbus_unit.endpoint, tags, pause="50ms", poll="10ms"), SystemClock())
    begin_s = time.monotonic()
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
    assert len(modbus_unit.requests()) <= (time.monotonic() - begin_s) / 0.05 + 1


async def test_a_refused_connection_says_what_to_check(device: DeviceMaker) -> None:
    port = free_port()
    with pytest.raises(DeviceUnavailable, match=rf"127\.0\.0\.1:{port} refused the connection: check the port"):
        await ModbusDriver(device(f"tcp://127.0.0.1:{port}", [{"at": "holding 0"}]), SystemClock()).acquire(Recorder())


async def test_an_error_of_the_acquisition_ends_the_driver_as_it_is(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    class Full(Recorder):
        async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            raise OutboxUnavailable("the disk is full")

    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock())
    with pytest.raises(OutboxUnavailable, match="disk is full"):
        await asyncio.wait_for(driver.acquire(Full()), WAIT_S_MAX)


async def test_a_name_with_two_addresses_that_both_refuse_is_a_refusal(device: DeviceMaker) -> None:
    port = free_port()
    with pytest.raises(DeviceUnavailable, match=rf"localhost:{port} refused the connection"):
        await ModbusDriver(device(f"tcp://localhost:{port}", [{"at": "holding 0"}]), SystemClock()).acquire(Recorder())


async def test_an_acquisition_that_is_full_slows_the_polls_down_and_missed_ones_are_counted(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    class Slow(Recorder):
        async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            await super().put(batch, committed)
            await asyncio.sleep(0.11)

    recorder = Slow()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 6, task)
    assert len(modbus_unit.requests()) <= 7
    assert driver.counters.missed_cycles >= 15


async def test_a_host_that_does_not_answer_says_what_to_check(device: DeviceMaker) -> None:
    """A listener whose queue is full: the kernel drops further attempts, as a firewall would."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            settings = device(f"tcp://127.0.0.1:{port}", [{"at": "holding 0"}], timeout="200ms")
            driver = ModbusDriver(settings, SystemClock())
            with pytest.raises(DeviceUnavailable, match=r"gives no answer within 2 s: check that the device is"):
                await asyncio.wait_for(driver.acquire(Recorder()), WAIT_S_MAX)


async def test_a_cancelled_run_leaves_the_connection_to_the_others(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}, {"at": "input 0"}], timeout="60s")
    modbus_unit.set("input", 0, 9)
    counters = ModbusCounters()
    connection = ModbusConnection(settings, SystemClock(), counters)
    await connection.open()
    first, second = (Scan([block], 1) for block in coalesce(planned_tags(settings), 8, 125))
    modbus_unit.command("delay 500 1")
    cancelled = asyncio.create_task(connection.run(first, Priority.POLL))
    queued = asyncio.create_task(connection.run(second, Priority.POLL))
    await until(lambda: counters.requests >= 1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.wait_for(queued, 30)
    assert [batch.value.tolist() for batch in second.batches()] == [[9]]
    await until(lambda: counters.late_replies == 1)
    await connection.close()
    assert modbus_unit.requests() == [(1, 3, 0, 1), (1, 4, 0, 1)]


async def test_a_network_without_a_way_to_the_device_says_so(
    monkeypatch: pytest.MonkeyPatch, device: DeviceMaker
) -> None:
    async def no_route(*_arguments: Any, **_names: Any) -> None:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_route)
    driver = ModbusDriver(device("tcp://127.0.0.1", [{"at": "holding 0"}]), SystemClock())
    with pytest.raises(DeviceUnavailable, match=r"127\.0\.0\.1:502 cannot be reached \(No route to host\): check"):
        await driver.acquire(Recorder())


async def test_a_cancellation_in_the_middle_of_a_request_closes_the_connection(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("silent -1")
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}], timeout="60s")
    async with acquiring(ModbusDriver(settings, SystemClock()), Recorder()) as task:
        await until(modbus_unit.requests, task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 30)
    await until(lambda: modbus_unit.connections()[0] == 0)


async def test_an_unknown_host_name_says_so(device: DeviceMaker) -> None:
    settings = device("tcp://oven-3.invalid", [{"at": "holding 0"}], timeout="5s")
    with pytest.raises(DeviceUnavailable, match=r"the host name 'oven-3\.invalid' is unknown: check its spelling"):
        await ModbusDriver(settings, SystemClock()).acquire(Recorder())


async def test_a_reply_in_packets_of_one_byte_is_read_whole(device: DeviceMaker) -> None:
    def answer(request: bytes) -> list[bytes]:
        return [bytes((byte,)) for byte in whole_reply(request)]

    recorder = Recorder()
    async with (
        raw_unit(answer) as endpoint,
        acquiring(ModbusDriver(device(endpoint, [{"at": "holding 0"}]), SystemClock()), recorder) as task,
    ):
        await polls(recorder, 3, task)
    assert set(recorder.of(0)) == {(77, 0)}


@pytest.mark.parametrize(
    ("distort", "reason"),
    [
        (lambda reply: reply[:-1], "no answer within"),
        (lambda reply: reply[:4] + b"\0\3" + reply[6:8] + b"\2", "0 bytes of data where holding 0 takes 2"),
        (lambda reply: reply[:5] + b"\7" + reply[6:8] + b"\4\0\1\0\2", "4 bytes of data where holding 0 takes 2"),
        (lambda reply: reply[:2] + b"\0\1" + reply[4:], "not Modbus/TCP"),
        (lambda reply: reply[:4] + b"\xff\xff" + reply[6:], "not Modbus/TCP"),
        (lambda reply: b"\x5a" * 100_000, "not Modbus/TCP"),
    ],
)
async def test_a_distorted_reply_is_refused(
    distort: Callable[[bytes], bytes], reason: str, device: DeviceMaker
) -> None:
    recorder = Recorder()
    async with raw_unit(lambda request: [distort(whole_reply(request))]) as endpoint:
        driver = ModbusDriver(device(endpoint, [{"at": "holding 0"}], timeout="1s"), SystemClock())
        with pytest.raises(DeviceUnavailable, match=reason):
            await asyncio.wait_for(driver.acquire(recorder), WAIT_S_MAX)
    assert recorder.rows == []


async def test_a_unit_that_floods_the_line_is_given_up_in_time(device: DeviceMaker) -> None:
    """Replies to nobody, without end, must not keep the driver waiting beyond the time-out."""

    def answer(request: bytes) -> list[bytes]:
        return [(b"\xee\xee" + whole_reply(request)[2:]) * 50] * 1000

    async with raw_unit(answer) as endpoint:
        driver = ModbusDriver(device(endpoint, [{"at": "holding 0"}], timeout="500ms"), SystemClock())
        with pytest.raises(DeviceUnavailable, match="replies to requests that nobody made"):
            await asyncio.wait_for(driver.acquire(Recorder()), WAIT_S_MAX)
    assert driver.counters.late_replies > 50


async def test_a_unit_that_closes_an_idle_connection_is_connected_to_again(device: DeviceMaker) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        writer.write(whole_reply(await reader.readexactly(12), 5))
        await writer.drain()
        served += 1

    recorder = Recorder()
    async with listening(serve) as endpoint:
        settings = device(endpoint, [{"at": "holding 0"}], retries=1)
        async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
            await polls(recorder, 5, task)
    assert (len(recorder.onlines), {value for value, _quality in recorder.of(0)}) == (1, {5})
    assert served >= 5
