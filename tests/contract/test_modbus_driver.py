"""The Modbus driver against libmodbus, and against units that break the rules."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from lineside.servers.child_process import ProgramMissing, free_port

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, OutboxUnavailable
from connectors.model.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_SUPPORTED,
    BAD_TIMEOUT,
)
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagType
from connectors.ports.clock import SystemClock
from connectors.ports.device import TagProblem
from tests.servers.modbus import ModbusServer


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    running = ModbusServer()
    try:
        running.start()
    except ProgramMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    yield running
    running.stop()


class Recorder:
    """An acquisition that keeps what it gets."""

    def __init__(self) -> None:
        self.onlines: list[tuple[list[TagType], list[TagProblem]]] = []
        self.rows: list[tuple[int, int, Any, int]] = []
        self.datatypes: dict[int, DataType] = {}

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        self.onlines.append((list(types), list(problems)))

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        assert self.onlines, "a sample came before the tags were known"
        known = {each.index for each in self.onlines[-1][0]}
        for row in batch.rows():
            assert row[0] in known, "a sample of a tag that has a problem"
            self.datatypes[row[0]] = batch.datatype
            self.rows.append(row)
        if committed is not None:
            committed()

    def of(self, tag: int) -> list[tuple[Any, int]]:
        """(value, quality) of the samples of one tag."""
        return [(value, quality) for index, _time, value, quality in self.rows if index == tag]

    def last(self) -> dict[int, Any]:
        return {index: value for index, _time, value, _quality in self.rows}


def device(endpoint: str, tags: list[dict[str, Any]], **more: Any) -> ModbusDevice:
    numbered = [{"name": f"t{index}"} | tag for index, tag in enumerate(tags)]
    defaults = {"name": "unit", "driver": "modbus", "poll": "20ms", "timeout": "200ms", "retries": 0}
    return ModbusDevice.model_validate({**defaults, "endpoint": endpoint, "tags": numbered, **more})


@asynccontextmanager
async def acquiring(driver: ModbusDriver, recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(driver.acquire(recorder))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, DeviceUnavailable):
            await task


async def until(condition: Callable[[], object], task: asyncio.Task[None] | None = None, limit_s: float = 10) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        if task is not None and task.done():
            task.result()
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.005)


async def polls(recorder: Recorder, count: int, task: asyncio.Task[None], tag: int = 0) -> None:
    """Wait for so many more samples of ``tag``."""
    target = len(recorder.of(tag)) + count
    await until(lambda: len(recorder.of(tag)) >= target, task)


def registers(form: str, *values: Any, order: str = "ABCD") -> list[int]:
    words = list(struct.unpack(f">{struct.calcsize(form) // 2}H", struct.pack(form, *values)))
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word >> 8 | (word & 0xFF) << 8 for word in words]
    return words


CASES: list[tuple[str, str, Any, DataType]] = [
    ("int16", ">h", -12_345, DataType.INT16),
    ("uint16", ">H", 54_321, DataType.UINT16),
    ("int32", ">i", -1_234_567_890, DataType.INT32),
    ("uint32", ">I", 3_456_789_012, DataType.UINT32),
    ("int64", ">q", -1_234_567_890_123_456_789, DataType.INT64),
    ("uint64", ">Q", 17_234_567_890_123_456_789, DataType.UINT64),
    ("float32", ">f", -98.625, DataType.FLOAT),
    ("float64", ">d", 2.718281828459045e-200, DataType.DOUBLE),
]


async def test_every_type_in_every_order_and_table_is_read_right(server: ModbusServer) -> None:
    tags: list[dict[str, Any]] = []
    expected: list[tuple[Any, DataType]] = []
    for table in ("holding", "input"):
        address = 10
        for kind, form, value, datatype in CASES:
            for order in ("ABCD", "BADC", "CDAB", "DCBA"):
                words = registers(form, value, order=order)
                server.set(table, address, *words)
                tags.append({"at": f"{table} {address}", "type": kind, "order": order})
                expected.append((value, datatype))
                address += len(words)
    server.set("holding", 500, *registers(">12s", b"PRESS 7\0\0\0\0\0"))
    tags.append({"at": "holding 500", "type": "string", "length": 12})
    expected.append(("PRESS 7", DataType.STRING))
    server.set("holding", 600, 1 << 5)
    server.set("input", 601, 321)
    tags += [{"at": "holding 600.5"}, {"at": "holding 600.4"}]
    expected += [(True, DataType.BOOLEAN), (False, DataType.BOOLEAN)]
    tags.append({"at": "input 601", "scale": 0.1, "offset": -40, "unit": "°C"})
    expected.append((pytest.approx(-7.9), DataType.DOUBLE))
    for table in ("coil", "discrete"):
        for at, on in ((3, 1), (4, 0), (1203, 1)):
            server.set(table, at, on)
            tags.append({"at": f"{table} {at}"})
            expected.append((bool(on), DataType.BOOLEAN))
    recorder = Recorder()
    before_ns = time.time_ns()
    async with acquiring(ModbusDriver(device(server.endpoint, tags), SystemClock()), recorder) as task:
        await until(lambda: len(recorder.last()) == len(tags), task)
        server.set("holding", 500, *registers(">12s", b"PRESS 8\0\0\0\0\0"))
        text = 2 * 4 * len(CASES)
        await until(lambda: recorder.last()[text] == "PRESS 8", task)
    first = {row[0]: row for row in reversed(recorder.rows)}
    assert [(first[index][2], recorder.datatypes[index]) for index in range(len(tags))] == expected
    assert all(before_ns <= row[1] <= time.time_ns() for row in recorder.rows)
    types, problems = recorder.onlines[0]
    assert ([each.datatype for each in types], problems) == ([datatype for _, datatype in expected], [])
    assert len(recorder.onlines) == 1


async def test_neighbours_are_read_together_and_each_class_at_its_own_rate(server: ModbusServer) -> None:
    tags: list[dict[str, Any]] = [{"at": f"holding {2 * at}", "type": "float"} for at in range(100)]
    tags += [{"at": f"coil {at}"} for at in range(0, 1000, 7)]
    tags += [{"at": "input 0", "poll": "200ms"}]
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, tags, poll="50ms", unit_id=17), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        server.command("reset")
        begin_s = time.monotonic()
        await asyncio.sleep(1.0)
        cycles = (time.monotonic() - begin_s) / 0.05
        seen = server.requests()
    fast = [(1, 0, 995), (3, 0, 124), (3, 124, 76)]
    assert {request[0] for request in seen} == {17}
    counts = {request: [each[1:] for each in seen].count(request) for request in {each[1:] for each in seen}}
    assert set(counts) == {*fast, (4, 0, 1)}
    # A shared machine may leave cycles out, which are counted; none may be made twice.
    assert all(cycles - 3 - driver.counters.missed_cycles <= counts[block] <= cycles + 1 for block in fast)
    assert 3 <= counts[4, 0, 1] <= 6


async def test_counting_registers_are_followed_without_a_gap(server: ModbusServer) -> None:
    server.command("count holding 0 0 read")
    recorder = Recorder()
    async with acquiring(ModbusDriver(device(server.endpoint, [{"at": "holding 0"}]), SystemClock()), recorder) as task:
        await polls(recorder, 20, task)
    values = [value for value, _quality in recorder.of(0)]
    assert values == list(range(1, len(values) + 1))


async def test_one_refused_address_stops_no_neighbour_and_comes_back_when_the_unit_has_it(server: ModbusServer) -> None:
    tags = [{"at": f"holding {at}"} for at in range(40)]
    server.set("holding", 0, *range(1000, 1040))
    server.command("refuse holding 17 17 2")
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, tags), SystemClock(), problem_retry_s=0.3)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 3, task)
        assert recorder.last() == {at: 1000 + at for at in range(40) if at != 17}
        (types, problems) = recorder.onlines[0]
        assert [each.index for each in types] == [at for at in range(40) if at != 17]
        assert [(problem.tag, problem.quality) for problem in problems] == [("t17", BAD_NODE_ID_UNKNOWN)]
        assert problems[0].reason.startswith("holding 17: the unit refuses to read it (function 3, exception 2")
        server.command("reset")
        await polls(recorder, 3, task)
        assert {each[2:] for each in server.requests()} <= {(0, 17), (18, 22), (17, 1)}
        server.command("refuse clear")
        await until(lambda: 17 in recorder.last(), task)
        assert (len(recorder.onlines[-1][0]), recorder.onlines[-1][1]) == (40, [])
        server.command("reset")
        await polls(recorder, 3, task)
        assert {each[2:] for each in server.requests()} == {(0, 40)}


async def test_a_tag_that_is_refused_later_is_reported_then(server: ModbusServer) -> None:
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 1"}, {"at": "holding 2"}]
    async with acquiring(ModbusDriver(device(server.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 3, task)
        server.command("refuse holding 1 1 3")
        await until(lambda: len(recorder.onlines) == 2, task)
        assert [problem.tag for problem in recorder.onlines[-1][1]] == ["t1"]
        await polls(recorder, 3, task)
        await polls(recorder, 3, task, tag=2)


async def test_a_table_that_the_unit_does_not_have_is_a_problem_of_its_tags_only(server: ModbusServer) -> None:
    server.command("refuse holding 0 65535 1")
    recorder = Recorder()
    tags = [{"at": "holding 4"}, {"at": "input 4"}, {"at": "holding 5"}]
    async with acquiring(ModbusDriver(device(server.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 3, task, tag=1)
    problems = recorder.onlines[0][1]
    assert [(problem.tag, problem.quality) for problem in problems] == [
        ("t0", BAD_NOT_SUPPORTED),
        ("t2", BAD_NOT_SUPPORTED),
    ]
    assert "cannot read this kind of register" in problems[0].reason
    assert set(recorder.last()) == {1}


@pytest.mark.parametrize(
    ("code", "quality"),
    [(4, BAD_DEVICE_FAILURE), (6, BAD_NO_COMMUNICATION), (11, BAD_COMMUNICATION_ERROR), (9, BAD_DEVICE_FAILURE)],
)
async def test_a_failure_that_may_pass_gives_bad_samples_without_a_value(
    server: ModbusServer, code: int, quality: int
) -> None:
    server.set("holding", 0, 5)
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "input 0"}]
    async with acquiring(ModbusDriver(device(server.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 2, task)
        server.command(f"refuse holding 0 0 {code}")
        await until(lambda: recorder.of(0)[-1] == (None, quality), task)
        server.command("refuse clear")
        await until(lambda: recorder.of(0)[-1] == (5, 0), task)
    assert len(recorder.onlines) == 1
    assert {quality for _value, quality in recorder.of(1)} == {0}


async def test_a_unit_that_dies_makes_the_device_unavailable_and_it_can_be_acquired_again(server: ModbusServer) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        server.kill()
        with pytest.raises(DeviceUnavailable, match="refused the connection"):
            await asyncio.wait_for(task, 5)
    server.start()
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
    assert len(recorder.onlines) == 2


async def test_a_unit_that_falls_silent_makes_the_device_unavailable(server: ModbusServer) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 7"}], retries=2), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        server.command("silent -1")
        unit = rf"127\.0\.0\.1:{server.port}, unit 1"
        expected = unit + r": no answer within 0\.2 s; check .*\(read of holding 7, tried 3 times\)"
        with pytest.raises(DeviceUnavailable, match=expected):
            await asyncio.wait_for(task, 5)
    assert driver.counters.time_outs == 3


async def test_a_unit_that_never_answers_is_not_online(server: ModbusServer) -> None:
    server.command("silent -1")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    async with acquiring(ModbusDriver(device(server.endpoint, tags), SystemClock()), recorder) as task:
        with pytest.raises(DeviceUnavailable, match="no answer within"):
            await asyncio.wait_for(task, 5)
    assert recorder.onlines == []


async def test_one_lost_reply_is_asked_for_again(server: ModbusServer) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        server.command("silent 1")
        await polls(recorder, 3, task)
    assert (driver.counters.time_outs, driver.counters.connects, len(recorder.onlines)) == (1, 2, 1)


async def test_addresses_that_a_unit_ignores_are_a_problem_while_it_answers_others(server: ModbusServer) -> None:
    server.command("refuse holding 500 510 0")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    driver = ModbusDriver(device(server.endpoint, tags), SystemClock(), problem_retry_s=0.5)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 3, task)
        problems = recorder.onlines[0][1]
        assert [(problem.tag, problem.quality) for problem in problems] == [("t1", BAD_TIMEOUT)]
        assert "while the unit answers" in problems[0].reason
        await until(lambda: driver.counters.time_outs >= 2, task)
        await polls(recorder, 3, task)
        server.command("refuse clear")
        await until(lambda: 1 in recorder.last(), task)


async def test_a_reply_that_comes_after_its_time_is_never_taken_for_another(server: ModbusServer) -> None:
    server.command("count holding 0 0 read")
    recorder = Recorder()
    settings = device(server.endpoint, [{"at": "holding 0"}, {"at": "holding 300"}], timeout="100ms", retries=1)
    server.set("holding", 300, 7)
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        for _ in range(3):
            await polls(recorder, 2, task)
            server.command("delay 150 1")
        await polls(recorder, 10, task)
    counted = [value for value, _quality in recorder.of(0)]
    assert counted == sorted(set(counted))
    assert {value for value, _quality in recorder.of(1)} == {7}


async def test_a_reply_of_another_transaction_is_dropped_and_the_right_one_taken(server: ModbusServer) -> None:
    server.set("holding", 0, 42)
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        server.command("stale 5")
        await polls(recorder, 10, task)
    assert (driver.counters.late_replies, driver.counters.connects) == (5, 1)
    assert {value for value, _quality in recorder.of(0)} == {42}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("function -1", "answered with function 4 to a request with function 3"),
        ("unit -1", "answered as unit 14 to a request for unit 1"),
        ("garbage 400 -1", "sends bytes that are not Modbus/TCP"),
        ("transaction -1", "replies to requests that nobody made"),
        ("hangup -1", "closed the connection"),
    ],
)
async def test_a_unit_that_breaks_the_protocol_gives_no_value(server: ModbusServer, fault: str, reason: str) -> None:
    server.set("holding", 0, 1)
    server.set("input", 0, 2)
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        server.command(fault)
        with pytest.raises(DeviceUnavailable, match=reason):
            await asyncio.wait_for(task, 5)
    assert {row[2:] for row in recorder.rows} == {(1, 0)}
    assert driver.counters.connects == 2


async def test_only_the_named_unit_behind_a_gateway_is_asked(server: ModbusServer) -> None:
    server.command("units 5")
    recorder = Recorder()
    async with acquiring(
        ModbusDriver(device(server.endpoint, [{"at": "holding 0"}], unit_id=6), SystemClock()), recorder
    ) as task:
        await polls(recorder, 2, task)
    assert set(recorder.of(0)) == {(None, BAD_COMMUNICATION_ERROR)}


async def test_a_cancellation_closes_the_connection(server: ModbusServer) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}, {"at": "input 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        assert server.connections() == (1, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: server.connections()[0] == 0)
    names = [other.get_name() for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    assert names == []


async def test_a_cancellation_in_the_middle_of_a_request_closes_the_connection(server: ModbusServer) -> None:
    server.command("silent -1")
    settings = device(server.endpoint, [{"at": "holding 0"}], timeout="60s")
    async with acquiring(ModbusDriver(settings, SystemClock()), Recorder()) as task:
        await until(server.requests, task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)
    await until(lambda: server.connections()[0] == 0)


async def test_an_acquisition_that_is_full_slows_the_polls_down_and_missed_ones_are_counted(
    server: ModbusServer,
) -> None:
    class Slow(Recorder):
        async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            await super().put(batch, committed)
            await asyncio.sleep(0.11)

    recorder = Slow()
    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 6, task)
    assert len(server.requests()) <= 7
    assert driver.counters.missed_cycles >= 15


async def test_an_error_of_the_acquisition_ends_the_driver_as_it_is(server: ModbusServer) -> None:
    class Full(Recorder):
        async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            raise OutboxUnavailable("the disk is full")

    driver = ModbusDriver(device(server.endpoint, [{"at": "holding 0"}]), SystemClock())
    with pytest.raises(OutboxUnavailable, match="disk is full"):
        await asyncio.wait_for(driver.acquire(Full()), 5)


async def test_a_pause_between_requests_is_kept(server: ModbusServer) -> None:
    tags = [{"at": f"holding {at}"} for at in (0, 100, 200, 300)]
    recorder = Recorder()
    driver = ModbusDriver(device(server.endpoint, tags, pause="50ms", poll="10ms"), SystemClock())
    begin_s = time.monotonic()
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
    assert len(server.requests()) <= (time.monotonic() - begin_s) / 0.05 + 1


async def test_a_refused_connection_says_what_to_check() -> None:
    port = free_port()
    with pytest.raises(DeviceUnavailable, match=rf"127\.0\.0\.1:{port} refused the connection: check the port"):
        await ModbusDriver(device(f"tcp://127.0.0.1:{port}", [{"at": "holding 0"}]), SystemClock()).acquire(Recorder())


async def test_a_name_with_two_addresses_that_both_refuse_is_a_refusal() -> None:
    port = free_port()
    with pytest.raises(DeviceUnavailable, match=rf"localhost:{port} refused the connection"):
        await ModbusDriver(device(f"tcp://localhost:{port}", [{"at": "holding 0"}]), SystemClock()).acquire(Recorder())


async def test_a_host_that_does_not_answer_says_what_to_check() -> None:
    """A listener whose queue is full: the kernel drops further attempts, as a firewall would."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            driver = ModbusDriver(device(f"tcp://127.0.0.1:{port}", [{"at": "holding 0"}]), SystemClock())
            with pytest.raises(DeviceUnavailable, match=r"gives no answer within 0\.2 s: check that the device is"):
                await asyncio.wait_for(driver.acquire(Recorder()), 5)


