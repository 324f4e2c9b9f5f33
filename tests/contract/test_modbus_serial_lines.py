"""The Modbus driver on a serial line: its own port or a converter's, with units that are slow, silent or misheard."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus import doubt
from connectors.modbus.buses import ModbusBuses
from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import SystemClock
from connectors.stopping import Tasks
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls, until
from tests.contract.modbus_rtu_gateway import rtu_gateway
from tests.contract.modbus_serial_line import Line, converter, serial_line
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusRtuUnit, ModbusServer

TAGS = [
    {"at": "holding 0", "writable": {"min": 0, "max": 65_535}},
    {"at": "holding 1", "type": "int32"},
    {"at": "holding 200"},
]


def driver(
    line: Line, tags: list[dict[str, Any]] = TAGS, *, unit_id: int = 3, buses: ModbusBuses | None = None, **more: Any
) -> ModbusDriver:
    if line.endpoint.startswith("serial"):
        more = {"serial": {"parity": "none"}, **more}  # a pseudo-terminal knows no parity
    settings = device_settings(line.endpoint, tags, **{"unit_id": unit_id, "timeout": "1s", **more})
    return ModbusDriver(settings, SystemClock(), buses)


@pytest.fixture(params=[serial_line, converter], ids=["serial port", "converter"])
def wired(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Line]:
    line: AbstractAsyncContextManager[Line] = request.param()
    return line


async def test_a_unit_on_a_serial_line_is_read_and_written(wired: AbstractAsyncContextManager[Line]) -> None:
    recorder = Recorder()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            unit.command("set 0 7 1 2")
            unit.command("set 200 9")
            it = driver(line)
            async with acquiring(it, recorder) as task:
                await polls(recorder, 3, task)
                await asyncio.wait_for(it.write(0, 4711), WAIT_S_MAX)
                assert unit.command("get 0") == "4711"
                await until(lambda: recorder.last()[0] == 4711, task)
    assert recorder.last() == {0: 4711, 1: 0x1_0002, 2: 9}
    assert (it.counters.time_outs, it.counters.connects, it.counters.late_replies) == (0, 1, 0)
    assert all(frame[0] == 3 for frame in line.sent)


async def test_all_tables_are_read_and_written_on_a_line(wired: AbstractAsyncContextManager[Line]) -> None:
    limits = {"min": 0, "max": 1e6}
    written: list[tuple[dict[str, Any], Any]] = [
        ({"at": "holding 0", "writable": limits}, 77),
        ({"at": "holding 2", "type": "float", "order": "CDAB", "writable": limits}, 2.5),
        ({"at": "holding 5.3", "writable": True}, True),
        ({"at": "coil 1207", "writable": True}, True),
    ]
    recorder = Recorder()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            it = driver(line, [*(tag for tag, _ in written), {"at": "discrete 9"}, {"at": "input 4"}])
            async with acquiring(it, recorder) as task:
                await polls(recorder, 1, task)
                for tag, (_, value) in enumerate(written):
                    await asyncio.wait_for(it.write(tag, value), WAIT_S_MAX)
                wanted = [*(value for _, value in written), False, 0]
                await until(lambda: [recorder.last().get(tag) for tag in range(6)] == wanted, task)
                assert [unit.command(f"get {at}") for at in (0, 2, 3, 5)] == ["77", "0", str(0x4020), "8"]
    assert {frame[1] for frame in line.sent} == {1, 2, 3, 4, 5, 6, 16, 22}
    assert (it.counters.time_outs, it.counters.invalid_replies) == (0, 0)


async def test_stray_bytes_before_a_reply_do_no_harm(wired: AbstractAsyncContextManager[Line]) -> None:
    recorder = Recorder()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            it = driver(line)
            async with acquiring(it, recorder) as task:
                await polls(recorder, 1, task)
                unit.command("noise 5")
                await polls(recorder, 5, task)
    assert (it.counters.time_outs, it.counters.invalid_replies) == (0, 0)


async def test_a_reply_with_a_wrong_checksum_is_none_and_is_asked_for_again(
    wired: AbstractAsyncContextManager[Line],
) -> None:
    recorder = Recorder()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            it = driver(line, retries=1)
            async with acquiring(it, recorder) as task:
                await polls(recorder, 1, task)
                unit.command("damage 1")
                await polls(recorder, 3, task)
    assert (it.counters.time_outs, len(recorder.onlines)) == (1, 1)
    assert {value for value, _ in recorder.of(0)} == {0}


async def test_a_line_that_garbles_everything_is_described(wired: AbstractAsyncContextManager[Line]) -> None:
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            unit.command("damage 1000")
            expected = r"unit 3: no answer within 0\.1 s, but bytes that are no reply to it \(03 03 .*check the speed"
            with pytest.raises(DeviceUnavailable, match=expected):
                await asyncio.wait_for(driver(line, timeout="100ms").acquire(Recorder()), WAIT_S_MAX)


async def test_a_late_reply_is_never_taken_for_the_next_one(wired: AbstractAsyncContextManager[Line]) -> None:
    recorder = Recorder()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            unit.command("set 0 7")
            unit.command("set 200 9")
            it = driver(line, [TAGS[0], TAGS[2]], retries=2)
            async with acquiring(it, recorder) as task:
                await polls(recorder, 1, task)
                line.delays_s = [1.3, 0.15, 0.15]  # with a retry at once, holding 200 would get the reply to that
                await polls(recorder, 5, task)
    assert {value for value, _ in recorder.of(0)} == {7}
    assert {value for value, _ in recorder.of(1)} == {9}
    assert (it.counters.time_outs, len(recorder.onlines)) == (1, 1)


async def test_a_dead_unit_on_the_line_takes_nothing_from_the_other(wired: AbstractAsyncContextManager[Line]) -> None:
    recorder, buses = Recorder(), ModbusBuses()
    async with wired as line:
        with ModbusRtuUnit(line.unit_port, 3):
            alive, dead = driver(line, buses=buses), driver(line, unit_id=4, buses=buses, timeout="100ms")
            async with acquiring(alive, recorder) as task:
                await until(lambda: recorder.onlines, task)
                for _ in range(3):
                    with pytest.raises(DeviceUnavailable, match="unit 4"):
                        await asyncio.wait_for(dead.acquire(Recorder()), WAIT_S_MAX)
                with pytest.raises(DeviceUnavailable, match="other units share its bus"):
                    await asyncio.wait_for(dead.acquire(Recorder()), WAIT_S_MAX)
                await polls(recorder, 3, task)
    assert (len(recorder.onlines), alive.counters.time_outs, alive.counters.connects) == (1, 0, 1)


async def test_the_echo_of_a_converter_is_taken_off(wired: AbstractAsyncContextManager[Line]) -> None:
    recorder = Recorder()
    async with wired as line:
        line.has_echo = True
        with ModbusRtuUnit(line.unit_port, 3):
            parity = {"parity": "none"} if line.endpoint.startswith("serial") else {}
            it = driver(line, serial={"echo": True, **parity})
            async with acquiring(it, recorder) as task:
                await polls(recorder, 3, task)
                await asyncio.wait_for(it.write(0, 5), WAIT_S_MAX)
    assert (it.counters.time_outs, it.counters.invalid_replies) == (0, 0)


async def test_a_serial_port_that_is_unplugged_ends_the_session() -> None:
    recorder = Recorder()
    async with serial_line() as line:
        with ModbusRtuUnit(line.unit_port, 3):
            async with acquiring(driver(line), recorder) as task:
                await polls(recorder, 2, task)
                line.unplug()
                with pytest.raises(DeviceUnavailable):
                    await asyncio.wait_for(task, WAIT_S_MAX)


async def test_a_serial_port_belongs_to_one_program_at_a_time() -> None:
    recorder = Recorder()
    async with serial_line() as line:
        with ModbusRtuUnit(line.unit_port, 3):
            async with acquiring(driver(line), recorder) as task:
                await polls(recorder, 1, task)
                with pytest.raises(DeviceUnavailable, match="another program uses the port"):
                    await driver(line).acquire(Recorder())


@pytest.mark.parametrize(
    ("path", "advice"), [("/dev/ttyNone9", "check that the converter is plugged in"), ("/dev/null", "no serial port")]
)
async def test_a_port_that_cannot_be_used_says_what_to_check(path: str, advice: str) -> None:
    settings = device_settings(f"serial://{path}", TAGS)
    with pytest.raises(DeviceUnavailable, match=f"{path} cannot be opened .*{advice}"):
        await ModbusDriver(settings, SystemClock()).acquire(Recorder())


async def test_a_converter_that_refuses_says_what_to_check() -> None:
    settings = device_settings(f"rtu+tcp://127.0.0.1:{free_port()}", TAGS)
    with pytest.raises(DeviceUnavailable, match="that the converter passes raw bytes on"):
        await ModbusDriver(settings, SystemClock()).acquire(Recorder())


async def test_units_that_are_not_there_hold_up_no_first_value_for_their_whole_time(
    modbus_unit: ModbusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "GREETING_S", 1.5)
    monkeypatch.setattr(doubt, "GREETING_S_MIN", 1.5)  # a machine that is busy with other tests answers by then
    modbus_unit.command("lost 1 2")
    buses, recorders = ModbusBuses(), {unit_id: Recorder() for unit_id in range(1, 6)}
    async with rtu_gateway(modbus_unit) as endpoint, Tasks() as tasks:
        drivers = {
            unit_id: ModbusDriver(
                device_settings(endpoint, TAGS[:1], unit_id=unit_id, name=f"unit{unit_id}", timeout="30s"),
                SystemClock(),
                buses,
            )
            for unit_id in recorders
        }
        working = [tasks.create_task(it.acquire(recorders[unit_id])) for unit_id, it in drivers.items()]
        await until(lambda: all(recorders[unit_id].rows for unit_id in (3, 4, 5)), working[2])
        for task in working:
            task.cancel()
    assert [drivers[unit_id].counters.requests for unit_id in (1, 2)] == [1, 1]
    assert [drivers[unit_id].counters.time_outs for unit_id in recorders] == [0] * 5


async def test_a_unit_that_was_passed_over_is_asked_again_for_as_long_as_it_may_take(
    modbus_unit: ModbusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "GREETING_S", 0.1)
    modbus_unit.command("delay 300 1")
    buses, recorders = ModbusBuses(), {unit_id: Recorder() for unit_id in (1, 2)}
    async with rtu_gateway(modbus_unit) as endpoint, Tasks() as tasks:
        drivers = [
            ModbusDriver(
                device_settings(endpoint, TAGS[:1], unit_id=unit_id, name=f"unit{unit_id}", timeout="3s"),
                SystemClock(),
                buses,
            )
            for unit_id in recorders
        ]
        working = [
            tasks.create_task(it.acquire(recorder)) for it, recorder in zip(drivers, recorders.values(), strict=True)
        ]
        await until(lambda: all(recorder.rows for recorder in recorders.values()), working[0])
        for task in working:
            task.cancel()
    assert [unit_id for unit_id, *_ in modbus_unit.requests()][:2] == [1, 2]
    assert [it.counters.time_outs for it in drivers] == [0, 0]
    assert [it.counters.connects for it in drivers] == [1, 0]
