"""The Modbus driver on lines that disturb whatever they can: no value is wrong, and polls go on when they are calm."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus.buses import ModbusBuses
from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls, until
from tests.contract.modbus_serial_line import serial_line
from tests.servers.modbus import ModbusRtuUnit, ModbusServer

TAGS = [{"at": f"holding {200 * block}"} for block in range(4)]
VALUES = {0: 1111, 1: 2222, 2: 3333, 3: 4444}
ENDS_IT = ("a reply that is cut off", "bytes of no meaning", "a reset")
"""What cannot be told from a reply of its own on TCP unless the connection ends with it."""


class RoughWire:
    """A way to a unit on TCP that does to replies what ``disturb`` draws, as long as it is ``rough``."""

    def __init__(self, unit: ModbusServer, seed: int) -> None:
        self._unit_port = unit.port
        self._random = random.Random(seed)
        self.is_rough = True
        self.connections_max: int | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.done: dict[str, int] = {}
        self.endpoint = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[RoughWire]:
        port = free_port()
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.endpoint = f"tcp://127.0.0.1:{port}"
        async with server:
            yield self
            for task in self._serving:
                task.cancel()
            if self._serving:
                await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connections_max is not None and len(self._serving) >= self.connections_max:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        from_unit, to_unit = await asyncio.open_connection("127.0.0.1", self._unit_port)
        ways = [asyncio.create_task(way) for way in (_pass_on(reader, to_unit), self._replies(from_unit, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            to_unit.close()
            self._serving.discard(task)

    async def _replies(self, from_unit: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await from_unit.readexactly(6)
            reply = head + await from_unit.readexactly(int.from_bytes(head[4:], "big"))
            how = self._random.choice(list(DISTURBANCES)) if self.is_rough and self._random.random() < 0.3 else ""
            self.done[how] = self.done.get(how, 0) + 1
            for piece in DISTURBANCES[how](reply, self._random) if how else [reply]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            if how == "a reset":
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how in ENDS_IT:
                return


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)


def transaction(reply: bytes, shift: int) -> bytes:
    """That of ``reply``, shifted so far that no request in flight has it."""
    return ((int.from_bytes(reply[:2], "big") + shift) % 65_536).to_bytes(2, "big")


DISTURBANCES = {
    "nothing": lambda reply, drawn: [],
    "twice": lambda reply, drawn: [reply, reply],
    "an old transaction": lambda reply, drawn: [transaction(reply, -drawn.randint(100, 1000)) + reply[2:]],
    "a transaction to come": lambda reply, drawn: [transaction(reply, drawn.randint(100, 1000)) + reply[2:]],
    "another unit": lambda reply, drawn: [reply[:6] + bytes((reply[6] ^ drawn.randint(1, 255),)) + reply[7:]],
    "another function": lambda reply, drawn: [reply[:7] + b"\4" + reply[8:]],
    "longer than asked": lambda reply, drawn: [reply[:5] + b"\7" + reply[6:8] + b"\4" + reply[9:] + b"\0\1"],
    "busy for ever": lambda reply, drawn: [reply[:5] + b"\3" + reply[6:7] + b"\x83\6"],
    "byte by byte": lambda reply, drawn: [bytes((byte,)) for byte in reply],
    "a reply that is cut off": lambda reply, drawn: [reply[: drawn.randint(1, len(reply) - 1)]],
    "a reset": lambda reply, drawn: [reply[: drawn.randint(0, len(reply))]],
    "bytes of no meaning": lambda reply, drawn: [drawn.randbytes(drawn.randint(1, 300))],
}


async def keep_acquiring(driver: ModbusDriver, recorder: Recorder, reasons: list[str]) -> None:
    while True:
        try:
            await driver.acquire(recorder)
        except DeviceUnavailable as exc:
            reasons.append(exc.reason)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_to_replies_no_value_is_wrong_and_polls_go_on_when_it_is_over(
    modbus_unit: ModbusServer, in_flight: int, seed: int
) -> None:
    for tag, value in VALUES.items():
        modbus_unit.set("holding", 200 * tag, value)
    recorder = Recorder()
    async with RoughWire(modbus_unit, seed).listening() as wire:
        settings = device_settings(wire.endpoint, TAGS, in_flight=in_flight, timeout="50ms", retries=3, retry="100ms")
        task = asyncio.create_task(keep_acquiring(ModbusDriver(settings, SystemClock()), recorder, []))
        await until(lambda: sum(wire.done.values()) > 400 and set(DISTURBANCES) <= set(wire.done), task)
        wire.is_rough = False
        for tag in VALUES:
            await polls(recorder, 3, task, tag=tag)
        task.cancel()
        await asyncio.wait([task])
    good = {(tag, value) for tag, _time, value, quality in recorder.rows if quality == 0}
    assert good == set(VALUES.items())


@pytest.mark.slow
async def test_whatever_is_on_a_serial_line_no_value_is_wrong_and_polls_go_on_when_it_is_over() -> None:
    """A reply on a line has no number: one that is later than twice the time-out is taken for that to the next read."""
    drawn, recorder = random.Random(3), Recorder()
    tags = TAGS[:2]
    async with serial_line() as line:
        deliver, disturbed = line.to_client, 0

        def rough(data: bytes) -> None:
            nonlocal disturbed
            if drawn.random() < 0.3:
                disturbed += 1
                at = drawn.randrange(len(data))
                how = drawn.randrange(5)
                data = (
                    drawn.randbytes(5) + data,
                    data[:at],
                    data[:at] + bytes((data[at] ^ 1 << drawn.randrange(8),)) + data[at + 1 :],
                    data[:at] + drawn.randbytes(3) + data[at:],
                    data + data,
                )[how]
            deliver(data)

        line.to_client = rough
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            for tag in (0, 1):
                unit.command(f"set {200 * tag} {VALUES[tag]}")
            more = {"unit_id": 3, "serial": {"parity": "none"}, "timeout": "200ms", "retries": 3, "retry": "100ms"}
            driver = ModbusDriver(device_settings(line.endpoint, tags, **more), SystemClock())
            task = asyncio.create_task(keep_acquiring(driver, recorder, []))
            await until(lambda: disturbed > 60, task)
            line.to_client = deliver
            for tag in (0, 1):
                await polls(recorder, 3, task, tag=tag)
            task.cancel()
            await asyncio.wait([task])
    assert {(tag, value) for tag, _time, value, quality in recorder.rows if quality == 0} == {(0, 1111), (1, 2222)}


async def test_a_serial_port_that_was_unplugged_is_read_again_when_it_is_back(tmp_path: Path) -> None:
    port, recorder, reasons = tmp_path / "ttyUSB0", Recorder(), list[str]()
    settings = device_settings(f"serial://{port}", TAGS[:1], unit_id=3, serial={"parity": "none"})
    task = asyncio.create_task(keep_acquiring(ModbusDriver(settings, SystemClock()), recorder, reasons))
    for _ in range(2):
        await until(lambda: any("there is no such port" in reason for reason in reasons), task)
        async with serial_line() as line:
            port.symlink_to(line.endpoint.removeprefix("serial://"))
            with ModbusRtuUnit(line.unit_port, 3):
                await polls(recorder, 3, task)
                port.unlink()
                line.unplug()
                reasons.clear()
    task.cancel()
    await asyncio.wait([task])
    assert len(recorder.onlines) == 2


async def test_a_gateway_that_takes_one_connection_serves_the_first_and_then_the_second(
    modbus_unit: ModbusServer,
) -> None:
    """Two agents, each with two units behind it."""
    first, second, reasons = [Recorder(), Recorder()], [Recorder(), Recorder()], list[str]()
    async with RoughWire(modbus_unit, 0).listening() as wire:
        wire.is_rough, wire.connections_max = False, 1

        def drivers() -> list[ModbusDriver]:
            buses = ModbusBuses()
            return [
                ModbusDriver(device_settings(wire.endpoint, TAGS[:1], unit_id=unit), SystemClock(), buses)
                for unit in (1, 2)
            ]

        one, other = drivers()
        async with acquiring(one, first[0]) as task, acquiring(other, first[1]) as task_too:
            await polls(first[0], 3, task)
            await polls(first[1], 3, task_too)
            waiting = [
                asyncio.create_task(keep_acquiring(*each, reasons)) for each in zip(drivers(), second, strict=True)
            ]
            await until(lambda: len(reasons) >= 6)
            await polls(first[0], 3, task)
            await polls(first[1], 3, task_too)
            assert (one.counters.connects, other.counters.connects) in ((1, 0), (0, 1))
            assert all("some allow only one" in reason for reason in reasons), "\n".join(reasons)
            assert not second[0].rows
        for recorder, each in zip(second, waiting, strict=True):
            await polls(recorder, 3, each)
            each.cancel()
        await asyncio.wait(waiting)
