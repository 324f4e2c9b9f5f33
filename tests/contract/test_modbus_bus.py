"""Units with one endpoint share one connection, in turns; a unit that is dead takes nothing from the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus.breaker import PAUSE_S_FIRST
from connectors.modbus.buses import ModbusBuses
from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable, WriteUncertain
from connectors.model.quality import BAD_TIMEOUT
from connectors.ports.clock import SystemClock
from connectors.stopping import Tasks
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls, until
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer

PLACES = [{"at": f"holding {200 * block}", "writable": {"min": 0, "max": 65_535}} for block in range(4)]


class Bus:
    """Drivers of one agent for the units of one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._buses = ModbusBuses()
        self.recorders: dict[int, Recorder] = {}

    def driver(self, unit_id: int, tags: list[dict[str, Any]] = PLACES, **more: Any) -> ModbusDriver:
        settings = device_settings(self._endpoint, tags, **{"unit_id": unit_id, "name": f"unit{unit_id}", **more})
        return ModbusDriver(settings, SystemClock(), self._buses)

    @asynccontextmanager
    async def reading(self, driver: ModbusDriver, unit_id: int) -> AsyncIterator[asyncio.Task[None]]:
        """``driver`` at work, its unit online."""
        recorder = self.recorders.setdefault(unit_id, Recorder())
        async with acquiring(driver, recorder) as task:
            await until(lambda: recorder.onlines, task)
            yield task


async def test_units_with_one_endpoint_share_one_connection(modbus_unit: ModbusServer) -> None:
    modbus_unit.set("holding", 0, 5)
    bus = Bus(modbus_unit.endpoint)
    first, second = bus.driver(1), bus.driver(2)
    async with bus.reading(first, 1) as task, bus.reading(second, 2) as other:
        await polls(bus.recorders[1], 3, task)
        await polls(bus.recorders[2], 3, other)
        assert modbus_unit.connections() == (1, 1)
    assert {unit for unit, *_ in modbus_unit.requests()} == {1, 2}
    assert bus.recorders[1].last()[0] == bus.recorders[2].last()[0] == 5
    assert (first.counters.connects, second.counters.connects) == (1, 0)


async def test_units_of_other_agents_and_endpoints_have_their_own_connections(modbus_unit: ModbusServer) -> None:
    one, other = Bus(modbus_unit.endpoint), Bus(modbus_unit.endpoint)
    async with one.reading(one.driver(1), 1), other.reading(other.driver(1), 1):
        assert modbus_unit.connections() == (2, 2)


