"""What the operator is told of a Modbus unit that gives no values: which device, which unit, and what to check."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_COMMUNICATION_ERROR
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

STRANGER = (
    "; check that the port is that of a Modbus/TCP server, unit_id, and that the device has a connection left (some "
    "allow only one) (read of holding 0)"
)


@pytest.fixture(params=IN_FLIGHT)
def device(request: pytest.FixtureRequest) -> DeviceMaker:
    return partial(device_settings, name="dryer", in_flight=request.param)


async def reason_of(device: DeviceMaker, endpoint: str, **more: Any) -> str:
    """Why ``dryer`` is not online, with the place that differs from run to run written as HERE."""
    recorder = Recorder()
    settings = device(endpoint, [{"at": "holding 0"}], **more)
    with pytest.raises(DeviceUnavailable) as caught:
        await asyncio.wait_for(ModbusDriver(settings, SystemClock()).acquire(recorder), WAIT_S_MAX)
    assert recorder.onlines == []
    return caught.value.reason.replace(endpoint.removeprefix("tcp://"), "HERE")


async def test_a_unit_that_its_gateway_cannot_reach_is_not_online_and_named(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("units 5")
    tags = [{"at": "holding 0"}, {"at": "input 0", "poll": "1s"}]
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, tags, name="dryer", unit_id=6)
    with pytest.raises(DeviceUnavailable) as caught:
        await asyncio.wait_for(ModbusDriver(settings, SystemClock()).acquire(recorder), WAIT_S_MAX)
    place = modbus_unit.endpoint.removeprefix("tcp://")
    assert caught.value.reason == (
        f"dryer: {place} answers that unit 6 cannot be reached (exception 11, gateway target device failed to "
        "respond): check unit_id, and the power and the bus cable of the unit"
    )
    assert recorder.onlines == []
    assert {unit for unit, *_ in modbus_unit.requests()} == {6}


async def test_a_unit_that_its_gateway_loses_while_it_is_polled_has_bad_values(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    recorder = Recorder()
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}], unit_id=6)
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("units 5")
        await until(lambda: recorder.of(0)[-1] == (None, BAD_COMMUNICATION_ERROR), task)
        modbus_unit.command("units")
        await until(lambda: recorder.of(0)[-1] == (0, 0), task)
    assert len(recorder.onlines) == 1


async def test_a_unit_that_never_answers_is_named_with_its_unit_id(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("silent -1")
    said = await reason_of(device, modbus_unit.endpoint, unit_id=7, retries=1, timeout="200ms")
    assert said.startswith("dryer: HERE, unit 7: no answer within 0.2 s; check unit_id, that the unit is switched on")
    assert " and that " in said
    assert said.endswith("(read of holding 0, tried 2 times)")


async def test_what_falls_silent_later_has_the_right_unit_id(modbus_unit: ModbusServer, device: DeviceMaker) -> None:
    settings = device(modbus_unit.endpoint, [{"at": "holding 0"}], timeout="500ms")
    recorder = Recorder()
    async with acquiring(ModbusDriver(settings, SystemClock()), recorder) as task:
        await polls(recorder, 2, task)
        modbus_unit.command("silent -1")
        with pytest.raises(DeviceUnavailable) as caught:
            await asyncio.wait_for(task, WAIT_S_MAX)
    assert "no answer within 0.5 s; check that no other program keeps it busy" in caught.value.reason
    assert "unit_id" not in caught.value.reason


async def test_a_reply_of_another_unit_says_which_was_asked_and_which_answered(
    modbus_unit: ModbusServer, device: DeviceMaker
) -> None:
    modbus_unit.command("unit 1")
    said = await reason_of(device, modbus_unit.endpoint, unit_id=7)
    assert said.startswith("dryer: HERE, unit 7: the unit answered as unit ")
    assert said.endswith(f"to a request for unit 7{STRANGER}")


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _speak_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("does", "what"),
    [
        (_close, "the unit closed the connection"),
        (_reset, "the connection broke (Connection reset by peer)"),
        (_speak_http, "the unit sends bytes that are not Modbus/TCP (48 54 54 50 2f 31 2e 31 …)"),
    ],
)
async def test_at_a_port_of_something_else_the_port_is_to_be_checked(
    does: Callable[[asyncio.StreamWriter], None], what: str, device: DeviceMaker
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        does(writer)

    async with listening(serve) as endpoint:
        assert await reason_of(device, endpoint) == f"dryer: HERE, unit 1: {what}{STRANGER}"


async def test_where_nothing_listens_the_device_is_named(device: DeviceMaker) -> None:
    said = await reason_of(device, f"tcp://127.0.0.1:{free_port()}")
    assert said.startswith("dryer: HERE refused the connection: check the port, that Modbus TCP is enabled")
