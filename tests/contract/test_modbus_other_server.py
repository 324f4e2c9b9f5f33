"""The Modbus driver on a server of modbus-serial, which shares no line of code with libmodbus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable, WriteRefused
from connectors.model.quality import BAD_DECODING_ERROR, GOOD, UNCERTAIN
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls, until
from tests.patience import WAIT_S_MAX
from tests.servers.node_modbus import NodeModbusServer

LIMITS = {"min": -1e15, "max": 1e15}
TAGS: list[dict[str, Any]] = [
    {"at": "40001", "writable": LIMITS},
    {"at": "holding 1", "type": "float", "order": "word-swap", "writable": LIMITS},
    {"at": "holding 4", "type": "int64", "order": "CDABGHEF", "writable": LIMITS},
    {"at": "holding 8", "type": "uint32", "encoding": "bcd", "writable": {"min": 0, "max": 1e8}},
    {"at": "holding 10", "enum": {0: "stopped", 1: "running"}, "writable": True},
    {"at": "holding 11.3", "writable": True},
    {"at": "holding 12", "type": "string", "length": 6, "writable": True},
    {"at": "coil 3", "writable": True},
    {"at": "discrete 20"},
    {"at": "input 5", "scale": 0.1},
]
WRITTEN: list[tuple[int, Any, str, list[int]]] = [
    (0, 4711, "holding 0", [4711]),
    (1, 1.5, "holding 1", [0, 0x3FC0]),
    (2, 0x0001_0002_0003_0004, "holding 4", [2, 1, 4, 3]),
    (3, 12_345_678, "holding 8", [0x1234, 0x5678]),
    (4, "running", "holding 10", [1]),
    (5, True, "holding 11", [8]),
    (6, "Ofen°", "holding 12", [0x4F66, 0x656E, 0xB000]),
    (7, True, "coil 3", [1]),
]


@pytest.fixture
def unit() -> Iterator[NodeModbusServer]:
    with NodeModbusServer(5) as server:
        yield server


def driver(unit: NodeModbusServer, tags: list[dict[str, Any]] = TAGS, **more: Any) -> ModbusDriver:
    settings = device_settings(unit.endpoint, tags, **{"unit_id": 5, "poll": "20ms", "timeout": "1s", **more})
    return ModbusDriver(settings, SystemClock())


async def test_what_is_written_is_there_as_it_is_meant_and_is_read_back(unit: NodeModbusServer) -> None:
    unit.command("set discrete 20 1")
    unit.command("set input 5 28")
    recorder = Recorder()
    it = driver(unit)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        for tag, value, place, cells in WRITTEN:
            await asyncio.wait_for(it.write(tag, value), WAIT_S_MAX)
            table, address = place.split()
            assert unit.get(table, int(address), len(cells)) == cells, place
            assert (await it.read(tag)).value == value
        wanted = {tag: value for tag, value, _, _ in WRITTEN} | {8: True, 9: 2.8}
        await until(lambda: recorder.last() == wanted, task)
    assert (it.counters.connects, it.counters.time_outs, it.counters.invalid_replies) == (1, 0, 0)


async def test_where_counting_begins_with_one_the_last_register_is_written_and_read(unit: NodeModbusServer) -> None:
    tags = [{"at": "holding 65536", "writable": LIMITS}, {"at": "holding 65535"}]
    recorder = Recorder()
    it = driver(unit, tags, base=1)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        await asyncio.wait_for(it.write(0, 4711), 5)
        await until(lambda: recorder.last() == {0: 4711, 1: 0}, task)
    assert unit.get("holding", 65_535, 1) == [4711]


async def test_registers_that_cannot_mean_what_they_should_say_so(unit: NodeModbusServer) -> None:
    unit.command("set holding 8 0 10")
    unit.command("set holding 10 9")
    recorder = Recorder()
    async with acquiring(driver(unit), recorder) as task:
        await polls(recorder, 1, task)
    assert recorder.of(3)[0] == (None, BAD_DECODING_ERROR)
    assert recorder.of(4)[0] == ("9", UNCERTAIN)
    assert recorder.of(0)[0] == (0, GOOD)


async def test_a_tag_that_the_unit_does_not_have_costs_no_other_its_values(unit: NodeModbusServer) -> None:
    unit.command("end holding 12")
    recorder = Recorder()
    async with acquiring(driver(unit), recorder) as task:
        await polls(recorder, 2, task)
    _, (problem,) = recorder.onlines[-1]
    assert "exception 2, illegal data address" in problem.reason
    assert set(recorder.last()) == {0, 1, 2, 3, 4, 5, 7, 8, 9}


async def test_a_reply_that_comes_too_late_is_never_taken_for_another_one(unit: NodeModbusServer) -> None:
    """Before each late reply the connection is opened anew, so its transaction finds nobody."""
    unit.command("set holding 0 7")
    unit.command("set holding 200 9")
    recorder = Recorder()
    it = driver(unit, [{"at": "holding 0"}, {"at": "holding 200"}], retries=3)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 2, task)
        unit.command("delay 1500 1")
        await until(lambda: it.counters.time_outs == 1, task)
        await polls(recorder, 5, task)
    assert {value for value, _ in recorder.of(0)} == {7}
    assert {value for value, _ in recorder.of(1)} == {9}
    assert (it.counters.connects, len(recorder.onlines)) == (2, 1)


async def test_a_connection_that_ends_is_made_again_without_a_gap(unit: NodeModbusServer) -> None:
    recorder = Recorder()
    it = driver(unit)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        unit.command("hangup")
        await until(lambda: it.counters.connects == 2, task)
        await polls(recorder, 2, task)
    assert (len(recorder.onlines), recorder.late) == (1, [])


async def test_a_unit_id_that_is_not_there_says_what_to_check(unit: NodeModbusServer) -> None:
    with pytest.raises(DeviceUnavailable, match=r"unit 6: no answer within 1 s; check unit_id"):
        await asyncio.wait_for(driver(unit, unit_id=6).acquire(Recorder()), WAIT_S_MAX)


async def test_a_function_that_the_unit_does_not_know_is_not_replaced_by_one_that_nobody_asked_for(
    unit: NodeModbusServer,
) -> None:
    recorder = Recorder()
    it = driver(unit, TAGS[:1], write_function=23)
    async with acquiring(it, recorder) as task:
        await polls(recorder, 1, task)
        with pytest.raises(WriteRefused, match="function 23, exception 1, illegal function"):
            await asyncio.wait_for(it.write(0, 5), WAIT_S_MAX)
    assert unit.get("holding", 0) == [0]
