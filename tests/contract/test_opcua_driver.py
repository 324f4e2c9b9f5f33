"""The OPC UA driver against a server of open62541: what it reads, and what it asks the server for."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest

from connectors.model.datatypes import DataType
from connectors.model.quality import (
    BAD_NODE_ID_UNKNOWN,
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_LAST_USABLE_VALUE,
)
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.opcua import OpcUaServer

NOON_NS = 1_790_000_000_123_456_700
GUID = "72962b91-fa75-4ae6-8d28-b404dc7daf63"

SCALARS: list[tuple[str, Any, Any, DataType]] = [
    ("Boolean", True, True, DataType.BOOLEAN),
    ("SByte", -128, -128, DataType.INT8),
    ("Byte", 255, 255, DataType.UINT8),
    ("Int16", -32_768, -32_768, DataType.INT16),
    ("UInt16", 65_535, 65_535, DataType.UINT16),
    ("Int32", -(1 << 31), -(1 << 31), DataType.INT32),
    ("UInt32", (1 << 32) - 1, (1 << 32) - 1, DataType.UINT32),
    ("Int64", -(1 << 63), -(1 << 63), DataType.INT64),
    ("UInt64", (1 << 64) - 1, (1 << 64) - 1, DataType.UINT64),
    ("Float", -98.625, -98.625, DataType.FLOAT),
    ("Double", 2.718281828459045e-200, 2.718281828459045e-200, DataType.DOUBLE),
    ("String", "Größe 7 µm", "Größe 7 µm", DataType.STRING),
    ("DateTime", NOON_NS, NOON_NS // 1_000_000, DataType.DATETIME),
    ("Guid", GUID, GUID, DataType.UUID),
    ("ByteString", base64.b64encode(b"\x00\xff7").decode(), b"\x00\xff7", DataType.BYTES),
    ("LocalizedText", "Presse 7", "Presse 7", DataType.STRING),
    ("NodeId", "ns=1;s=other", "ns=1;s=other", DataType.STRING),
    ("QualifiedName", "1:name", "1:name", DataType.STRING),
]


async def test_every_type_is_read_with_its_value(opcua_server: OpcUaServer) -> None:
    for kind, value, _expected, _datatype in SCALARS:
        opcua_server.add(kind, kind, value)
    opcua_server.add("arms", "Int32", [3, 1, 2])
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [kind for kind, *_ in SCALARS]
    async with acquiring(driver(opcua_server.endpoint, [*tags, "arms"]), recorder) as task:
        await until(lambda: len(recorder.last()) == len(SCALARS) + 1, task)
    expected = [(value, datatype) for _kind, _written, value, datatype in SCALARS] + [("[3, 1, 2]", DataType.STRING)]
    assert [(recorder.last()[index], recorder.datatypes[index]) for index in range(len(expected))] == expected
    types, problems = recorder.onlines[0]
    assert ([each.datatype for each in types], problems) == ([datatype for _, datatype in expected], [])
    assert {quality for *_, quality in recorder.rows} == {GOOD}


async def test_a_thousand_alike_values_are_read_as_well_as_one(opcua_server: OpcUaServer) -> None:
    for number in range(20):
        opcua_server.add(f"n{number}", "Double", number + 0.5)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [f"n{number % 20}" for number in range(2500)]
    async with acquiring(driver(opcua_server.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 2500, task)
        opcua_server.write("n3", "Double", -1.0)
        await until(lambda: [recorder.last()[index] for index in range(3, 2500, 20)] == [-1.0] * 125, task)
    assert all(recorder.of(index)[0] == (index % 20 + 0.5, GOOD) for index in range(2500))


async def test_the_time_of_the_source_is_kept_to_the_tick(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"]), recorder) as task:
        await until(lambda: recorder.rows, task)
        opcua_server.write("force", "Double", 1.0, time_ns=NOON_NS)
        await until(lambda: recorder.last() == {0: 1.0}, task)
    assert recorder.rows[-1][:2] == (0, NOON_NS)


async def test_a_value_that_comes_without_a_time_is_of_now(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["force"]), recorder) as task:
        await until(lambda: recorder.rows, task)
        before_ns = time.time_ns()
        opcua_server.write("force", "Double", 1.0)
        await until(lambda: recorder.last() == {0: 1.0}, task)
    assert before_ns - 100 <= recorder.rows[-1][1] <= time.time_ns()


async def test_status_codes_become_qualities_and_go_again(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    seen = [(0.0, GOOD)]
    async with acquiring(driver(opcua_server.endpoint, ["force"]), recorder) as task:
        await until(lambda: recorder.of(0) == seen, task)
        for number, quality in enumerate((UNCERTAIN_LAST_USABLE_VALUE, BAD_SENSOR_FAILURE, GOOD), 1):
            opcua_server.write("force", "Double", float(number), status=quality << 16)
            await until(lambda: len(recorder.rows) == number + 1, task)  # noqa: B023  awaited in the loop
            seen.append((float(number), quality))
    assert [quality for _value, quality in recorder.of(0)] == [quality for _value, quality in seen]
    assert recorder.of(0)[1] == seen[1]
    assert recorder.of(0)[3] == seen[3]


async def test_a_deadband_is_kept_by_the_server_in_units_of_the_scaled_value(opcua_server: OpcUaServer) -> None:
    opcua_server.add("plain", "Double", 10.0)
    opcua_server.add("scaled", "Int32", 1000)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=1;s=plain", "deadband": 0.5},
        {"at": "ns=1;s=scaled", "deadband": 0.5, "scale": 0.01, "offset": 3},
    ]
    async with acquiring(driver(opcua_server.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 2, task)
        for plain, scaled in ((10.4, 1040), (10.6, 1060), (10.3, 1030), (9.9, 990)):
            opcua_server.write("plain", "Double", plain)
            await opcua_server.write_for("scaled", "Int32", scaled, 0.12)
        await until(lambda: len(recorder.rows) >= 6, task)
    assert recorder.of(0) == [(10.0, GOOD), (10.6, GOOD), (9.9, GOOD)]
    assert [value for value, _ in recorder.of(1)] == pytest.approx([13.0, 13.6, 12.9])
    assert (recorder.datatypes[1], recorder.onlines[0][0][1].datatype) == (DataType.DOUBLE, DataType.DOUBLE)


async def test_the_queue_keeps_what_happens_between_two_publishes(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=1;s=force", "queue_size": 50},
        {"at": "ns=1;s=force", "queue_size": 1},
        {"at": "ns=1;s=force", "queue_size": 50, "sampling": "2s"},
    ]
    async with acquiring(driver(opcua_server.endpoint, tags, publishing="1s"), recorder) as task:
        await until(lambda: len(recorder.last()) == 3, task)
        for number in range(1, 6):
            await opcua_server.write_for("force", "Double", float(number), 0.12)
        await until(lambda: recorder.last()[0] == recorder.last()[1] == 5.0, task)
    assert [value for value, _ in recorder.of(0)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(recorder.of(1)) < 5
    assert len(recorder.of(2)) <= 3


async def test_what_the_server_s_queue_has_lost_is_said_with_the_sample_that_follows(opcua_server: OpcUaServer) -> None:
    opcua_server.add("force", "Double", 0.0)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=1;s=force", "queue_size": 2},
        {"at": "ns=1;s=force", "queue_size": 50},
    ]
    opcua = driver(opcua_server.endpoint, tags, publishing="1s")
    before_s = opcua.lag_s_max
    async with acquiring(opcua, recorder) as task:
        await until(lambda: len(recorder.last()) == 2, task)
        for number in range(1, 8):
            await opcua_server.write_for("force", "Double", float(number), 0.06)
        await until(lambda: recorder.last()[0] == recorder.last()[1] == 7.0, task)
    assert len(recorder.of(0)) < len(recorder.of(1)) == 8
    times = {time_ns for tag, time_ns, _, _ in recorder.rows if tag == 0}
    assert recorder.losses
    assert all(tag == 0 and time_ns in times for tag, time_ns in recorder.losses)
    assert opcua.counts() == {"queue_overflows": len(recorder.losses), "messages_lost": 0}
    assert opcua.lag_s_max > before_s, "the server samples more slowly than it was asked to"


async def test_a_wrong_tag_is_named_with_the_reason_and_its_neighbours_go_on(opcua_server: OpcUaServer) -> None:
    opcua_server.add("good", "Double", 1.0)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        "good",
        "not there yet",
        {"at": "nsu=http://acme.example/none;s=x"},
        {"at": "i=85"},
        {"at": f"nsu={opcua_server.namespace};s=good"},
        {"at": "ns=77;s=x"},
    ]
    async with acquiring(driver(opcua_server.endpoint, tags), recorder) as task:
        await until(lambda: set(recorder.last()) == {0, 4}, task)
        types, problems = recorder.onlines[-1]
        assert [each.index for each in types] == [0, 4]
        assert {problem.tag: problem.reason for problem in problems} == {
            "t1": "the server has no such node; check the spelling and the namespace (BadNodeIdUnknown 0x80340000)",
            "t2": f"the server has no namespace 'http://acme.example/none'; it has '{opcua_server.namespace}'",
            "t3": "the node is not a variable; name the variable below it (BadAttributeIdInvalid 0x80350000)",
            "t5": "the server has no such node; check the spelling and the namespace (BadNodeIdUnknown 0x80340000)",
        }
        assert problems[0].quality == BAD_NODE_ID_UNKNOWN
        opcua_server.write("good", "Double", 2.0)
        await until(lambda: recorder.last() == {0: 2.0, 4: 2.0}, task)


async def test_a_tag_that_the_server_gets_later_is_bound_then(opcua_server: OpcUaServer) -> None:
    opcua_server.add("good", "Double", 1.0)
    recorder = Recorder()
    async with acquiring(driver(opcua_server.endpoint, ["good", "late", "never"]), recorder) as task:
        await until(lambda: recorder.rows, task)
        opcua_server.add("late", "String", "here")
        await until(lambda: recorder.last() == {0: 1.0, 1: "here"}, task)
        await asyncio.sleep(0.5)  # twice the time after which problems are tried again
        opcua_server.write("late", "String", "there")
        await until(lambda: recorder.last()[1] == "there", task)
    problems = [[problem.tag for problem in problems] for _types, problems in recorder.onlines]
    assert problems == [["t1", "t2"], ["t2"]]


async def test_a_value_whose_type_nobody_says_needs_the_engineer_s_word(opcua_server: OpcUaServer) -> None:
    opcua_server.command(add="silent", type="Double", value=None, datatype="i=24")
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = ["silent", {"at": "ns=1;s=silent", "type": "double"}]
    async with acquiring(driver(opcua_server.endpoint, tags), recorder) as task:
        await until(lambda: recorder.onlines, task)
        assert [(problem.tag, problem.quality) for problem in recorder.onlines[0][1]] == [
            ("t0", BAD_WAITING_FOR_INITIAL_DATA)
        ]
        assert "add type: to the tag" in recorder.onlines[0][1][0].reason
        assert [each.datatype for each in recorder.onlines[0][0]] == [DataType.DOUBLE]
        opcua_server.write("silent", "Double", 4.5)
        await until(lambda: recorder.last() == {0: 4.5, 1: 4.5}, task)
        assert recorder.onlines[-1][1] == []
