"""Writes, reads and calls on a server of open62541: what is on the wire, and what every answer makes of it."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, BAD_SENSOR_FAILURE, is_good
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.contract.watched_wire import AfterWrite, WatchedWire, opcua_wire
from tests.servers.opcua import OpcUaServer

GUID = "09087e75-8e5e-499b-954f-f2a9603db28a"


@asynccontextmanager
async def connected(
    server: OpcUaServer, *tags: dict[str, Any] | str, **more: Any
) -> AsyncIterator[tuple[OpcUaDriver, WatchedWire]]:
    """A driver that is connected by a link on which writes and calls are seen."""
    async with opcua_wire(server.port) as wire:
        press = driver(f"opc.tcp://127.0.0.1:{wire.port}", list(tags), **more)
        recorder = Recorder()
        async with acquiring(press, recorder) as task:
            await until(lambda: recorder.onlines, task)
            yield press, wire


async def test_a_write_carries_the_value_in_the_type_of_the_node_and_nothing_else(opcua_server: OpcUaServer) -> None:
    opcua_server.add("speed", "Float", 0.0, writable=True)
    async with connected(opcua_server, "speed") as (press, wire):
        await press.write(0, 2.5)
        (frame,) = wire.writes
        only_a_value, of_type_float = b"\x01", b"\x0a"
        no_index_range = b"\xff\xff\xff\xff"
        assert frame.endswith(no_index_range + only_a_value + of_type_float + struct.pack("<f", 2.5))
        assert opcua_server.read("speed")[:2] == ("float32", 2.5)


@pytest.mark.parametrize(
    ("kind", "first", "values", "held"),
    [
        ("SByte", 0, [-128, 127], ["int8", -128, "int8", 127]),
        ("Byte", 0, [0, 255], ["uint8", 0, "uint8", 255]),
        ("DateTime", 0, [1_700_000_000_123, -1], ["DateTime", "2023-11-14T22:13:20.123Z", "DateTime", "1969-12-31T"]),
        ("Guid", GUID, [GUID.replace("0", "f")], ["UUID", GUID.replace("0", "f")]),
        ("ByteString", "", [base64.b64encode(b"\0\xff").decode()], ["bytes", b"\0\xff"]),
        ("LocalizedText", "a", ["Ofen 7"], ["LocalizedText", "Ofen 7"]),
    ],
)
async def test_other_types_are_written_as_they_are_read(
    opcua_server: OpcUaServer, kind: str, first: Any, values: list[Any], held: list[Any]
) -> None:
    opcua_server.add("it", kind, first, writable=True)
    async with connected(opcua_server, "it") as (press, _wire):
        for at, value in enumerate(values):
            await press.write(0, value)
            found, there, _time = opcua_server.read("it")
            assert found == held[2 * at]
            assert held[2 * at + 1] in there if isinstance(there, str) else there == held[2 * at + 1]
            assert (await press.read(0)).value == value


async def test_a_variable_without_a_value_has_the_type_that_the_server_or_the_device_file_declares(
    opcua_server: OpcUaServer,
) -> None:
    opcua_server.command(add="recipe", type="String", value=None, datatype="i=12", writable=True)
    opcua_server.command(add="level", type="Double", value=None, datatype="i=24", writable=True)
    tag = {"at": "ns=1;s=level", "type": "int32"}
    async with connected(opcua_server, "recipe", tag) as (press, _wire):
        for index in (0, 1):
            reading = await press.read(index)
            assert reading.value is None
            assert not is_good(reading.quality)
        await press.write(0, "R 7")
        await press.write(1, 12)
        assert [opcua_server.read(name)[:2] for name in ("recipe", "level")] == [("str", "R 7"), ("int32", 12)]


@pytest.mark.parametrize(
    ("kind", "first", "value", "sentence"),
    [
        ("Double", [1.0, 2.0], 3.0, "3.0 is no array; write it as JSON"),
        ("NodeId", "ns=1;i=5", "ns=1;i=6", "values of type NodeId cannot be written"),
        ("QualifiedName", "1:a", "1:b", "values of type QualifiedName cannot be written"),
        ("Byte", 0, 256, r"256 does not fit UInt8 \(0 to 255\)"),
        ("Guid", GUID, "no guid", "'no guid' is not a GUID such as"),
        ("ByteString", "", "not base64", "'not base64' is not base64"),
        ("DateTime", 0, 1.5, "1.5 is not a time in whole milliseconds since 1970"),
        ("DateTime", 0, -(1 << 50), "not between the years 1677 and 2262"),
        ("DateTime", 0, 1 << 60, "not between the years 1677 and 2262"),
    ],
)
async def test_what_cannot_be_written_is_refused_with_a_sentence_and_never_sent(
    opcua_server: OpcUaServer, kind: str, first: Any, value: Any, sentence: str
) -> None:
    opcua_server.add("it", kind, first, writable=True)
    async with connected(opcua_server, "it") as (press, wire):
        with pytest.raises(ValueError, match=sentence):
            await press.write(0, value)
        await press.read(0)
        assert wire.writes == []


async def test_the_word_of_the_server_is_said_with_its_status_code(opcua_server: OpcUaServer) -> None:
    opcua_server.add("fixed", "Double", 1.0)
    opcua_server.add("gone", "Double", 1.0, writable=True)
    async with connected(opcua_server, "fixed", "gone", "never") as (press, wire):
        opcua_server.remove("gone")
        refused = r"^press: write of ns=1;s=fixed: .* \((BadUserAccessDenied 0x801F0000|BadNotWritable 0x803B0000)\)$"
        with pytest.raises(WriteRefused, match=refused):
            await press.write(0, 2.0)
        with pytest.raises(WriteRefused, match=r"the server has no such node; .* \(BadNodeIdUnknown 0x80340000\)"):
            await press.write(1, 2.0)
        with pytest.raises(DeviceUnavailable, match=r"the server has no such node; .*; nothing was sent"):
            await press.write(2, 2.0)
        assert len(wire.writes) == 2
        assert [(await press.read(tag)).value for tag in (0, 1, 2)] == [1.0, None, None]
        assert [(await press.read(tag)).quality for tag in (1, 2)] == [BAD_NODE_ID_UNKNOWN] * 2
        assert wire.connections == 1


async def test_a_reading_has_the_quality_and_the_source_time_of_the_server(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    async with connected(opcua_server, "force") as (press, _wire):
        opcua_server.write("force", "Double", 2.0, status=0x40920000, time_ns=1_700_000_000_123_456_000)
        reading = await press.read(0)
        assert (reading.value, reading.quality, reading.time_ns) == (2.0, 0x4092, 1_700_000_000_123_456_000)
        opcua_server.write("force", "Double", 0.0, status=BAD_SENSOR_FAILURE << 16)
        assert (await press.read(0)).quality == BAD_SENSOR_FAILURE


async def test_a_server_that_stands_still_gets_the_write_once_and_is_asked_again_when_it_goes_on(
    opcua_server: OpcUaServer,
) -> None:
    opcua_server.add("force", "Double", 1.0, writable=True)
    async with connected(opcua_server, "force", timeout="1s") as (press, wire):
        opcua_server.pause()
        try:
            with pytest.raises(WriteUncertain, match=r"no answer within 1 s; it may have been done or not"):
                await press.write(0, 2.0)
        finally:
            opcua_server.resume()
        assert len(wire.writes) == 1


# -- methods -------------------------------------------------------------------------------------------------------


INT32, DOUBLE, STRING, NUMBER, ANY, DURATION = 6, 11, 12, 26, 24, 290


def add_method(server: OpcUaServer, name: str, *inputs: tuple[str, int, int], **more: Any) -> None:
    if not name.startswith("Other"):
        server.command(object=f"{name}.Owner")
    server.command(method=name, object=f"{name}.Owner", inputs=list(inputs), **more)


async def test_a_method_gets_its_arguments_in_their_types_and_returns_values(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    add_method(opcua_server, "Start", ("recipe", INT32, -1), ("speed", DURATION, -1), ("who", STRING, -1))
    async with connected(opcua_server, "force") as (press, wire):
        for written in ("ns=1;s=Start", "ns=1;s=Start.Owner / ns=1;s=Start", f"nsu={opcua_server.namespace};s=Start"):
            assert await press.call(written, [7, 2, "Anna"]) == (7, 2.0, "Anna")
        assert opcua_server.command(calls=True) == [(7, 2.0, "Anna")] * 3
        assert len(wire.writes) == 3


async def test_a_method_without_arguments_is_called_with_none(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 1.0)
    add_method(opcua_server, "Stop")
    async with connected(opcua_server, "force") as (press, _wire):
        assert await press.call("ns=1;s=Stop", []) == ()
    assert opcua_server.command(calls=True) == [()]


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("ns=1;s=Start", [], r"ns=1;s=Start takes 1 arguments \(recipe\), and not 0"),
        ("ns=1;s=Start", [1, 2], "and not 2"),
        ("ns=1;s=Start", [1.5], "argument recipe of ns=1;s=Start: 1.5 is not a whole number, and the type is Int32"),
        ("ns=1;s=Start", [1 << 31], "does not fit Int32"),
        ("ns=1;s=Many", [1], "argument values of ns=1;s=Many: an array cannot be written"),
        ("ns=1;s=Any", [1], "the argument it has no type that a single value can be given in"),
        ("ns=1;s=Nowhere", [], r"the server cannot say anything about the node ns=1;s=Nowhere \(BadNodeIdUnknown\)"),
        ("ns=1;s=force", [], "no object has the method ns=1;s=force; write the object too, as object / method"),
        ("Start", [], "'Start' is not a node id"),
        ("ns=1;s=Start.Owner / Start", [], r"the node ns=1;s=Start\.Owner / Start \(BadNodeIdUnknown\)"),
        ("nsu=urn:no;s=Start", [], "the server has no namespace 'urn:no'"),
    ],
)
async def test_a_call_that_cannot_be_made_is_not_made(
    opcua_server: OpcUaServer, method: str, arguments: list[Any], sentence: str
) -> None:
    opcua_server.add("force", "Double", 1.0)
    add_method(opcua_server, "Start", ("recipe", INT32, -1))
    add_method(opcua_server, "Many", ("values", DOUBLE, 1))
    add_method(opcua_server, "Any", ("it", ANY, -1))
    async with connected(opcua_server, "force") as (press, wire):
        with pytest.raises(ValueError, match=sentence):
            await press.call(method, arguments)
        await press.read(0)
        assert wire.writes == []
    assert opcua_server.command(calls=True) == []


async def test_a_method_that_says_no_is_refused_and_one_that_does_not_know_is_uncertain(
    opcua_server: OpcUaServer,
) -> None:
    opcua_server.add("force", "Double", 1.0)
    add_method(opcua_server, "Start", status=0x80AF0000)
    add_method(opcua_server, "Home", status=0x800A0000)
    async with connected(opcua_server, "force") as (press, wire):
        said = r"the device cannot do this in its present state \(BadInvalidState 0x80AF0000\)$"
        with pytest.raises(WriteRefused, match=f"^press: call of ns=1;s=Start: {said}"):
            await press.call("ns=1;s=Start", [])
        with pytest.raises(WriteUncertain, match=r"BadTimeout 0x800A0000; it may have been done or not"):
            await press.call("ns=1;s=Home", [])
        with pytest.raises(WriteRefused, match=r"BadMethodInvalid|BadNodeIdUnknown"):
            await press.call("ns=1;s=Home.Owner / ns=1;s=Start", [])
        assert wire.connections == 1


@pytest.mark.parametrize("fate", [AfterWrite.LOSE, AfterWrite.CUT])
async def test_a_call_whose_answer_is_lost_is_uncertain_and_made_once(
    opcua_server: OpcUaServer, fate: AfterWrite
) -> None:
    opcua_server.add("force", "Double", 1.0)
    add_method(opcua_server, "Start", ("recipe", INT32, -1))
    async with connected(opcua_server, "force", timeout="1s") as (press, wire):
        wire.after_write = fate
        with pytest.raises(WriteUncertain, match=r"^press: call of ns=1;s=Start: .*; it may have been done or not$"):
            await press.call("ns=1;s=Start", [3])
        await until(lambda: opcua_server.command(calls=True))
        await asyncio.sleep(0.3)
        assert (opcua_server.command(calls=True), len(wire.writes)) == ([(3,)], 1)
