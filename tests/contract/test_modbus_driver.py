"""The Modbus driver against a unit of libmodbus: what it reads and asks for, what it says of tags and devices."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from functools import partial
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
    BAD_TIMEOUT,
)
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import IN_FLIGHT, DeviceMaker, Recorder, acquiring, device_settings, polls, until
from tests.servers.modbus import ModbusServer


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, in_flight=request.param)


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
    ("float16", ">e", -98.625, DataType.FLOAT),
    ("float32", ">f", -98.625, DataType.FLOAT),
    ("float64", ">d", 2.718281828459045e-200, DataType.DOUBLE),
]


async def test_every_type_in_every_order_and_table_is_read_right(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    tags: list[dict[str, Any]] = []
    expected: list[tuple[Any, DataType]] = []
    for table in ("holding", "input"):
        address = 10
        for kind, form, value, datatype in CASES:
            for order in ("ABCD", "BADC", "CDAB", "DCBA"):
                words = registers(form, value, order=order)
                modbus_unit.set(table, address, *words)
                tags.append({"at": f"{table} {address}", "type": kind, "order": order})
                expected.append((value, datatype))
                address += len(words)
    modbus_unit.set("holding", 500, *registers(">12s", b"PRESS 7\0\0\0\0\0"))
    tags.append({"at": "holding 500", "type": "string", "length": 12})
    expected.append(("PRESS 7", DataType.STRING))
    modbus_unit.set("holding", 600, 1 << 5)
    modbus_unit.set("input", 601, 321)
    tags += [{"at": "holding 600.5"}, {"at": "holding 600.4"}]
    expected += [(True, DataType.BOOLEAN), (False, DataType.BOOLEAN)]
    tags.append({"at": "input 601", "scale": 0.1, "offset": -40, "unit": "°C"})
    expected.append((pytest.approx(-7.9), DataType.DOUBLE))
    for table in ("coil", "discrete"):
        for at, on in ((3, 1), (4, 0), (1203, 1)):
            modbus_unit.set(table, at, on)
            tags.append({"at": f"{table} {at}"})
            expected.append((bool(on), DataType.BOOLEAN))
    recorder = Recorder()
    before_ns = time.time_ns()
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await until(lambda: len(recorder.last()) == len(tags), task)
        modbus_unit.set("holding", 500, *registers(">12s", b"PRESS 8\0\0\0\0\0"))
        text = 2 * 4 * len(CASES)
        await until(lambda: recorder.last()[text] == "PRESS 8", task)
    first = {row[0]: row for row in reversed(recorder.rows)}
    assert [(first[index][2], recorder.datatypes[index]) for index in range(len(tags))] == expected
    assert all(before_ns <= row[1] <= time.time_ns() for row in recorder.rows)
    types, problems = recorder.onlines[0]
    assert ([each.datatype for each in types], problems) == ([datatype for _, datatype in expected], [])
    assert len(recorder.onlines) == 1


async def test_every_order_of_64_bits_is_read_by_all_its_names(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    """What the letters say is worked out here once more: A is the most significant byte, as they arrive."""
    others = {"big": "ABCDEFGH", "AB": "ABCDEFGH", "ABCD": "ABCDEFGH", "little": "HGFEDCBA", "DCBA": "HGFEDCBA"}
    others |= {"word-swap": "GHEFCDAB", "CDAB": "GHEFCDAB", "byte-swap": "BADCFEHG", "BADC": "BADCFEHG"}
    others |= {"BA": "BADCFEHG"}
    letters = ["CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC", *others.values()]
    tags: list[dict[str, Any]] = []
    expected: list[Any] = []
    for order in dict.fromkeys([*letters, *others]):
        for kind, form, value in (("uint64", ">Q", 0x1122334455667788), ("int64", ">q", -7), ("double", ">d", 1e-200)):
            data = struct.pack(form, value)
            sent = bytes(data["ABCDEFGH".index(letter)] for letter in others.get(order, order))
            modbus_unit.set("holding", 4 * len(tags), *struct.unpack(">4H", sent))
            tags.append({"at": f"holding {4 * len(tags)}", "type": kind, "order": order})
            expected.append(value)
    recorder = Recorder()
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await until(lambda: len(recorder.last()) == len(tags), task)
    assert [recorder.last()[index] for index in range(len(tags))] == expected


async def test_all_ways_to_count_name_the_same_place(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    for table, value in (("holding", 77), ("input", 78), ("coil", 1), ("discrete", 1)):
        modbus_unit.set(table, 100, value)
    modbus_unit.set("holding", 65_535, 79)
    places = [
        {"at": "holding 100"}, {"at": 40101}, {"at": "400101"}, {"at": "holding 101", "base": 1},
        {"at": "input 100"}, {"at": 30101}, {"at": "300101"}, {"at": "input 101", "base": 1},
        {"at": "coil 100"}, {"at": "00101"}, {"at": "000101"}, {"at": "coil 101", "base": 1},
        {"at": "discrete 100"}, {"at": 10101}, {"at": 100101}, {"at": "discrete 101", "base": 1},
        {"at": "holding 100.6"}, {"at": "40101.6"}, {"at": "holding 101.6", "base": 1},
        {"at": "holding 65535"}, {"at": 465536},
    ]  # fmt: skip
    recorder = Recorder()
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, places), SystemClock()), recorder) as task:
        await until(lambda: len(recorder.last()) == len(places), task)
    expected = [*[77] * 4, *[78] * 4, *[True] * 8, *[True] * 3, 79, 79]
    assert [recorder.last()[index] for index in range(len(places))] == expected
    assert recorder.onlines[0][1] == []


@pytest.mark.parametrize(("code", "quality"), [(1, BAD_NOT_SUPPORTED), (2, BAD_NODE_ID_UNKNOWN), (3, BAD_OUT_OF_RANGE)])
async def test_a_refusal_is_a_problem_with_the_quality_of_its_code(
    modbus_unit: ModbusServer, code: int, quality: int, device: DeviceMaker
) -> None:
    modbus_unit.command(f"refuse holding 0 0 {code}")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "input 0"}]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 2, task, tag=1)
    assert [(problem.tag, problem.quality) for problem in recorder.onlines[0][1]] == [("t0", quality)]
    assert f"exception {code}" in recorder.onlines[0][1][0].reason


async def test_neighbours_are_read_together_and_each_class_at_its_own_rate(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    tags: list[dict[str, Any]] = [{"at": f"holding {2 * at}", "type": "float"} for at in range(100)]
    tags += [{"at": f"coil {at}"} for at in range(0, 1000, 7)]
    tags += [{"at": "input 0", "poll": "200ms"}]
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, poll="50ms", unit_id=17), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("reset")
        begin_s = time.monotonic()
        await asyncio.sleep(1.0)
        cycles = (time.monotonic() - begin_s) / 0.05
        seen = modbus_unit.requests()
    fast = [(1, 0, 995), (3, 0, 124), (3, 124, 76)]
    assert {request[0] for request in seen} == {17}
    counts = {request: [each[1:] for each in seen].count(request) for request in {each[1:] for each in seen}}
    assert set(counts) == {*fast, (4, 0, 1)}
    # A shared machine may leave cycles out, which are counted; none may be made twice.
    assert all(cycles - 3 - driver.counters.missed_cycles <= counts[block] <= cycles + 1 for block in fast)
    assert 3 <= counts[4, 0, 1] <= 6


async def test_counting_registers_are_followed_without_a_gap(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    modbus_unit.command("count holding 0 0 read")
    recorder = Recorder()
    async with acquiring(
        ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock()), recorder
    ) as task:
        await polls(recorder, 20, task)
    values = [value for value, _quality in recorder.of(0)]
    assert values == list(range(1, len(values) + 1))


async def test_one_refused_address_stops_no_neighbour_and_comes_back_when_the_unit_has_it(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    tags = [{"at": f"holding {at}"} for at in range(40)]
    modbus_unit.set("holding", 0, *range(1000, 1040))
    modbus_unit.command("refuse holding 17 17 2")
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, retry="300ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 3, task)
        assert recorder.last() == {at: 1000 + at for at in range(40) if at != 17}
        (types, problems) = recorder.onlines[0]
        assert [each.index for each in types] == [at for at in range(40) if at != 17]
        assert [(problem.tag, problem.quality) for problem in problems] == [("t17", BAD_NODE_ID_UNKNOWN)]
        assert problems[0].reason.startswith("holding 17: unit 1 refuses to read it (function 3, exception 2")
        modbus_unit.command("reset")
        await polls(recorder, 3, task)
        assert {each[2:] for each in modbus_unit.requests()} <= {(0, 17), (18, 22), (17, 1)}
        modbus_unit.command("refuse clear")
        await until(lambda: 17 in recorder.last(), task)
        assert (len(recorder.onlines[-1][0]), recorder.onlines[-1][1]) == (40, [])
        modbus_unit.command("reset")
        await polls(recorder, 3, task)
        assert {each[2:] for each in modbus_unit.requests()} == {(0, 40)}


async def test_of_two_refused_tags_only_the_one_that_comes_back_is_polled_again(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 2 2 2")
    modbus_unit.command("refuse holding 6 6 2")
    recorder = Recorder()
    tags = [{"at": f"holding {at}"} for at in range(9)]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, retry="300ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        assert [problem.tag for problem in recorder.onlines[0][1]] == ["t2", "t6"]
        modbus_unit.command("refuse holding 2 2 -1")
        await until(lambda: 2 in recorder.last(), task)
        await polls(recorder, 3, task)
        modbus_unit.command("reset")
        await polls(recorder, 3, task)
        # The retry of the tag that is still refused may come in between.
        assert {each[2:] for each in modbus_unit.requests()} - {(6, 1)} == {(0, 6), (7, 2)}
    assert [[problem.tag for problem in problems] for _types, problems in recorder.onlines] == [["t2", "t6"], ["t6"]]


async def test_a_tag_that_is_refused_later_is_reported_then(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 1"}, {"at": "holding 2"}]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 3, task)
        modbus_unit.command("refuse holding 1 1 3")
        await until(lambda: len(recorder.onlines) == 2, task)
        assert [problem.tag for problem in recorder.onlines[-1][1]] == ["t1"]
        await polls(recorder, 3, task)
        await polls(recorder, 3, task, tag=2)


async def test_a_table_that_the_unit_does_not_have_is_a_problem_of_its_tags_only(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 0 65535 1")
    recorder = Recorder()
    tags = [{"at": "holding 4"}, {"at": "input 4"}, {"at": "holding 5"}]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
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
    [
        (4, BAD_DEVICE_FAILURE),
        (5, BAD_NO_COMMUNICATION),
        (6, BAD_NO_COMMUNICATION),
        (7, BAD_DEVICE_FAILURE),
        (8, BAD_DEVICE_FAILURE),
        (9, BAD_DEVICE_FAILURE),
        (10, BAD_NOT_CONNECTED),
        (11, BAD_COMMUNICATION_ERROR),
    ],
)
async def test_a_failure_that_may_pass_gives_bad_samples_without_a_value(
    modbus_unit: ModbusServer, code: int, quality: int, device: DeviceMaker
) -> None:
    modbus_unit.set("holding", 0, 5)
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "input 0"}]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command(f"refuse holding 0 0 {code}")
        await until(lambda: recorder.of(0)[-1] == (None, quality), task)
        modbus_unit.command("refuse clear")
        await until(lambda: recorder.of(0)[-1] == (5, 0), task)
    assert len(recorder.onlines) == 1
    assert {quality for _value, quality in recorder.of(1)} == {0}


async def test_a_unit_that_dies_makes_the_device_unavailable_and_it_can_be_acquired_again(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.kill()
        with pytest.raises(DeviceUnavailable, match="refused the connection"):
            await asyncio.wait_for(task, 5)
    modbus_unit.start()
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
    assert len(recorder.onlines) == 2


async def test_a_unit_that_falls_silent_makes_the_device_unavailable(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 7"}], retries=2), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("silent -1")
        unit = rf"127\.0\.0\.1:{modbus_unit.port}, unit 1"
        expected = unit + r": no answer within 0\.2 s; check .*\(read of holding 7, tried 3 times\)"
        with pytest.raises(DeviceUnavailable, match=expected):
            await asyncio.wait_for(task, 5)
    assert driver.counters.time_outs == 3


async def test_a_unit_that_never_answers_is_not_online(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    modbus_unit.command("silent -1")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        with pytest.raises(DeviceUnavailable, match="no answer within"):
            await asyncio.wait_for(task, 5)
    assert recorder.onlines == []


async def test_addresses_that_a_unit_ignores_are_a_problem_while_it_answers_others(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 500 510 0")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, retry="500ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 3, task)
        problems = recorder.onlines[0][1]
        assert [(problem.tag, problem.quality) for problem in problems] == [("t1", BAD_TIMEOUT)]
        assert "while the unit answers" in problems[0].reason
        await until(lambda: driver.counters.time_outs >= 2, task)
        await polls(recorder, 3, task)
        modbus_unit.command("refuse clear")
        await until(lambda: 1 in recorder.last(), task)


async def test_single_silent_blocks_are_not_a_silent_unit(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    modbus_unit.command("refuse holding 0 10 0")
    modbus_unit.command("refuse holding 400 410 0")
    recorder = Recorder()
    tags = [{"at": f"holding {at}"} for at in (0, 200, 400, 600)]
    async with acquiring(ModbusDriver(device(modbus_unit.endpoint, tags), SystemClock()), recorder) as task:
        await polls(recorder, 2, task, tag=3)
    assert [problem.tag for problem in recorder.onlines[0][1]] == ["t0", "t2"]


async def test_a_reply_that_comes_after_its_time_is_never_taken_for_another(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("count holding 0 0 read")
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}, {"at": "holding 300"}], timeout="100ms", retries=1)
    modbus_unit.set("holding", 300, 7)
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        for _ in range(3):
            await polls(recorder, 2, task)
            modbus_unit.command("delay 150 1")
        await polls(recorder, 10, task)
    counted = [value for value, _quality in recorder.of(0)]
    assert counted == sorted(set(counted))
    assert {value for value, _quality in recorder.of(1)} == {7}


async def test_a_reply_of_another_transaction_is_dropped_and_the_right_one_taken(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.set("holding", 0, 42)
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("stale 5")
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
async def test_a_unit_that_breaks_the_protocol_gives_no_value(
    modbus_unit: ModbusServer, fault: str, reason: str, device: DeviceMaker
) -> None:
    modbus_unit.set("holding", 0, 1)
    modbus_unit.set("input", 0, 2)
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command(fault)
        with pytest.raises(DeviceUnavailable, match=reason):
            await asyncio.wait_for(task, 5)
    assert {row[2:] for row in recorder.rows} == {(1, 0)}
    assert driver.counters.connects == 2


async def test_a_cancellation_closes_the_connection(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}, {"at": "input 0"}]), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        assert modbus_unit.connections() == (1, 1)
        open_files = len(os.listdir("/proc/self/fd"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(os.listdir("/proc/self/fd")) == open_files - 1
    await until(lambda: modbus_unit.connections()[0] == 0)
    names = [other.get_name() for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    assert names == []


async def test_a_unit_that_refuses_blocks_can_be_asked_for_each_tag_alone(modbus_unit: ModbusServer) -> None:
    for at in range(4):
        modbus_unit.set("holding", at, at + 1)
    recorder = Recorder()
    tags = [{"at": f"holding {at}"} for at in range(4)]
    driver = ModbusDriver(device_settings(modbus_unit.endpoint, tags, one_request_per_tag=True), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task, tag=3)
    assert recorder.last() == {0: 1, 1: 2, 2: 3, 3: 4}
    assert {count for _unit, _function, _address, count in modbus_unit.requests()} == {1}
