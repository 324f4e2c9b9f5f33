"""The Modbus driver against a unit of libmodbus: what it reads and asks for, what it says of tags and devices."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import (
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_SUPPORTED,
    BAD_TIMEOUT,
)
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import IN_FLIGHT, DeviceMaker, Recorder, acquiring, device_settings, polls, until
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, in_flight=request.param)


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
        before_s = time.monotonic()
        modbus_unit.command("reset")
        begin_s = time.monotonic()
        await asyncio.sleep(1.0)
        least = (time.monotonic() - begin_s) / 0.05
        await polls(recorder, 1, task, tag=len(tags) - 1)  # until then each class has counted what it missed
        seen = modbus_unit.requests()
        most, missed = (time.monotonic() - before_s) / 0.05, driver.counters.missed_cycles
    fast = [(1, 0, 995), (3, 0, 124), (3, 124, 76)]
    assert {request[0] for request in seen} == {17}
    counts = {request: [each[1:] for each in seen].count(request) for request in {each[1:] for each in seen}}
    assert set(counts) == {*fast, (4, 0, 1)}
    # A shared machine may leave cycles out, which are counted; none may be made twice.
    assert all(least - 3 - missed <= counts[block] <= most + 1 for block in fast)
    assert least / 4 - 2 - missed <= counts[4, 0, 1] <= most / 4 + 1


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


async def test_a_unit_that_dies_makes_the_device_unavailable_and_it_can_be_acquired_again(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    driver = ModbusDriver(device(modbus_unit.endpoint, [{"at": "holding 0"}], retries=1), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.kill()
        with pytest.raises(DeviceUnavailable, match="refused the connection"):
            await asyncio.wait_for(task, WAIT_S_MAX)
    modbus_unit.start()
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
    assert len(recorder.onlines) == 2


async def test_a_unit_that_falls_silent_makes_the_device_unavailable(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    driver = ModbusDriver(
        device(modbus_unit.endpoint, [{"at": "holding 7"}], retries=2, timeout="500ms"), SystemClock()
    )
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("silent -1")
        unit = rf"127\.0\.0\.1:{modbus_unit.port}, unit 1"
        expected = unit + r": no answer within 0\.5 s; check .*\(read of holding 7, tried 3 times\)"
        with pytest.raises(DeviceUnavailable, match=expected):
            await asyncio.wait_for(task, WAIT_S_MAX)
    assert driver.counters.time_outs == 3


async def test_a_unit_that_never_answers_is_not_online(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    modbus_unit.command("silent -1")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, timeout="200ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        with pytest.raises(DeviceUnavailable, match="no answer within"):
            await asyncio.wait_for(task, WAIT_S_MAX)
    assert recorder.onlines == []


async def test_addresses_that_a_unit_ignores_are_a_problem_while_it_answers_others(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("refuse holding 500 510 0")
    recorder = Recorder()
    tags = [{"at": "holding 0"}, {"at": "holding 500"}, {"at": "input 0"}]
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, retry="500ms", timeout="500ms"), SystemClock())
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
    driver = ModbusDriver(device(modbus_unit.endpoint, tags, timeout="500ms"), SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task, tag=3)
    assert [problem.tag for problem in recorder.onlines[0][1]] == ["t0", "t2"]


async def test_a_reply_that_comes_after_its_time_is_never_taken_for_another(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("count holding 0 0 read")
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}, {"at": "holding 300"}], timeout="300ms", retries=1)
    modbus_unit.set("holding", 300, 7)
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        for _ in range(3):
            await polls(recorder, 2, task)
            modbus_unit.command("delay 450 1")
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
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}], retries=1, timeout="500ms")
    driver = ModbusDriver(settings, SystemClock())
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command(fault)
        with pytest.raises(DeviceUnavailable, match=reason):
            await asyncio.wait_for(task, WAIT_S_MAX)
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
