"""Writes to a Modbus unit of libmodbus: which requests they are, and what every answer makes of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from connectors.modbus.driver import ModbusDriver
from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.quality import BAD_NODE_ID_UNKNOWN
from connectors.ports.clock import SystemClock
from tests.contract.modbus_acquisition import Recorder, acquiring, device_settings, polls
from tests.servers.modbus import ModbusServer

FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "float16": ">e",
    "float": ">f",
    "int64": ">q",
    "uint64": ">Q",
    "double": ">d",
}
VALUES: dict[str, Any] = {
    "int16": -12_345,
    "uint16": 0xA1B2,
    "int32": -123_456_789,
    "uint32": 0xA1B2C3D4,
    "float16": -1234.0,
    "float": -1234.5,
    "int64": -(0x0102030405060708),
    "uint64": 0xA1B2C3D4E5F60718,
    "double": 1.0000000001e-77,
}
WRITES = (5, 6, 15, 16, 22)


def driver_of(server: ModbusServer, *tags: dict[str, Any], **more: Any) -> ModbusDriver:
    settings = {"timeout": "1s"} | more
    return ModbusDriver(device_settings(server.endpoint, list(tags), **settings), SystemClock())


def writes(server: ModbusServer) -> list[tuple[int, int, int]]:
    """(function, address, count) of the writes that have arrived since the last ``reset``."""
    return [
        (function, at, 1 if function in (5, 6, 22) else count)
        for _unit, function, at, count in server.requests()
        if function in WRITES
    ]


def as_sent(kind: str, order: str, value: Any) -> list[int]:
    """The registers by the letters of the order, which name the bytes of 32 bits from the most significant one on."""
    data = struct.pack(FORMATS[kind], value)
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


@pytest.mark.parametrize("order", ["ABCD", "BADC", "CDAB", "DCBA"])
async def test_every_type_and_order_is_one_request_that_the_unit_has_as_it_is_meant(
    modbus_unit: ModbusServer, order: str
) -> None:
    kinds = list(FORMATS)
    tags = [{"at": f"holding {10 * at}", "type": kind, "order": order} for at, kind in enumerate(kinds)]
    recorder = Recorder()
    driver = driver_of(modbus_unit, *tags)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        for at, kind in enumerate(kinds):
            modbus_unit.command("reset")
            await driver.write(at, VALUES[kind])
            registers = as_sent(kind, order, VALUES[kind])
            assert modbus_unit.get("holding", 10 * at, len(registers)) == registers
            assert modbus_unit.get("holding", 10 * at + len(registers)) == [0]
            assert writes(modbus_unit) == [(16 if len(registers) > 1 else 6, 10 * at, len(registers))]
            assert (await driver.read(at)).value == VALUES[kind]


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", [0x4F66, 0x656E, 0xB000]),
        ("CDAB", [0x4F66, 0x656E, 0xB000]),
        ("BADC", [0x664F, 0x6E65, 0x00B0]),
        ("DCBA", [0x664F, 0x6E65, 0x00B0]),
    ],
)
async def test_a_text_fills_its_registers_and_no_others(
    modbus_unit: ModbusServer, order: str, registers: list[int]
) -> None:
    modbus_unit.set("holding", 10, *[0x7878] * 6)
    tag = {"at": "holding 11", "type": "string", "length": 5, "order": order}
    recorder = Recorder()
    driver = driver_of(modbus_unit, tag)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        await driver.write(0, "Ofen°")
        assert modbus_unit.get("holding", 10, 5) == [0x7878, *registers, 0x7878]
        assert (await driver.read(0)).value == "Ofen°"


BITS = [{"at": "holding 5.0"}, {"at": "holding 5.15"}, {"at": "holding 5.3", "order": "BADC"}]
WIRE_BITS = [0, 15, 11]


@pytest.mark.parametrize("knows_mask", [True, False])
async def test_a_bit_is_written_and_the_others_of_its_register_stay(
    modbus_unit: ModbusServer, knows_mask: bool
) -> None:
    if not knows_mask:
        modbus_unit.command("forbid 22")
    recorder = Recorder()
    driver = driver_of(modbus_unit, *BITS, {"at": "holding 400"}, poll="1ms")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        for before in (0x0000, 0xFFFF, 0xA5C3):
            for tag, bit in enumerate(WIRE_BITS):
                for value in (True, False, True):
                    modbus_unit.set("holding", 5, before)
                    modbus_unit.command("reset")
                    await driver.write(tag, value)
                    after = before | 1 << bit if value else before & ~(1 << bit)
                    assert modbus_unit.get("holding", 5) == [after]
                    assert (await driver.read(tag)).value is value
                    requests = [(function, at) for _unit, function, at, _count in modbus_unit.requests()]
                    first = requests.index((22, 5))
                    expected = [(22, 5)] if knows_mask else [(22, 5), (3, 5), (6, 5)]
                    assert requests[first : first + len(expected)] == expected
                    assert len(writes(modbus_unit)) == (1 if knows_mask else 2)


@pytest.mark.parametrize(("tag", "function", "other"), [({"at": "coil 9"}, 5, 15), ({"at": "holding 9"}, 6, 16)])
async def test_a_unit_that_only_writes_several_at_once_is_written_to_like_that(
    modbus_unit: ModbusServer, tag: dict[str, Any], function: int, other: int
) -> None:
    table, value = str(tag["at"]).split()[0], function == 5
    modbus_unit.command(f"forbid {function}")
    recorder = Recorder()
    driver = driver_of(modbus_unit, tag)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        await driver.write(0, value if table == "coil" else 77)
        assert modbus_unit.get(table, 9) == [1 if table == "coil" else 77]
        assert writes(modbus_unit) == [(function, 9, 1), (other, 9, 1)]
        modbus_unit.command(f"forbid {function} {other}")
        with pytest.raises(WriteRefused, match=rf"refuses to write it \(function {other}, exception 1, illegal func"):
            await driver.write(0, False if table == "coil" else 78)
        assert modbus_unit.get(table, 9) == [1 if table == "coil" else 77]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (2, WriteRefused, "refuses to write it (function 6, exception 2, illegal data address): check the address"),
        (3, WriteRefused, "exception 3, illegal data value): the unit does not take this value"),
        (4, WriteUncertain, "does not say that it has written it (function 6, exception 4, server device failure)"),
        (5, WriteUncertain, "exception 5, acknowledge): the unit has taken it and is still at it; read the value back"),
        (6, WriteRefused, "exception 6, server device busy): the unit is busy and has not taken it"),
        (7, WriteRefused, "exception 7, negative acknowledge): the unit cannot do this in its present state"),
        (10, WriteRefused, "exception 10, gateway path unavailable): check unit_id, and the routing of the gateway"),
        (11, WriteUncertain, "the gateway has passed it on and heard nothing of the unit"),
        (9, WriteRefused, "exception 9, unknown exception): look the code up in the manual of the unit"),
    ],
)
async def test_every_exception_says_what_has_become_of_the_write(
    modbus_unit: ModbusServer, code: int, error: type[WriteRefused | WriteUncertain], words: str
) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 7"}, poll="10s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("reset")
        modbus_unit.command(f"fail {code} 1")
        with pytest.raises(error) as caught:
            await driver.write(0, 1)
        assert type(caught.value) is error
        assert str(caught.value).startswith("unit: holding 7: unit 1 ")
        assert words in str(caught.value)
        assert (writes(modbus_unit), driver.counters.connects) == ([(6, 7, 1)], 1)


@pytest.mark.parametrize(
    "fault", ["silent", "mute", "hangup", "astray", "transaction", "function", "unit", "garbage 40"]
)
async def test_whatever_goes_wrong_with_the_answer_the_write_is_sent_once(
    modbus_unit: ModbusServer, fault: str
) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 6"}, {"at": "holding 8"}, poll="10s", retries=3)
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        modbus_unit.command("reset")
        modbus_unit.command(f"{fault} 1")
        with pytest.raises(WriteUncertain, match=r"write of holding 6\); it may have been done or not$"):
            await driver.write(0, 21)
        await driver.write(1, 22)
        assert writes(modbus_unit) == [(6, 6, 1), (6, 8, 1)]
        assert (driver.counters.connects, modbus_unit.get("holding", 8)) == (2, [22])
        assert (await driver.read(0)).value == modbus_unit.get("holding", 6)[0]
        assert modbus_unit.get("holding", 6) == [21 if fault in ("mute", "transaction", "unit") else 0]


@pytest.mark.parametrize("table", ["input", "discrete"])
async def test_tables_that_nobody_can_write_are_refused_before_anything_is_sent(
    modbus_unit: ModbusServer, table: str
) -> None:
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": f"{table} 4"})
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        with pytest.raises(ValueError, match=f"^{table} 4: nobody can write to the tables input and discrete$"):
            await driver.write(0, 1)
        with pytest.raises(ValueError, match="a Modbus unit has no methods"):
            await driver.call("start", [])
    assert writes(modbus_unit) == []


async def test_a_bit_is_not_written_when_its_register_cannot_be_read_before(modbus_unit: ModbusServer) -> None:
    modbus_unit.command("forbid 22")
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 5.1"}, {"at": "input 5"}, poll="10s")
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task, tag=1)
        modbus_unit.command("reset")
        modbus_unit.command("refuse holding 5 5 2")
        with pytest.raises(WriteRefused, match="exception 2"):
            await driver.write(0, True)
        modbus_unit.command("refuse clear")
        modbus_unit.command("refuse holding 5 5 0")
        with pytest.raises(DeviceUnavailable, match=r"no answer .*\(read of holding 5\); nothing was written$"):
            await driver.write(0, True)
        modbus_unit.command("refuse clear")
        assert [function for function, _at, _count in writes(modbus_unit)] == [22, 22]
        assert modbus_unit.get("holding", 5) == [0]
        await driver.write(0, True)
        assert modbus_unit.get("holding", 5) == [2]


async def test_a_tag_that_the_unit_does_not_let_be_read_has_a_reading_without_value(modbus_unit: ModbusServer) -> None:
    modbus_unit.command("refuse holding 40 40 2")
    recorder = Recorder()
    driver = driver_of(modbus_unit, {"at": "holding 4"}, {"at": "holding 40"})
    async with acquiring(driver, recorder) as task:
        await polls(recorder, 1, task)
        reading = await driver.read(1)
        assert (reading.value, reading.quality) == (None, BAD_NODE_ID_UNKNOWN)
