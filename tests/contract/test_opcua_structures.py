"""Arrays, structures and enumerations of a server of node-opcua: whole as JSON, or a tag for each part."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.model.datatypes import DataType
from connectors.model.quality import BAD_INDEX_RANGE_NO_DATA, BAD_SENSOR_FAILURE, GOOD
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.survey import survey
from tests.contract.opcua_acquisition import Recorder, acquiring, device, driver, until
from tests.servers.node_opcua import NodeOpcUaServer

POSITION, STATE, RECIPE, REPORT, MEASURE = (f"ns=1;i={number}" for number in (3001, 3010, 3020, 3030, 3040))


def recipe(name: str = "A7", passes: int = 3, state: int = 1) -> dict[str, Any]:
    fields = {
        "name": name,
        "temperatures": [180.5, 190.0],
        "origin": {"x": 1.0, "y": 2.0},
        "corners": [{"x": 0.0, "y": 0.5}, {"x": 10.0, "y": 10.5}],
        "state": state,
        "passes": passes,
    }
    return {"type": RECIPE, "fields": fields}


@pytest.fixture
def ids(node_opcua: NodeOpcUaServer) -> dict[str, str]:
    """The data types of the tests, in the namespace that they have on the server."""
    index = node_opcua.namespaces.index("urn:lineside:tests:press")
    return {each: each.replace("ns=1", f"ns={index}") for each in (POSITION, STATE, RECIPE, REPORT, MEASURE)}


def structure(ids: dict[str, str], value: dict[str, Any]) -> dict[str, Any]:
    return value | {"type": ids[value["type"]]}


async def test_parts_of_one_structure_are_tags_that_share_one_monitored_item(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    node = "ns=2;s=recipe.parts"
    node_opcua.add(node, "ExtensionObject", structure(ids, recipe()), datatype=ids[RECIPE])
    parts = ["Name", "Temperatures[1]", "Origin.X", "Corners[1].Y", "State", "Passes", "Temperatures[7]"]
    tags: list[dict[str, Any] | str] = [{"at": node, "part": part} for part in parts]
    tags += [
        {"at": node},
        {"at": node, "part": "State", "enum_names": True},
        {"at": node, "part": "Passes", "scale": 10},
    ]
    recorder = Recorder()
    working = driver(node_opcua.endpoint, tags)
    async with acquiring(working, recorder) as task:
        expected = {0: "A7", 1: 190.0, 2: 1.0, 3: 10.5, 4: 1, 5: 3, 6: None, 8: "Running", 9: 30.0}
        await until(lambda: recorder.last().items() >= expected.items(), task)
        whole = json.loads(recorder.last()[7])
        assert whole == {
            "Name": "A7", "Temperatures": [180.5, 190.0], "Origin": {"X": 1.0, "Y": 2.0},
            "Corners": [{"X": 0.0, "Y": 0.5}, {"X": 10.0, "Y": 10.5}], "State": 1, "Passes": 3,
        }  # fmt: skip
        assert recorder.of(6) == [(None, BAD_INDEX_RANGE_NO_DATA)]
        assert (await working.read(6)).quality == BAD_INDEX_RANGE_NO_DATA
        assert [recorder.datatypes[tag] for tag in (1, 4, 5, 8, 9)] == [
            DataType.DOUBLE, DataType.INT32, DataType.INT32, DataType.STRING, DataType.DOUBLE,
        ]  # fmt: skip
        assert node_opcua.command("monitored") == 1
        node_opcua.set(node, "ExtensionObject", structure(ids, recipe("B1", 4, 2)))
        await until(lambda: recorder.last().items() >= {0: "B1", 4: 2, 5: 4, 8: "Fault", 9: 40.0}.items(), task)
        assert (await working.read(3)).value == 10.5
        assert (await working.read(9)).value == 40.0


@pytest.mark.parametrize("way", ["subscribed", "polled"])
async def test_elements_of_arrays_are_tags_and_a_bad_status_is_that_of_each(
    node_opcua: NodeOpcUaServer, way: str
) -> None:
    node, matrix = f"ns=2;s=array.{way}", f"ns=2;s=matrix.{way}"
    node_opcua.add(node, "Float", [1.5, 2.5, 3.5])
    node_opcua.add(matrix, "Int16", [[1, 2], [3, 4]])
    tags: list[dict[str, Any] | str] = [
        {"at": node, "part": "[0]"},
        {"at": node, "part": "[2]"},
        {"at": matrix, "part": "[1][0]"},
        {"at": matrix},
        {"at": node},
    ]
    if way == "polled":
        tags = [dict(tag, poll="50ms") for tag in tags if isinstance(tag, dict)]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        expected = {0: 1.5, 1: 3.5, 2: 3, 3: "[[1, 2], [3, 4]]", 4: "[1.5, 2.5, 3.5]"}
        await until(lambda: recorder.last() == expected, task)
        node_opcua.set(node, "Float", [4.5])
        await until(
            lambda: (recorder.of(0)[-1], recorder.of(1)[-1]) == ((4.5, GOOD), (None, BAD_INDEX_RANGE_NO_DATA)), task
        )
        node_opcua.set(node, "Float", [5.5, 6.5, 7.5], status=BAD_SENSOR_FAILURE << 16)
        await until(lambda: recorder.of(1)[-1][1] == BAD_SENSOR_FAILURE, task)
        assert recorder.of(2)[-1] == (3, GOOD)
    assert (recorder.datatypes[1], recorder.datatypes[2]) == (DataType.FLOAT, DataType.INT16)


async def test_an_enumeration_is_a_number_or_its_name(node_opcua: NodeOpcUaServer, ids: dict[str, str]) -> None:
    node_opcua.add("ns=2;s=state", "Int32", 1, datatype=ids[STATE])
    node_opcua.add("ns=2;s=plain", "Int32", 1)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=state"},
        {"at": "ns=2;s=state", "enum_names": True},
        {"at": "ns=2;s=plain", "enum_names": True},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {0: 1, 1: "Running"}, task)
        (problem,) = recorder.onlines[-1][1]
        assert problem.reason == "the server gives the values of this variable no names; remove 'enum_names'"
        node_opcua.set("ns=2;s=state", "Int32", 2)
        await until(lambda: recorder.last() == {0: 2, 1: "Fault"}, task)
        node_opcua.set("ns=2;s=state", "Int32", 77)
        await until(lambda: recorder.last() == {0: 77, 1: "77"}, task)


async def test_optional_fields_unions_and_structures_of_opc_ua_itself(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    report = {"type": ids[REPORT], "fields": {"code": 7, "weight": 1.5}}
    node_opcua.add("ns=2;s=report", "ExtensionObject", report, datatype=ids[REPORT])
    measure = {"type": ids[MEASURE], "fields": {"text": "on"}}
    node_opcua.add("ns=2;s=measure", "ExtensionObject", measure, datatype=ids[MEASURE])
    node_opcua.add("ns=2;s=level", "Double", 5.0, range=[0, 10])
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=report"},
        {"at": "ns=2;s=report", "part": "Weight"},
        {"at": "ns=2;s=report", "part": "Note"},
        {"at": "ns=2;s=measure"},
        {"at": "/Objects/2:level/0:EURange", "part": "High"},
        {"at": "/Objects/2:level/0:EURange"},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 6, task)
    last = recorder.last()
    assert json.loads(last[0]) == {"Code": 7, "Weight": 1.5}
    assert (last[1], last[2]) == (1.5, None)
    assert json.loads(last[3]) == {"Text": "on"}
    assert (last[4], json.loads(last[5])) == (10.0, {"Low": 0.0, "High": 10.0})


async def test_a_part_that_is_not_there_is_told_with_what_is_and_costs_no_other(
    node_opcua: NodeOpcUaServer, ids: dict[str, str]
) -> None:
    node_opcua.add("ns=2;s=recipe.wrong", "ExtensionObject", structure(ids, recipe()), datatype=ids[RECIPE])
    node_opcua.add("ns=2;s=number.wrong", "Double", 1.0)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=recipe.wrong", "part": "Nmae"},
        {"at": "ns=2;s=recipe.wrong", "part": "Name"},
        {"at": "ns=2;s=number.wrong", "part": "[0]"},
        {"at": "ns=2;s=nothing", "part": "[0]"},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {1: "A7"}, task)
    said = {problem.tag: problem.reason for problem in recorder.onlines[-1][1]}
    assert "has no field 'Nmae'; it has Name, Temperatures, Origin, Corners, State, Passes" in said["t0"]
    assert said["t2"] == "there is [0] in 'part', and that is no array"
    assert "the server has no such node" in said["t3"]


async def test_who_browses_sees_structures_as_they_are(node_opcua: NodeOpcUaServer, ids: dict[str, str]) -> None:
    node_opcua.object("ns=2;s=Browsed")
    more = {"under": "ns=2;s=Browsed", "datatype": ids[RECIPE]}
    node_opcua.add("ns=2;s=Browsed.Recipe", "ExtensionObject", structure(ids, recipe()), **more)
    node_opcua.add("ns=2;s=Browsed.Level", "Double", 5.0, under="ns=2;s=Browsed", range=[0, 10], unit="mm")
    rule = OpcUaBrowse.model_validate({"under": "ns=2;s=Browsed", "properties": True})
    found = await survey(device(node_opcua.endpoint, ["any"]), rule)
    variables = {each.name: each for each in found.variables}
    assert json.loads(str(variables["Recipe"].value)) == {
        "Name": "A7", "Temperatures": [180.5, 190.0], "Origin": {"X": 1.0, "Y": 2.0},
        "Corners": [{"X": 0.0, "Y": 0.5}, {"X": 10.0, "Y": 10.5}], "State": "Running", "Passes": 3,
    }  # fmt: skip
    assert (variables["Recipe"].type, variables["Level"].unit) == ("Recipe", "mm")
    assert json.loads(str(variables["Level/EURange"].value)) == {"Low": 0.0, "High": 10.0}
