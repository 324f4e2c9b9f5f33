"""Fields whose type their value chooses, on a server of node-opcua: read, and written with the type that they have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.model.datatypes import DataType
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.contract.test_opcua_structure_writes import connected
from tests.servers.node_opcua import NodeOpcUaServer

LIMITS = {"min": 0, "max": 300}


def add(server: NodeOpcUaServer, node: str) -> None:
    index = server.namespaces.index("urn:lineside:tests:press")
    setting = f"ns={index};i=3050"
    fields = {
        "name": "speed",
        "value": {"dataType": "Int16", "value": 5},
        "amount": {"dataType": "Float", "value": 1.5},
        "choices": [{"dataType": "String", "value": "slow"}, {"dataType": "UInt32", "value": 7}],
        "count": 3,
    }
    value = {"type": setting, "fields": fields}
    server.add(node, "ExtensionObject", value, datatype=setting, writable=True)


def held(server: NodeOpcUaServer, node: str) -> dict[str, Any]:
    """Each field with the type that it has, where that is open."""
    found = server.get(node)[1]
    opened = {name: (found[name]["dataType"], found[name]["value"]) for name in ("value", "amount")}
    choices = [(each["dataType"], each["value"]) for each in found["choices"]]
    return {"name": found["name"], **opened, "choices": choices, "count": found["count"]}


async def test_a_whole_structure_is_written_and_its_open_fields_keep_their_types(node_opcua: NodeOpcUaServer) -> None:
    node = "ns=2;s=open.whole"
    add(node_opcua, node)
    before = held(node_opcua, node)
    async with connected(node_opcua.endpoint, [{"at": node, "writable": True}]) as press:
        shown = json.loads(str((await press.read(0)).value))
        assert shown == {"Name": "speed", "Value": 5, "Amount": 1.5, "Choices": ["slow", 7], "Count": 3}
        await press.write(0, json.dumps(shown))
        assert held(node_opcua, node) == before
        wanted = {"Name": "pace", "Value": 6, "Amount": 2, "Choices": ["fast"], "Count": 4}
        await press.write(0, json.dumps(wanted))
        assert json.loads(str((await press.read(0)).value)) == wanted
        now = held(node_opcua, node)
        assert (now["value"], now["amount"]) == ((before["value"][0], 6), (before["amount"][0], 2))
        assert now["choices"] == [(before["choices"][0][0], "fast")]
        for change, sentence in (
            ({"Value": 70_000}, r"Value: 70000 does not fit Int16 .*keeps the one that it has now"),
            ({"Value": 6.5}, "Value: 6.5 is not a whole number, and the type is Int16"),
            ({"Amount": "2"}, "Amount: '2' is not a number"),
            (
                {"Choices": ["a", "b"]},
                r"Choices\[1\]: its type is that of its value, and the server has none",
            ),
        ):
            with pytest.raises(ValueError, match=sentence):
                await press.write(0, json.dumps(wanted | change))
        assert held(node_opcua, node) == now


async def test_an_open_field_is_a_tag_of_the_type_that_its_value_has(node_opcua: NodeOpcUaServer) -> None:
    node = "ns=2;s=open.fields"
    add(node_opcua, node)
    before = held(node_opcua, node)
    tags: list[dict[str, Any] | str] = [
        {"at": node, "part": "Value", "writable": LIMITS},
        {"at": node, "part": "Amount"},
        {"at": node, "part": "Choices[0]", "writable": True},
        {"at": node, "part": "Choices"},
    ]
    recorder, press = Recorder(), driver(node_opcua.endpoint, tags)
    async with acquiring(press, recorder) as task:
        await until(lambda: recorder.last() == {0: 5, 1: 1.5, 2: "slow", 3: '["slow", 7]'}, task)
        assert [recorder.datatypes[tag] for tag in range(4)] == [
            DataType.INT16, DataType.FLOAT, DataType.STRING, DataType.STRING,
        ]  # fmt: skip
        await press.write(0, 250)
        await press.write(2, "fast")
        await until(lambda: recorder.last() == {0: 250, 1: 1.5, 2: "fast", 3: '["fast", 7]'}, task)
    choices = [(before["choices"][0][0], "fast"), before["choices"][1]]
    assert held(node_opcua, node) == before | {"value": (before["value"][0], 250), "choices": choices}