async def test_a_unit_leaves_the_others_their_connection_and_the_last_one_closes_it(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    async with bus.reading(bus.driver(2), 2) as staying:
        async with bus.reading(bus.driver(1), 1):
            pass
        await polls(bus.recorders[2], 3, staying)
        assert modbus_unit.connections() == (1, 1)
    await until(lambda: modbus_unit.connections() == (0, 1))


async def test_a_dead_unit_is_left_alone_and_takes_nothing_from_the_others(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    alive, dying = bus.driver(1), bus.driver(2, retries=1, timeout="200ms")
    async with bus.reading(alive, 1) as task, bus.reading(dying, 2) as ending:
        modbus_unit.command("lost 2")
        with pytest.raises(DeviceUnavailable, match="unit 2: no answer within"):
            await asyncio.wait_for(ending, WAIT_S_MAX)
        with pytest.raises(DeviceUnavailable, match="unit 2: it does not answer, and other units share its bus") as why:
            await asyncio.wait_for(dying.acquire(Recorder()), WAIT_S_MAX)
        assert why.value.retry_after_s is not None
        assert PAUSE_S_FIRST - 2 < why.value.retry_after_s <= PAUSE_S_FIRST
        modbus_unit.command("reset")
        with pytest.raises(DeviceUnavailable, match="other units share its bus"):
            await asyncio.wait_for(dying.acquire(Recorder()), WAIT_S_MAX)
        await polls(bus.recorders[1], 3, task)
        assert {unit for unit, *_ in modbus_unit.requests()} == {1}
        assert modbus_unit.connections() == (1, 1)
    assert (len(bus.recorders[1].onlines), alive.counters.time_outs) == (1, 0)
    assert bus.recorders[1].late == []


async def test_of_247_units_half_are_dead_and_the_others_are_polled_as_if_they_were_not_there(
    modbus_unit: ModbusServer,
) -> None:
    bus = Bus(modbus_unit.endpoint)
    dead, alive = range(1, 124), range(124, 248)
    modbus_unit.command(f"lost {' '.join(map(str, dead))}")
    drivers = {unit_id: bus.driver(unit_id, PLACES[:1], timeout="50ms", poll="250ms") for unit_id in dead}
    drivers |= {unit_id: bus.driver(unit_id, PLACES[:1], timeout="5s", poll="250ms") for unit_id in alive}
    recorders = {unit_id: Recorder() for unit_id in drivers}

    async def keep_acquiring(unit_id: int) -> None:
        while True:
            try:
                await drivers[unit_id].acquire(recorders[unit_id])
            except DeviceUnavailable as exc:
                await asyncio.sleep(exc.retry_after_s or 0.2)

    def requests_to_dead() -> int:
        return sum(drivers[unit_id].counters.requests for unit_id in dead)

    async with Tasks() as tasks:
        working = [tasks.create_task(keep_acquiring(unit_id)) for unit_id in drivers]
        await until(lambda: all(recorders[unit_id].onlines for unit_id in alive))
        await until(lambda: all(drivers[unit_id].counters.requests for unit_id in dead))
        begun_s = time.monotonic()
        before, polled = requests_to_dead(), {unit_id: len(recorders[unit_id].rows) for unit_id in alive}
        await until(lambda: all(len(recorders[unit_id].rows) >= polled[unit_id] + 20 for unit_id in alive))
        took_s = time.monotonic() - begun_s
        assert requests_to_dead() - before <= took_s / (11 * 0.05) + 2, "the bus is free of them for ten times as long"
        assert modbus_unit.connections() == (1, 1), "a dead unit is no reason to connect anew"
        for task in working:
            task.cancel()
    assert all(recorders[unit_id].rows == [] for unit_id in dead)
    assert sum(drivers[unit_id].counters.time_outs for unit_id in alive) == 0


async def test_a_unit_that_a_gateway_cannot_reach_is_left_alone(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    modbus_unit.command("units 1")
    absent = bus.driver(2)
    async with bus.reading(bus.driver(1), 1) as task:
        for _ in range(3):
            with pytest.raises(DeviceUnavailable, match=r"unit 2 cannot be reached \(exception 11") as why:
                await asyncio.wait_for(absent.acquire(Recorder()), WAIT_S_MAX)
        assert why.value.retry_after_s == pytest.approx(PAUSE_S_FIRST, abs=1)
        await polls(bus.recorders[1], 2, task)


async def test_a_unit_that_is_alone_is_never_left_alone(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    modbus_unit.command("lost 2")
    driver = bus.driver(2, timeout="100ms")
    for _ in range(3):
        with pytest.raises(DeviceUnavailable, match="unit 2: no answer within") as why:
            await asyncio.wait_for(driver.acquire(Recorder()), WAIT_S_MAX)
        assert why.value.retry_after_s is None


async def test_a_silent_address_does_not_make_its_unit_a_dead_one(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    tags = [{"at": f"holding {at}"} for at in range(8)]
    modbus_unit.command("refuse holding 6 6 0")
    async with bus.reading(bus.driver(1), 1), bus.reading(bus.driver(2, tags, timeout="300ms"), 2) as task:
        await polls(bus.recorders[2], 2, task)
    (online,) = bus.recorders[2].onlines
    assert [(problem.tag, problem.quality) for problem in online[1]] == [("t6", BAD_TIMEOUT)]


async def test_a_write_to_one_unit_goes_before_the_polls_of_all(modbus_unit: ModbusServer) -> None:
    bus = Bus(modbus_unit.endpoint)
    first, second = bus.driver(1), bus.driver(2)
    async with bus.reading(first, 1), bus.reading(second, 2):
        modbus_unit.command("delay 50 -1")
        modbus_unit.command("reset")
        await until(lambda: len(modbus_unit.requests()) > 0)
        await asyncio.wait_for(second.write(0, 4711), WAIT_S_MAX)
        seen = modbus_unit.requests()
        assert next(at for at, (unit, function, *_) in enumerate(seen) if (unit, function) == (2, 6)) <= 2
    assert modbus_unit.get("holding", 0) == [4711]


async def test_after_a_write_without_an_answer_the_others_go_on_over_a_new_connection(
    modbus_unit: ModbusServer,
) -> None:
    bus = Bus(modbus_unit.endpoint)
    first, second = bus.driver(1), bus.driver(2, poll="10s", timeout="500ms")
    async with bus.reading(first, 1) as task, bus.reading(second, 2):
        modbus_unit.command("lost 2")
        with pytest.raises(WriteUncertain, match="unit 2: no answer within"):
            await asyncio.wait_for(second.write(0, 1), WAIT_S_MAX)
        await polls(bus.recorders[1], 3, task)
        assert modbus_unit.connections() == (1, 2)
    assert len(bus.recorders[1].onlines) == 1


async def test_units_that_wait_for_one_connect_are_told_the_same() -> None:
    port = free_port()
    bus = Bus(f"tcp://127.0.0.1:{port}")
    outcomes = await asyncio.gather(
        *(bus.driver(unit_id).acquire(Recorder()) for unit_id in (1, 2, 3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DeviceUnavailable] * 3
    assert {str(outcome).partition(": ")[2].partition(":")[0] for outcome in outcomes} == {"127.0.0.1"}
    assert all("refused the connection" in str(outcome) for outcome in outcomes)
