"""How the OPC UA driver finds its nodes on a server of node-opcua, whatever that server allows in one request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.model.quality import BAD_NODE_ID_UNKNOWN
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import PRESS, NodeOpcUaServer

OVEN = "urn:lineside:tests:oven"


@pytest.fixture(scope="module")
def small() -> Iterator[NodeOpcUaServer]:
    """A server that takes next to nothing in one request."""
    limits = {
        "maxNodesPerRead": 4,
        "maxNodesPerBrowse": 2,
        "maxNodesPerRegisterNodes": 3,
        "maxNodesPerTranslateBrowsePathsToNodeIds": 2,
        "maxMonitoredItemsPerCall": 3,
    }
    capabilities = {"maxSubscriptionsPerSession": 2, "maxMonitoredItemsPerSubscription": 8}
    server = NodeOpcUaServer(limits=limits, capabilities=capabilities)
    server.start()
    yield server
    server.close()


def tree(server: NodeOpcUaServer, top: str, names: list[str], index: int = 2) -> list[dict[str, Any]]:
    """An object with variables of the values 0, 1, …; their browse paths as tags."""
    server.object(f"ns={index};s={top}")
    parts = [{"node": f"ns={index};s={top}.{name}", "under": f"ns={index};s={top}", "name": name} for name in names]
    server.add_many([part | {"type": "Double", "value": number} for number, part in enumerate(parts)])
    return [{"at": f"/Objects/{index}:{top}/{name}"} for name in names]


async def test_tags_are_found_by_their_browse_paths(node_opcua: NodeOpcUaServer) -> None:
    tree(node_opcua, "Found", ["Force", "In/Out"])
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": "/Objects/2:Found/2:Force"},
        {"at": f"/Objects/nsu={PRESS};Found/In&/Out"},
        {"at": "ns=2;s=Found.Force"},
    ]
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0, 1: 1.0, 2: 0.0}, task)


async def test_a_path_that_leads_nowhere_is_told_where_it_ends_and_its_neighbours_go_on(
    node_opcua: NodeOpcUaServer,
) -> None:
    tree(node_opcua, "Nowhere", ["Force"])
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": "/Objects/2:Nowhere/Forse"},
        {"at": "/Objects/2:Nowhere/Force"},
        {"at": "/Objects/2:Other/Ram/Force"},
        {"at": "/Objects/nsu=urn:none;Press"},
        {"at": "/Objekte/2:Nowhere"},
    ]
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {1: 0.0}, task)
        found = {problem.tag: (problem.reason, problem.quality) for problem in recorder.onlines[0][1]}
        assert found["t0"] == (
            "the server has nothing named 2:Forse below /Objects/2:Nowhere; check the spelling and the namespace",
            BAD_NODE_ID_UNKNOWN,
        )
        assert "nothing named 2:Other below /Objects;" in found["t2"][0]
        assert "no namespace 'urn:none'" in found["t3"][0]
        assert "nothing named 0:Objekte below the root;" in found["t4"][0]
        node_opcua.add("ns=2;s=Nowhere.Forse", "Double", 7.0, under="ns=2;s=Nowhere")
        await until(lambda: recorder.last() == {0: 7.0, 1: 0.0}, task)


async def test_a_path_that_leads_to_several_nodes_is_not_guessed(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.object("ns=2;s=Twice")
    for node in ("ns=2;s=Twice.a", "ns=2;s=Twice.b"):
        node_opcua.add(node, "Double", 1.0, under="ns=2;s=Twice", name="Same")
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [{"at": "/Objects/2:Twice/Same"}]
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.onlines, task)
        assert "leads to 2 nodes; write the node id" in recorder.onlines[0][1][0].reason


async def test_namespaces_and_node_ids_may_be_others_after_each_start_of_the_server() -> None:
    server = NodeOpcUaServer(namespaces=[PRESS, OVEN])
    server.start()
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [
        {"at": f"nsu={OVEN};s=Oven.Zone"},
        {"at": f"/Objects/nsu={OVEN};Oven/Zone"},
    ]
    working = driver(server.endpoint, tags)
    try:
        tree(server, "Oven", ["Zone"], index=3)
        async with acquiring(working, recorder) as task:
            await until(lambda: recorder.last() == {0: 0.0, 1: 0.0}, task)
        server.kill()
        server.options["namespaces"] = ["urn:another", "urn:one", OVEN, PRESS]
        server.start()
        server.object("ns=4;s=Oven")
        server.add("ns=4;s=Oven.Zone", "Double", 5.0, under="ns=4;s=Oven", name="Nothing")
        server.add("ns=4;s=renamed", "Double", 6.0, under="ns=4;s=Oven", name="Zone")
        async with acquiring(working, recorder) as task:
            await until(lambda: recorder.last() == {0: 5.0, 1: 6.0}, task)
    finally:
        server.close()


async def test_no_request_asks_for_more_than_the_server_allows(small: NodeOpcUaServer) -> None:
    tags: list[dict[str, Any] | str] = [*tree(small, "Many", [f"v{number}" for number in range(7)])]
    small.add("ns=2;s=text", "String", "a")
    small.add("ns=2;s=flag", "Boolean", True)
    tags += [{"at": "ns=2;s=text"}, {"at": "ns=2;s=flag"}]
    small.forget()
    recorder = Recorder()
    async with acquiring(driver(small.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 9, task)
        assert recorder.onlines[-1][1] == []
        assert small.command("subscriptions") == 2  # one has no room for nine items
        small.set("ns=2;s=flag", "Boolean", value=False)
        await until(lambda: recorder.last()[8] is False, task)
    assert small.requests("TranslateBrowsePathsToNodeIds")[1] <= 2
    assert small.requests("CreateMonitoredItems")[1] <= 3
    assert small.requests("Read")[1] <= 6  # the limits themselves are asked for before one is known


async def test_values_of_all_types_come_by_one_subscription(node_opcua: NodeOpcUaServer) -> None:
    tags: list[dict[str, Any] | str] = [*tree(node_opcua, "Kinds", ["v0", "v1"])]
    node_opcua.add("ns=2;s=kinds.text", "String", "a")
    node_opcua.add("ns=2;s=kinds.flag", "Boolean", True)
    tags += [{"at": "ns=2;s=kinds.text"}, {"at": "ns=2;s=kinds.flag"}]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 4, task)
        assert node_opcua.command("subscriptions") == 1


async def test_what_one_subscription_has_no_room_for_goes_into_another(small: NodeOpcUaServer) -> None:
    tags: list[dict[str, Any] | str] = [*tree(small, "Room", [f"v{number}" for number in range(17)])]
    recorder = Recorder()
    async with acquiring(driver(small.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == 16, task)
        (problem,) = recorder.onlines[-1][1]
        assert problem.reason == "the server has no room for more monitored items (BadTooManyMonitoredItems 0x80DB0000)"
        assert (small.command("subscriptions"), small.command("monitored")) == (2, 16)


async def test_the_device_file_can_say_the_limits_that_a_small_controller_keeps_to_itself(
    node_opcua: NodeOpcUaServer,
) -> None:
    tags: list[dict[str, Any] | str] = [*tree(node_opcua, "Quiet", [f"v{number}" for number in range(6)])]
    limits = {"reads": 3, "translations": 2, "items": 2, "monitored_items": 5, "subscriptions": 1}
    node_opcua.forget()
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags, limits=limits), recorder) as task:
        await until(lambda: len(recorder.last()) == 5, task)
        (problem,) = recorder.onlines[-1][1]
        assert problem.reason.startswith("limits.monitored_items allows 5 monitored items;")
        assert node_opcua.command("subscriptions") == 1
    assert node_opcua.requests("TranslateBrowsePathsToNodeIds")[1] == 2
    assert node_opcua.requests("CreateMonitoredItems")[1] == 2
