"""Structures are written to servers of node-opcua and open62541: whole from JSON, one field, and only what fits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.contract.test_opcua_structures import MEASURE, POSITION, RECIPE, REPORT, STATE, recipe, structure
from tests.contract.watched_wire import opcua_wire
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer

LIMITS = {"min": 0, "max": 300}
OTHER: dict[str, Any] = {
    "Name": "B2", "Temperatures": [1, 2.5, 3], "Origin": {"X": 7, "Y": -8.5},
    "Corners": [{"X": 1, "Y": 2}], "State": 2, "Passes": 9,
}  # fmt: skip
HELD: dict[str, Any] = {
    "name": "A7", "temperatures": [180.5, 190], "origin": {"x": 1, "y": 2},
    "corners": [{"x": 0, "y": 0.5}, {"x": 10, "y": 10.5}], "state": 1, "passes": 3,
}  # fmt: skip


@pytest.fixture
def ids(node_opcua: NodeOpcUaServer) -> dict[str, str]:
    """The data types of the tests, in the namespace that they have on the server."""
    index = node_opcua.namespaces.index("urn:lineside:tests:press")
    return {each: each.replace("ns=1", f"ns={index}") for each in (POSITION, STATE, RECIPE, REPORT, MEASURE)}


@asynccontextmanager
async def connected(endpoint: str, tags: list[dict[str, Any] | str]) -> AsyncIterator[OpcUaDriver]:
    """A driver at work whose tags are all bound."""
    recorder, press = Recorder(), driver(endpoint, tags)
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.onlines, task)
        assert not recorder.onlines[-1][1]
        yield press


def sent(frame: bytes) -> ua.WriteValue:
    """The one thing that a Write request asks for, by its frame on the wire."""
    (found,) = struct_from_binary(ua.WriteRequest, Buffer(frame[24:])).Parameters.NodesToWrite
    return found


def held(server: NodeOpcUaServer, node: str) -> Any:
    return server.get(node)[1]


def add_recipe(server: NodeOpcUaServer, ids: dict[str, str], node: str, **more: Any) -> None:
    server.add(node, "ExtensionObject", structure(ids, recipe()), datatype=ids[RECIPE], writable=True, **more)


async def test_a_whole_structure_is_written_as_json_and_read_back(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=whole")
    async with connected(node_opcua.endpoint, [{"at": "ns=2;s=whole", "writable": True}]) as press:
        await press.write(0, json.dumps(OTHER))
        assert json.loads(str((await press.read(0)).value)) == OTHER
        now = held(node_opcua, "ns=2;s=whole")
        assert (now["name"], now["corners"], now["state"]) == ("B2", [{"x": 1, "y": 2}], 2)


@pytest.mark.parametrize(
    ("part", "more", "value", "changed"),
    [
        ("Name", {}, "C3", {"name": "C3"}),
        ("Passes", {"min": 0, "max": 9}, 5, {"passes": 5}),
        ("Origin.Y", LIMITS, 2.5, {"origin": {"x": 1, "y": 2.5}}),
        ("Corners[1].X", LIMITS, 4, {"corners": [{"x": 0, "y": 0.5}, {"x": 4, "y": 10.5}]}),
        ("Temperatures[0]", LIMITS, 20, {"temperatures": [20, 190]}),
        ("Temperatures", LIMITS, "[1, 2, 3]", {"temperatures": [1, 2, 3]}),
        ("Origin", {}, '{"X": 3, "Y": 4}', {"origin": {"x": 3, "y": 4}}),
        ("Corners", {}, "[]", {"corners": []}),
        ("State", {"min": 0, "max": 2}, 2, {"state": 2}),
    ],
)
async def test_one_field_is_written_and_all_others_stay(
    node_opcua: NodeOpcUaServer,
    ids: dict[str, str],
    part: str,
    more: dict[str, Any],
    value: Any,
    changed: dict[str, Any],
) -> None:
    node = f"ns=2;s=field.{part}"
    add_recipe(node_opcua, ids, node)
    async with connected(node_opcua.endpoint, [{"at": node, "part": part, "writable": more or True}]) as press:
        await press.write(0, value)
        assert held(node_opcua, node) == HELD | changed
        seen = (await press.read(0)).value
        assert (json.loads(str(seen)) if isinstance(value, str) and value[0] in "[{" else seen) == (
            json.loads(value) if isinstance(value, str) and value[0] in "[{" else value
        )


async def test_a_field_has_its_scale_and_its_names(node_opcua: NodeOpcUaServer, ids: dict[str, str]) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=scaled")
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=scaled", "part": "Passes", "scale": 0.1, "writable": LIMITS},
        {"at": "ns=2;s=scaled", "part": "State", "enum_names": True, "writable": True},
        {"at": "ns=2;s=scaled", "enum_names": True, "writable": True},
    ]
    async with connected(node_opcua.endpoint, tags) as press:
        await press.write(0, 2.5)
        await press.write(1, "Fault")
        assert held(node_opcua, "ns=2;s=scaled") == HELD | {"passes": 25, "state": 2}
        await press.write(2, json.dumps(OTHER | {"State": "Idle"}))
        assert held(node_opcua, "ns=2;s=scaled")["state"] == 0
        with pytest.raises(ValueError, match="State: 1 is none of the names; write 'Idle', 'Running' or 'Fault'"):
            await press.write(2, json.dumps(OTHER | {"State": 1}))


async def test_elements_of_an_array_of_structures_are_written_alone(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    points = [{"type": ids[POSITION], "fields": {"x": number, "y": number}} for number in (1.0, 2.0, 3.0)]
    node_opcua.add("ns=2;s=points", "ExtensionObject", points, datatype=ids[POSITION], writable=True)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=points", "part": "[1].Y", "writable": LIMITS},
        {"at": "ns=2;s=points", "part": "[2]", "writable": True},
        {"at": "ns=2;s=points", "writable": True},
    ]
    async with opcua_wire(node_opcua.port) as wire, connected(f"opc.tcp://127.0.0.1:{wire.port}", tags) as press:
        await press.write(0, 20.5)
        await press.write(1, '{"X": 5, "Y": 6}')
        assert held(node_opcua, "ns=2;s=points") == [{"x": 1, "y": 1}, {"x": 2, "y": 20.5}, {"x": 5, "y": 6}]
        assert [sent(frame).IndexRange for frame in wire.writes] == ["1", "2"]
        await press.write(2, '[{"X": 0, "Y": 0}]')
    assert held(node_opcua, "ns=2;s=points") == [{"x": 0, "y": 0}]


async def test_optional_fields_come_and_go_and_a_union_is_what_is_written(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    report = {"type": ids[REPORT], "fields": {"code": 7, "weight": 1.5}}
    node_opcua.add("ns=2;s=w.report", "ExtensionObject", report, datatype=ids[REPORT], writable=True)
    measure = {"type": ids[MEASURE], "fields": {"text": "on"}}
    node_opcua.add("ns=2;s=w.measure", "ExtensionObject", measure, datatype=ids[MEASURE], writable=True)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=w.report", "writable": True},
        {"at": "ns=2;s=w.report", "part": "Note", "writable": True},
        {"at": "ns=2;s=w.measure", "writable": True},
        {"at": "ns=2;s=w.measure", "part": "Number", "writable": LIMITS},
    ]
    async with connected(node_opcua.endpoint, tags) as press:

        async def seen(tag: int) -> Any:
            return json.loads(str((await press.read(tag)).value))

        await press.write(1, "hot")
        assert await seen(0) == {"Code": 7, "Note": "hot", "Weight": 1.5}
        await press.write(0, '{"Code": 8}')
        assert await seen(0) == {"Code": 8}
        await press.write(3, 4.5)
        assert await seen(2) == {"Number": 4.5}
        await press.write(2, '{"Text": "off"}')
        assert await seen(2) == {"Text": "off"}


async def test_a_field_that_is_a_variable_of_its_own_is_written_there(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=components", components=True)
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=components", "part": "Origin.X", "writable": LIMITS}]
    async with opcua_wire(node_opcua.port) as wire, connected(f"opc.tcp://127.0.0.1:{wire.port}", tags) as press:
        await press.write(0, 42.5)
        assert (await press.read(0)).value == 42.5
        (write,) = wire.writes
    assert b"A7" not in write, "the rest of the structure goes nowhere"
    assert held(node_opcua, "ns=2;s=components")["origin"] == {"x": 42.5, "y": 2}


async def test_only_the_value_is_sent_and_two_fields_at_the_same_moment_both_stay(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=both")
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=both", "part": "Passes", "writable": LIMITS},
        {"at": "ns=2;s=both", "part": "Origin.X", "writable": LIMITS},
    ]
    async with opcua_wire(node_opcua.port) as wire, connected(f"opc.tcp://127.0.0.1:{wire.port}", tags) as press:
        await asyncio.gather(press.write(0, 11), press.write(1, 12.5))
        for frame in wire.writes:
            alone = ua.DataValue(sent(frame).Value.Value, StatusCode=None)
            assert frame.endswith(struct_to_binary(alone)), "neither status nor times come after the value"
    assert held(node_opcua, "ns=2;s=both") == HELD | {"passes": 11, "origin": {"x": 12.5, "y": 2}}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({key: each for key, each in OTHER.items() if key != "State"}, "State: it is missing, and each Recipe has it"),
        (OTHER | {"Origin": {"X": 1}}, "Origin.Y: it is missing, and each Position has it"),
        (OTHER | {"Colour": 1}, "Colour: Recipe has no such field; it has Name, Temperatures"),
        (OTHER | {"Passes": 1.5}, "Passes: 1.5 is not a whole number, and the type is Int32"),
        (OTHER | {"Passes": 1 << 31}, "Passes: 2147483648 does not fit Int32"),
        (OTHER | {"Passes": 4}, r"Passes: it takes 5 to 10 \(the tag t1\), and not 4"),
        (OTHER | {"Name": 5}, "Name: 5 is not a text, and the type is String"),
        (OTHER | {"State": 9}, r"State: 9 is none of the numbers; write 0 \(Idle\), 1 \(Running\) or 2 \(Fault\)"),
        (OTHER | {"Corners": {"X": 1, "Y": 2}}, "Corners: .* is no array; write it in brackets"),
        (OTHER | {"Corners": [{"X": True, "Y": 2}]}, r"Corners\[0\].X: True is not a number"),
        (OTHER | {"Temperatures": [1, None]}, r"Temperatures\[1\]: null is no single value"),
        ([1], r"\[1\] is no Recipe; write its fields in braces"),
        ("{'Name': 1}", "it is no JSON, in which a structure is written: .* at character 2"),
        ('{"Name": "a", "Name": "b"}', "the field 'Name' is there twice"),
        ('{"Passes": NaN}', "NaN is not a number that a device can be given"),
    ],
)
async def test_what_does_not_fit_the_type_is_never_sent(
    node_opcua: NodeOpcUaServer, ids: dict[str, str], value: Any, sentence: str
) -> None:
    if node_opcua.command("browse_name", node="ns=2;s=unfit") is None:
        add_recipe(node_opcua, ids, "ns=2;s=unfit")
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=unfit", "writable": True},
        {"at": "ns=2;s=unfit", "part": "Passes", "writable": {"min": 5, "max": 10}},
    ]
    async with connected(node_opcua.endpoint, tags) as press:
        with pytest.raises(ValueError, match=sentence):
            await press.write(0, value if isinstance(value, str) else json.dumps(value))
        assert held(node_opcua, "ns=2;s=unfit") == HELD


@pytest.mark.parametrize(
    ("more", "value", "sentence"),
    [
        ({"part": "Corners[5].X", "writable": LIMITS}, 1, r"Corners\[5\]: the array has no such element now"),
        ({"part": "Temperatures", "writable": True}, "[1]", "numbers are written within limits only"),
        ({"part": "Temperatures", "writable": LIMITS}, "[301]", r"Temperatures\[0\]: it takes 0 to 300"),
        ({"part": "Passes", "writable": LIMITS}, 1.5, "Passes: 1.5 is not a whole number"),
        ({"writable": LIMITS}, json.dumps(OTHER), "a structure has no 'min' and 'max'"),
        ({"part": "Origin", "writable": LIMITS}, '{"X": 1, "Y": 2}', "Origin: a structure has no 'min' and 'max'"),
    ],
)
async def test_a_part_that_cannot_be_written_now_says_why(
    node_opcua: NodeOpcUaServer, ids: dict[str, str], more: dict[str, Any], value: Any, sentence: str
) -> None:
    if node_opcua.command("browse_name", node="ns=2;s=unfit.part") is None:
        add_recipe(node_opcua, ids, "ns=2;s=unfit.part")
    async with connected(node_opcua.endpoint, [{"at": "ns=2;s=unfit.part", **more}]) as press:
        with pytest.raises(ValueError, match=sentence):
            await press.write(0, value)
        assert held(node_opcua, "ns=2;s=unfit.part") == HELD


async def test_what_is_part_of_a_safety_function_is_not_written_along_with_others(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=safe")
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=safe", "part": "State", "safety": True},
        {"at": "ns=2;s=safe", "part": "Passes", "writable": LIMITS},
        {"at": "ns=2;s=safe", "writable": True},
    ]
    async with connected(node_opcua.endpoint, tags) as press:
        for tag, value in ((1, 5), (2, json.dumps(OTHER))):
            with pytest.raises(ValueError, match="t0 is a part of this structure and of a safety function"):
                await press.write(tag, value)
        assert held(node_opcua, "ns=2;s=safe") == HELD


async def test_nothing_is_put_back_that_the_server_calls_bad(node_opcua: NodeOpcUaServer, ids: dict[str, str]) -> None:
    add_recipe(node_opcua, ids, "ns=2;s=bad")
    async with connected(node_opcua.endpoint, [{"at": "ns=2;s=bad", "part": "Passes", "writable": LIMITS}]) as press:
        node_opcua.set("ns=2;s=bad", "ExtensionObject", structure(ids, recipe()), status=0x40900000)
        with pytest.raises(Exception, match="quality UncertainLastUsableValue; nothing was sent"):
            await press.write(0, 5)


async def test_a_server_of_open62541_gets_structures_and_fields_too(opcua_server: OpcUaServer) -> None:
    """It has no node of the encoding of a structure, and says it in the definition of the type alone."""
    opcua_server.add("recipe", "Recipe", {"name": "A7", "temperatures": [180.5, 190.0], "passes": 3}, writable=True)
    opcua_server.add("report", "Report", {"code": 7, "note": None, "weight": 1.5}, writable=True)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=1;s=recipe", "writable": True},
        {"at": "ns=1;s=recipe", "part": "Passes", "writable": {"min": -10, "max": 40_000}},
        {"at": "ns=1;s=recipe", "part": "Temperatures[1]", "writable": LIMITS},
        {"at": "ns=1;s=report", "writable": True},
        {"at": "ns=1;s=report", "part": "Note", "writable": True},
    ]
    async with connected(opcua_server.endpoint, tags) as press:
        await press.write(1, 5)
        await press.write(2, 200.0)
        assert opcua_server.read("recipe")[1] == {"name": "A7", "temperatures": [180.5, 200.0], "passes": 5}
        await press.write(0, '{"Name": "B2", "Temperatures": [], "Passes": -4}')
        assert json.loads(str((await press.read(0)).value)) == {"Name": "B2", "Temperatures": [], "Passes": -4}
        with pytest.raises(ValueError, match="Passes: 32768 does not fit Int16"):
            await press.write(1, 32768)
        await press.write(4, "hot")
        assert opcua_server.read("report")[1] == {"code": 7, "note": "hot", "weight": 1.5}
        await press.write(3, '{"Code": 8}')
        assert opcua_server.read("report")[1] == {"code": 8, "note": None, "weight": None}


async def test_elements_of_an_array_of_structures_are_written_alone_to_a_server_of_open62541_too(
    opcua_server: OpcUaServer,
) -> None:
    first, second = ({"name": name, "temperatures": [180.5], "passes": 3} for name in ("A7", "B2"))
    opcua_server.add("recipes", "Recipe", [first, second], writable=True)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=1;s=recipes", "part": "[1].Passes", "writable": LIMITS},
        {"at": "ns=1;s=recipes", "part": "[0]", "writable": True},
        {"at": "ns=1;s=recipes", "writable": True},
    ]
    async with connected(opcua_server.endpoint, tags) as press:
        await press.write(0, 5)
        assert opcua_server.read("recipes")[1] == [first, second | {"passes": 5}]
        await press.write(1, '{"Name": "C", "Temperatures": [], "Passes": 1}')
        one = {"name": "C", "temperatures": [], "passes": 1}
        assert opcua_server.read("recipes")[1] == [one, second | {"passes": 5}]
        await press.write(2, '[{"Name": "C", "Temperatures": [], "Passes": 1}]')
        assert opcua_server.read("recipes")[1] == [one]
