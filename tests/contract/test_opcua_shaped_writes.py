"""Arrays, elements of them, and names of numbers are written to servers of node-opcua and open62541."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.model.errors import WriteRefused
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer

LIMITS = {"min": 0, "max": 300}


async def written(server: str, tags: list[dict[str, Any] | str], *writes: tuple[int, Any]) -> list[Any]:
    """Write to the tags at these indices; what is read back from each."""
    recorder = Recorder()
    press: OpcUaDriver = driver(server, tags)
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.onlines and len(recorder.last()) == len(tags), task)
        for index, value in writes:
            await press.write(index, value)
        return [(await press.read(index)).value for index, _ in writes]


@pytest.mark.parametrize(
    ("kind", "first", "text", "held"),
    [
        ("Double", [1.5, 2.5], "[3, 4.5, 5]", "[3.0, 4.5, 5.0]"),
        ("Float", [1.5], "[0.5]", "[0.5]"),
        ("Int16", [1, 2], "[7, 8]", "[7, 8]"),
        ("Int64", [1, 2], "[7]", "[7]"),
        ("Boolean", [True, False], "[false, true]", "[false, true]"),
        ("String", ["a"], '["b", "c d"]', '["b", "c d"]'),
        ("Int32", [1], "[]", "[]"),
    ],
)
async def test_a_whole_array_is_written_as_json(
    opcua_server: OpcUaServer, node_opcua: NodeOpcUaServer, kind: str, first: list[Any], text: str, held: str
) -> None:
    writable: Any = True if kind in ("Boolean", "String") else LIMITS
    opcua_server.add("zones", kind, first, writable=True)
    assert await written(opcua_server.endpoint, [{"at": "ns=1;s=zones", "writable": writable}], (0, text)) == [held]
    node_opcua.add(f"ns=2;s=zones.{kind}", kind, first, writable=True)
    assert await written(node_opcua.endpoint, [{"at": f"ns=2;s=zones.{kind}", "writable": writable}], (0, text)) == [
        held
    ]


async def test_one_element_is_written_and_the_others_stay(
    opcua_server: OpcUaServer, node_opcua: NodeOpcUaServer
) -> None:
    opcua_server.add("zones", "Double", [1.0, 2.0, 3.0], writable=True)
    node_opcua.add("ns=2;s=elements", "Double", [1.0, 2.0, 3.0], writable=True)
    for endpoint, at in ((opcua_server.endpoint, "ns=1;s=zones"), (node_opcua.endpoint, "ns=2;s=elements")):
        tags: list[dict[str, Any] | str] = [
            {"at": at, "part": "[1]", "scale": 0.1, "writable": LIMITS},
            {"at": at},
        ]
        recorder = Recorder()
        press = driver(endpoint, tags)
        async with acquiring(press, recorder) as task:
            await until(lambda recorder=recorder: len(recorder.last()) == 2, task)
            await press.write(0, 25.0)
            assert (await press.read(0)).value == pytest.approx(25.0)
            assert (await press.read(1)).value == "[1.0, 250.0, 3.0]"


async def test_an_enumeration_is_written_by_its_name(node_opcua: NodeOpcUaServer) -> None:
    index = node_opcua.namespaces.index("urn:lineside:tests:press")
    node_opcua.add("ns=2;s=mode", "Int32", 1, datatype=f"ns={index};i=3010", writable=True)
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=mode", "enum_names": True, "writable": True}]
    assert await written(node_opcua.endpoint, tags, (0, "Fault")) == ["Fault"]
    assert node_opcua.get("ns=2;s=mode")[1] == 2
    with pytest.raises(ValueError, match="'Flying' is none of the names; write 'Idle', 'Running' or 'Fault'"):
        await written(node_opcua.endpoint, tags, (0, "Flying"))
    assert node_opcua.get("ns=2;s=mode")[1] == 2


@pytest.mark.parametrize(
    ("writable", "value", "sentence"),
    [
        (LIMITS, "[1, 301]", "element 1 takes 0 to 300, and not 301"),
        (True, "[1]", "numbers are written within limits only"),
        (LIMITS, "7", "'7' is no array; write it as JSON"),
        (LIMITS, "[1, [2]]", r"element 1 is \[2\], and no single value"),
        (LIMITS, '["a"]', "element 0: 'a' is not a number"),
        (LIMITS, "[true]", "element 0: True is not a number"),
    ],
)
async def test_what_is_no_array_that_may_be_written_is_never_sent(
    node_opcua: NodeOpcUaServer, writable: Any, value: str, sentence: str
) -> None:
    node = f"ns=2;s=never.{sentence[:12]}"
    node_opcua.add(node, "Double", [1.0, 2.0], writable=True)
    with pytest.raises(ValueError, match=sentence):
        await written(node_opcua.endpoint, [{"at": node, "writable": writable}], (0, value))
    assert node_opcua.get(node)[1] == [1.0, 2.0]


async def test_an_element_that_is_not_there_is_the_server_s_to_refuse(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=short", "Double", [1.0, 2.0, 3.0], writable=True)
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=short", "part": "[2]", "writable": LIMITS}]
    recorder = Recorder()
    press = driver(node_opcua.endpoint, tags)
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.last() == {0: 3.0}, task)
        node_opcua.set("ns=2;s=short", "Double", [1.0])
        with pytest.raises(WriteRefused):
            await press.write(0, 5.0)
    assert node_opcua.get("ns=2;s=short")[1] == [1.0]


def test_what_no_server_is_asked_for_is_refused_in_the_file() -> None:
    with pytest.raises(ValueError, match="the names of an enumeration have no limits"):
        driver("opc.tcp://press", [{"at": "ns=1;s=x", "enum_names": True, "writable": LIMITS}])