async def test_a_network_without_a_way_to_the_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_route(*_arguments: Any, **_names: Any) -> None:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_route)
    driver = ModbusDriver(device("tcp://127.0.0.1", [{"at": "holding 0"}]), SystemClock())
    with pytest.raises(DeviceUnavailable, match=r"127\.0\.0\.1:502 cannot be reached \(No route to host\): check"):
        await driver.acquire(Recorder())


async def test_an_unknown_host_name_says_so() -> None:
    settings = device("tcp://oven-3.invalid", [{"at": "holding 0"}], timeout="5s")
    with pytest.raises(DeviceUnavailable, match=r"the host name 'oven-3\.invalid' is unknown: check its spelling"):
        await ModbusDriver(settings, SystemClock()).acquire(Recorder())


# -- units that libmodbus cannot be ----------------------------------------------------------------------------------


@asynccontextmanager
async def raw_unit(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[str]:
    """A unit of which a test decides every byte; each part of an answer is a packet of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                for part in answer(await reader.readexactly(12)):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.002)
        writer.close()

    serving: list[asyncio.Task[None] | None] = []
    listener = await asyncio.start_server(serve, "127.0.0.1", free_port())
    async with listener:
        yield f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await asyncio.wait([task for task in serving if task is not None], timeout=5)


def whole_reply(request: bytes, value: int = 77) -> bytes:
    count = int.from_bytes(request[10:12], "big")
    data = value.to_bytes(2, "big") * count
    return request[:4] + (3 + len(data)).to_bytes(2, "big") + request[6:8] + bytes((len(data),)) + data


async def test_a_reply_in_packets_of_one_byte_is_read_whole() -> None:
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
async def test_a_distorted_reply_is_refused(distort: Callable[[bytes], bytes], reason: str) -> None:
    recorder = Recorder()
    async with raw_unit(lambda request: [distort(whole_reply(request))]) as endpoint:
        driver = ModbusDriver(device(endpoint, [{"at": "holding 0"}]), SystemClock())
        with pytest.raises(DeviceUnavailable, match=reason):
            await asyncio.wait_for(driver.acquire(recorder), 5)
    assert recorder.rows == []


async def test_a_unit_that_floods_the_line_is_given_up_in_time() -> None:
    """Replies to nobody, without end, must not keep the driver waiting beyond the time-out."""

    def answer(request: bytes) -> list[bytes]:
        return [(b"\xee\xee" + whole_reply(request)[2:]) * 50] * 1000

    driver = None
    async with raw_unit(answer) as endpoint:
        driver = ModbusDriver(device(endpoint, [{"at": "holding 0"}]), SystemClock())
        with pytest.raises(DeviceUnavailable, match="replies to requests that nobody made"):
            await asyncio.wait_for(driver.acquire(Recorder()), 5)
    assert driver.counters.late_replies > 50


async def test_a_unit_that_closes_an_idle_connection_is_connected_to_again() -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(whole_reply(await reader.readexactly(12), 5))
            await writer.drain()
            served += 1
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", free_port())
    recorder = Recorder()
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        settings = device(f"tcp://127.0.0.1:{port}", [{"at": "holding 0"}], retries=1)
        async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
            await polls(recorder, 5, task)
    assert (len(recorder.onlines), {value for value, _quality in recorder.of(0)}) == (1, {5})
    assert served >= 5
