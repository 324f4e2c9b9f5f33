"""A type in the device file that the server contradicts: values are the server's, and somebody is told."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import BAD_TYPE_MISMATCH, GOOD
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.contract.test_opcua_structures import POSITION, RECIPE, REPORT, STATE, recipe, structure
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer

INT32, DOUBLE, STRING = DataType.INT32, DataType.DOUBLE, DataType.STRING


async def bound(endpoint: str, tag: dict[str, Any]) -> tuple[DataType, Any, str]:
    """What became of a tag (type, first value, what is said of it); its neighbour is read, whatever it is."""
    recorder = Recorder()
    async with acquiring(driver(endpoint, [tag, {"at": "i=2256"}, {"at": "i=2259"}]), recorder) as task:
        await until(lambda: {0, 2} <= {row[0] for row in recorder.rows}, task)
        ((types, problems),) = recorder.onlines
    assert all(problem.gives_values for problem in problems if problem.tag == "t0")
    said = [problem.reason for problem in problems if problem.tag == "t0"]
    (first, *_) = [value for index, _, value, _ in recorder.rows if index == 0]
    return next(each.datatype for each in types if each.index == 0), first, "".join(said)


@pytest.mark.parametrize(
    ("kind", "value", "more", "datatype", "seen", "said"),
    [
        ("Double", 12.5, {"type": "int32"}, DOUBLE, 12.5, "'type: int32', and the server says that {} is a Double"),
        ("Double", 12.5, {"type": "string"}, DOUBLE, 12.5, "is a Double; that counts, and values come as Double"),
        ("String", "12.5", {"type": "double"}, STRING, "12.5", "is a String; that counts"),
        ("Float", 0.5, {"type": "double"}, DataType.FLOAT, 0.5, "is a Float; that counts"),
        ("Double", [1.5, 2], {"type": "double"}, STRING, "[1.5, 2.0]", "is an array of Double; that counts"),
        ("Int16", 5, {"type": "float", "scale": 0.5}, DOUBLE, 2.5, "is an Int16; that counts, and values come as Dou"),
        ("Int16", 5, {"type": "int16", "scale": 0.5}, DOUBLE, 2.5, ""),
        ("Int16", 5, {"type": "double", "scale": 0.5}, DOUBLE, 2.5, ""),
        ("Double", 12.5, {"type": "lreal"}, DOUBLE, 12.5, ""),
        ("LocalizedText", "on", {"type": "string"}, STRING, "on", ""),
        ("String", "on", {"type": "text"}, STRING, "on", ""),
        ("Double", 12.5, {}, DOUBLE, 12.5, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("server", ["node-opcua", "open62541"])
async def test_the_type_of_the_server_counts_and_another_one_in_the_file_is_told(
    request: pytest.FixtureRequest,
    server: str,
    kind: str,
    value: Any,
    more: dict[str, Any],
    datatype: DataType,
    seen: Any,
    said: str,
) -> None:
    name = f"said.{kind}.{'-'.join(map(str, more.values()))}.{isinstance(value, list)}"
    if server == "node-opcua":
        node: NodeOpcUaServer = request.getfixturevalue("node_opcua")
        at, endpoint = f"ns=2;s={name}", node.endpoint
        node.add(at, kind, value)
    else:
        other: OpcUaServer = request.getfixturevalue("opcua_server")
        at, endpoint = f"ns=1;s={name}", other.endpoint
        other.add(name, kind, value)
    found = await bound(endpoint, {"at": at, **more})
    assert found[:2] == (datatype, seen)
    assert said.format(at) in found[2]
    assert bool(said) == bool(found[2])


@pytest.mark.parametrize(
    ("declared", "in_file", "datatype", "said"),
    [
        ("i=24", "int32", INT32, ""),
        ("i=26", "int32", INT32, ""),
        ("i=26", "float", DataType.FLOAT, ""),
        ("i=27", "int16", DataType.INT16, ""),
        ("i=28", "uint16", DataType.UINT16, ""),
        ("i=28", "int16", DataType.UINT64, "'type: int16', and the server says that"),
        ("i=26", "string", DOUBLE, "'type: string', and the server says that"),
        ("i=11", "int32", DOUBLE, "is a Double"),
    ],
)
async def test_where_the_server_leaves_the_type_open_the_file_says_it(
    node_opcua: NodeOpcUaServer, declared: str, in_file: str, datatype: DataType, said: str
) -> None:
    at = f"ns=2;s=open.{declared}.{in_file}"
    node_opcua.add(at, "Double", None, datatype=declared)
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, [{"at": at, "type": in_file}]), recorder) as task:
        await until(lambda: recorder.onlines, task)
    (((found,), problems),) = recorder.onlines
    assert found.datatype is datatype
    assert [said in problem.reason and problem.gives_values for problem in problems] == ([True] if said else [])


@pytest.mark.parametrize(
    ("in_file", "fits", "kind", "value", "datatype"),
    [
        ("double", 1.5, "String", "12.5", STRING),
        ("double", 1.5, "Int64", (1 << 53) + 1, DataType.INT64),
        ("int32", 7, "Double", 12.5, DOUBLE),
        ("float", 0.5, "Double", 1e300, DOUBLE),
    ],
)
async def test_a_value_that_the_type_of_the_file_cannot_hold_is_no_wrong_value(
    node_opcua: NodeOpcUaServer, in_file: str, fits: float, kind: str, value: Any, datatype: DataType
) -> None:
    """The server says nothing of the type, and what comes is of another: a sample without value, then the right one."""
    at = f"ns=2;s=late.{in_file}.{kind}"
    node_opcua.add(at, "Double", None, datatype="i=24")
    recorder, press = Recorder(), driver(node_opcua.endpoint, [{"at": at, "type": in_file}])
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.onlines, task)
        node_opcua.set(at, "Double", fits)
        await until(lambda: recorder.rows and recorder.rows[-1][2] == fits, task)
        node_opcua.set(at, kind, str(value) if kind == "Int64" else value)
        with pytest.raises(DeviceUnavailable, match="1 tag has changed its type on the server"):
            await task
    assert recorder.rows[-1][2:] == (None, BAD_TYPE_MISMATCH)
    again = Recorder()
    async with acquiring(press, again) as task:
        await until(lambda: again.rows, task)
    (((found,), (problem,)),) = again.onlines
    assert found.datatype is datatype
    assert again.rows[-1][2:] == (value, GOOD)
    assert f"'type: {in_file}'" in problem.reason


async def test_parts_of_structures_and_names_have_the_type_of_the_server_too(node_opcua: NodeOpcUaServer) -> None:
    index = node_opcua.namespaces.index("urn:lineside:tests:press")
    ids = {each: each.replace("ns=1", f"ns={index}") for each in (POSITION, STATE, RECIPE, REPORT)}
    node_opcua.add("ns=2;s=said.recipe", "ExtensionObject", structure(ids, recipe()), datatype=ids[RECIPE])
    whole = {"at": "ns=2;s=said.recipe"}
    tags: list[dict[str, Any] | str] = [
        whole | {"type": "double"},
        whole | {"part": "Passes", "type": "string"},
        whole | {"part": "Temperatures", "type": "float"},
        whole | {"part": "State", "enum_names": True, "type": "int32"},
        whole | {"part": "Passes", "type": "int32"},
        whole | {"part": "Name", "type": "string"},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: {row[0] for row in recorder.rows} == set(range(len(tags))), task)
    ((_, problems),) = recorder.onlines
    assert {problem.tag: problem.reason.partition("is a")[2].partition(";")[0] for problem in problems} == {
        "t0": " structure",
        "t1": "n Int32",
        "t2": "n array of Double",
        "t3": "n enumeration, whose names 'enum_names' asks for",
    }
