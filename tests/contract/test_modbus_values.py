"""What the Modbus driver makes of the registers of libmodbus: types, orders, places, and the exceptions of a unit."""

from __future__ import annotations

import struct
import time
from functools import partial
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.datatypes import DataType
from connectors.model.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_CONNECTED,
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_RANGE,
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
    expected.append((-7.9, DataType.DOUBLE))
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


async def test_the_last_places_of_a_table_are_read_together_where_counting_begins_with_one(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.set("holding", 65_533, 1, 2, 79)
    modbus_unit.set("coil", 65_535, 1)
    places = [{"at": "holding 65536"}, {"at": "holding 65534", "type": "uint32"}, {"at": "coil 65536"}]
    recorder = Recorder()
    it = ModbusDriver(device(modbus_unit.endpoint, places, base=1), SystemClock())
    async with acquiring(it, recorder) as task:
        await until(lambda: recorder.last() == {0: 79, 1: 0x1_0002, 2: True}, task)
    assert recorder.onlines[0][1] == []
    assert {asked[1:] for asked in modbus_unit.requests()} >= {(3, 65_533, 3), (1, 65_535, 1)}


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
