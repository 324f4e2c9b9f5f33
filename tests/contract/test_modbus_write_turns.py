"""Writes to a Modbus unit among all else that goes on: their turn, what waits, and what ends while one is under way."""

from __future__ import annotations

import asyncio

import pytest

from connectors.modbus.command import Command
from connectors.modbus.connection import COMMANDS_WAITING_MAX
from connectors.modbus.driver import ModbusDriver
from connectors.modbus.plan import planned_tags
from connectors.modbus.writes import write_steps
from connectors.model.errors import DeviceUnavailable, WriteUncertain
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, listening, polls, until
from tests.contract.test_modbus_writes import driver_of, writes
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer


async def test_a_write_that_finds_the_connection_broken_waits_for_the_next_one(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 4"}, poll="10s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        assert driver._at_work is not None
        connection = driver._at_work[0]
        assert connection.bus._link is not None
        connection.bus.failed(connection.bus._link, "the cable was out")
        modbus_unit.command("reset")
        await driver.write(0, 5)
        assert (writes(modbus_unit), modbus_unit.get("holding", 4), driver.counters.connects) == ([(6, 4, 1)], [5], 2)


async def test_a_write_that_is_given_up_under_way_ends_the_connection_with_its_answer(
    modbus_unit: ModbusServer,
) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 4"}, {"at": "holding 6"}, poll="10s", timeout="5s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("reset")
        modbus_unit.command("delay 1000 1")
        writing = asyncio.create_task(driver.write(0, 5))
        await until(lambda: writes(modbus_unit))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await driver.write(1, 6)
        assert writes(modbus_unit) == [(6, 4, 1), (6, 6, 1)]
        assert (driver.counters.connects, driver.counters.time_outs, driver.counters.late_replies) == (2, 0, 0)


async def test_a_driver_that_stops_says_of_each_command_whether_it_was_sent(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 4"}, poll="10s", timeout="5s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        assert driver._at_work is not None
        connection = driver._at_work[0]
        modbus_unit.command("reset")
        modbus_unit.command("silent 1")
        commands = [asyncio.create_task(work) for work in (driver.write(0, 5), driver.write(0, 6), driver.read(0))]
        await until(lambda: writes(modbus_unit))
    sent, waiting, reading = await asyncio.gather(*commands, return_exceptions=True)
    assert (type(sent), type(waiting), type(reading)) == (WriteUncertain, DeviceUnavailable, DeviceUnavailable)
    assert str(waiting).endswith("the connection was closed; nothing was written")
    assert writes(modbus_unit) == [(6, 4, 1)]
    command = Command(write_steps(planned_tags(driver._settings)[0], 7, 1))
    with pytest.raises(DeviceUnavailable, match="the connection was closed; nothing was written"):
        async with asyncio.timeout(WAIT_S_MAX):
            await connection.execute(command)


async def test_no_more_commands_wait_than_can_be_remembered(modbus_unit: ModbusServer) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 4"}, poll="10s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("delay 50 1")
        commands = [asyncio.create_task(driver.write(0, number)) for number in range(COMMANDS_WAITING_MAX + 3)]
        outcomes = await asyncio.gather(*commands, return_exceptions=True)
    assert outcomes[: COMMANDS_WAITING_MAX + 1] == [None] * (COMMANDS_WAITING_MAX + 1)  # one was on the wire
    for outcome in outcomes[COMMANDS_WAITING_MAX + 1 :]:
        assert isinstance(outcome, DeviceUnavailable)
        assert str(outcome).endswith("too many commands wait; nothing was written")
    assert len(writes(modbus_unit)) == COMMANDS_WAITING_MAX + 1


async def test_a_command_is_alone_on_the_wire() -> None:
    """A unit that answers slowly, and knows what has not been answered when a write comes."""
    waiting: list[bytes] = []
    waiting_at_writes: list[int] = []
    most = 0

    def answer_to(frame: bytes) -> bytes:
        if frame[7] == 6:
            return frame
        return frame[:4] + b"\0\x05" + frame[6:8] + b"\x02\0\x07"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer_one_by_one() -> None:
            while True:
                await asyncio.sleep(0.004)
                if waiting:
                    writer.write(answer_to(waiting.pop(0)))

        nonlocal most
        answering = asyncio.create_task(answer_one_by_one())
        try:
            while True:
                frame = await reader.readexactly(12)
                if frame[7] == 6 or any(each[7] == 6 for each in waiting):
                    waiting_at_writes.append(len(waiting))
                waiting.append(frame)
                most = max(most, len(waiting))
        finally:
            answering.cancel()

    recorder = Recorder()
    tags = [{"at": f"holding {200 * at}"} for at in range(8)]
    async with listening(serve) as endpoint:
        driver = ModbusDriver(device_settings(endpoint, tags, in_flight=8, timeout="5s"), SystemClock())
        async with acquiring(driver, recorder) as task:
            await polls(recorder, 1, task, tag=7)
            for number in range(5):
                await driver.write(3, 7)
                await polls(recorder, 1, task, tag=7)
                assert (number, (await driver.read(3)).value) == (number, 7)
    assert waiting_at_writes == [0] * 5
    assert most == 8


@pytest.mark.parametrize("in_flight", [1, 8])
async def test_a_write_is_the_next_request_however_much_is_polled_and_polls_go_on(
    modbus_unit: ModbusServer, in_flight: int
) -> None:
    """5,000 registers, ten times a second: 40 requests a scan. A command waits for those on the wire, for no scan."""
    registers = 5_000
    tags = [{"at": f"holding {at}"} for at in range(registers)] + [{"at": "holding 6000.4"}, {"at": "holding 6001"}]
    bit, number = registers, registers + 1
    recorder = Recorder()
    driver = driver_of(modbus_unit, *tags, poll="100ms", in_flight=in_flight, timeout="5s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task, tag=number)
        modbus_unit.command("forbid 22")
        assert driver._at_work is not None
        connection = driver._at_work[0]

        def in_the_middle_of_a_scan() -> bool:
            return (
                connection.bus._link is not None and bool(connection.bus._link.in_flight) and len(connection.queue) > 0
            )

        for value in range(1, 6):
            await until(in_the_middle_of_a_scan, task)
            modbus_unit.command("reset")
            sent = driver.counters.requests
            await driver.write(number, value)
            await driver.write(bit, True)
            assert (await driver.read(number)).value == value
            count = driver.counters.requests - sent
            requests = [(function, at) for _unit, function, at, _count in modbus_unit.requests()]
            at = requests.index((6, 6001))
            assert at < in_flight + 1, "it has waited for more than what was on the wire"
            assert requests[requests.index((22, 6000)) :][:3] == [(22, 6000), (3, 6000), (6, 6000)]
            assert count < 5 + 4 * (in_flight + 1), "the polls between the commands were more than a window each"
            await polls(recorder, 2, task, tag=number)
        assert recorder.of(number)[-1] == (5, 0)
    assert (driver.counters.connects, driver.counters.time_outs, recorder.late) == (1, 0, [])
    assert modbus_unit.get("holding", 6000, 2) == [1 << 4, 5]
