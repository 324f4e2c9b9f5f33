"""Tags that nobody has named: browse rules of the OPC UA driver on servers of node-opcua, and what changes on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.model.quality import BAD_NODE_ID_UNKNOWN
from connectors.opcua import connection
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer

BAD_INTERNAL_ERROR, BAD_SERVICE_UNSUPPORTED = 0x8002_0000, 0x800B_0000


@pytest.fixture(scope="module")
def small() -> Iterator[NodeOpcUaServer]:
    """A server that takes little in one request."""
    server = NodeOpcUaServer(limits={"maxNodesPerRead": 7, "maxNodesPerBrowse": 3, "maxMonitoredItemsPerCall": 5})
    server.start()
    yield server
    server.close()


def line(server: NodeOpcUaServer, top: str) -> None:
    """Two machines with a few variables each, below one object."""
    server.object(f"ns=2;s={top}")
    for machine in ("Press", "Oven"):
        server.object(f"ns=2;s={top}.{machine}", under=f"ns=2;s={top}")
        server.object(f"ns=2;s={top}.{machine}.Drive", under=f"ns=2;s={top}.{machine}")
        for path, kind, value in [("Force", "Double", 1.5), ("State", "String", "run"), ("Drive.Speed", "Int32", 7)]:
            above, _, name = f"{top}.{machine}.{path}".rpartition(".")
            server.add(f"ns=2;s={top}.{machine}.{path}", kind, value, under=f"ns=2;s={above}", name=name)


def finding(server: NodeOpcUaServer, *rules: dict[str, Any], tags: Any = (), **more: Any) -> OpcUaDriver:
    return driver(server.endpoint, list(tags), browse=list(rules), **more)


def named(recorder: Recorder) -> dict[str, Any]:
    """The newest value of each tag that the driver says it has now, by name."""
    last = recorder.last()
    types = recorder.onlines[-1][0] if recorder.onlines else []
    return {each.name: last.get(each.index) for each in types}


def problems(recorder: Recorder) -> dict[str, str]:
    return {problem.tag: problem.reason for problem in recorder.onlines[-1][1]}


async def test_all_variables_below_a_node_become_tags(node_opcua: NodeOpcUaServer) -> None:
    line(node_opcua, "Line")
    recorder = Recorder()
    async with acquiring(finding(node_opcua, {"under": "/Objects/2:Line"}), recorder) as task:
        machine = {"Force": 1.5, "State": "run", "Drive/Speed": 7}
        expected = {f"{top}/{path}": value for top in ("Press", "Oven") for path, value in machine.items()}
        await until(lambda: named(recorder) == expected, task)
        node_opcua.set("ns=2;s=Line.Oven.Drive.Speed", "Int32", 8)
        await until(lambda: named(recorder)["Oven/Drive/Speed"] == 8, task)
    assert problems(recorder) == {}
    assert {tag.rule.always for tag in recorder.found} == {True}


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({"match": "**/Force"}, {"Press/Force", "Oven/Force"}),
        ({"match": ["Press/*", "*/Drive/*"]}, {"Press/Force", "Press/State", "Press/Drive/Speed", "Oven/Drive/Speed"}),
        ({"exclude": "Oven"}, {"Press/Force", "Press/State", "Press/Drive/Speed"}),
        ({"depth": 2, "name": "line/{path}"}, {f"line/{m}/{n}" for m in ("Press", "Oven") for n in ("Force", "State")}),
        ({"types": ["int32"]}, {"Press/Drive/Speed", "Oven/Drive/Speed"}),
        ({"match": "Press/Drive/*", "name": "{name} {id}"}, {"Speed Chosen.Press.Drive.Speed"}),
    ],
    ids=["match", "several", "exclude", "depth", "types", "name"],
)
async def test_a_rule_says_which_variables_and_how_their_tags_are_called(
    node_opcua: NodeOpcUaServer, rule: dict[str, Any], names: set[str]
) -> None:
    if node_opcua.command("browse_name", node="ns=2;s=Chosen") is None:
        line(node_opcua, "Chosen")
    recorder = Recorder()
    async with acquiring(finding(node_opcua, {"under": "ns=2;s=Chosen", **rule}), recorder) as task:
        await until(lambda: recorder.onlines, task)
        assert set(named(recorder)) == names
        await until(lambda: None not in named(recorder).values(), task)


async def test_a_variable_is_one_tag_and_the_file_comes_before_the_rules(node_opcua: NodeOpcUaServer) -> None:
    line(node_opcua, "Once")
    node_opcua.command("reference", **{"from": "ns=2;s=Once.Press.Drive", "to": "ns=2;s=Once", "type": "Organizes"})
    node_opcua.command(
        "reference", **{"from": "ns=2;s=Once", "to": "ns=2;s=Once.Oven.Drive.Speed", "type": "Organizes"}
    )
    rules = [
        {"under": "ns=2;s=Once.Press", "name": "press/{path}", "match": ["*", "Drive/*"], "poll": "50ms"},
        {"under": "ns=2;s=Once", "match": ["**/Speed", "**/Force"]},
    ]
    tags = [{"name": "force", "at": "ns=2;s=Once.Oven.Force", "scale": 2}]
    recorder = Recorder()
    async with acquiring(finding(node_opcua, *rules, tags=tags), recorder) as task:
        await until(lambda: recorder.onlines and None not in named(recorder).values(), task)
        assert named(recorder) == {
            "force": 3.0, "press/Force": 1.5, "press/State": "run", "press/Drive/Speed": 7, "Speed": 7,
        }  # fmt: skip
        assert node_opcua.command("monitored") == 3, "two tags and the server: the others are polled"


async def test_properties_are_tags_where_a_rule_wants_them(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.object("ns=2;s=Ranged")
    node_opcua.add("ns=2;s=Ranged.Level", "Double", 5.0, under="ns=2;s=Ranged", range=[0, 10])
    recorder = Recorder()
    rule = {"under": "ns=2;s=Ranged"}
    async with acquiring(finding(node_opcua, rule), recorder) as task:
        await until(lambda: recorder.onlines, task)
    assert set(named(recorder)) == {"Level"}
    async with acquiring(finding(node_opcua, rule | {"properties": True}), recorder) as task:
        await until(lambda: len(recorder.onlines) > 1, task)
    assert {"Level", "Level/EURange"} <= {*named(recorder), *problems(recorder)}


async def test_names_that_two_variables_would_have_are_given_to_neither(node_opcua: NodeOpcUaServer) -> None:
    line(node_opcua, "Twice")
    tags = [{"name": "state", "at": "ns=2;s=Twice.Press.State"}]
    recorder = Recorder()
    rule = {"under": "ns=2;s=Twice", "name": "{name}", "exclude": "Press/Drive"}
    async with acquiring(finding(node_opcua, rule, tags=tags), recorder) as task:
        await until(lambda: recorder.onlines and None not in named(recorder).values(), task)
    assert named(recorder) == {"state": "run", "Speed": 7}
    said = problems(recorder)
    assert "2 variables would have this name (nsu=urn:lineside:tests:press;s=Twice.Oven.Force, " in said["Force"]
    assert "which another tag has; give the rule another 'name'" in said["State"]


async def test_a_rule_that_finds_too_much_or_nothing_to_begin_with_is_told_and_costs_nobody_else(
    node_opcua: NodeOpcUaServer,
) -> None:
    line(node_opcua, "Much")
    rules = [
        {"under": "ns=2;s=Much.Press", "max": 2},
        {"under": "/Objects/2:Much/Lathe"},
        {"under": "ns=2;s=Much.Oven", "match": "Force", "name": "oven/{name}"},
    ]
    recorder = Recorder()
    async with acquiring(finding(node_opcua, *rules), recorder) as task:
        await until(lambda: recorder.onlines and None not in named(recorder).values(), task)
    assert set(named(recorder)) == {"Force", "State", "oven/Force"}
    said = problems(recorder)
    assert "3 variables fit this rule, and it allows 2; raise its 'max', or" in said["browse ns=2;s=Much.Press"]
    assert "nothing named 2:Lathe below /Objects/2:Much" in said["browse /Objects/2:Much/Lathe"]


async def test_a_server_that_cannot_be_browsed_still_gives_the_tags_of_the_file(node_opcua: NodeOpcUaServer) -> None:
    line(node_opcua, "Closed")
    node_opcua.refuse("Browse", BAD_SERVICE_UNSUPPORTED)
    recorder = Recorder()
    tags = [{"name": "force", "at": "ns=2;s=Closed.Oven.Force"}]
    try:
        async with acquiring(finding(node_opcua, {"under": "ns=2;s=Closed"}, tags=tags), recorder) as task:
            await until(lambda: named(recorder) == {"force": 1.5}, task)
    finally:
        node_opcua.refuse("Browse", None)
    assert "BadServiceUnsupported" in problems(recorder)["browse ns=2;s=Closed"]


async def test_what_comes_and_goes_on_the_server_comes_and_goes_here(node_opcua: NodeOpcUaServer) -> None:
    line(node_opcua, "Changing")
    recorder = Recorder()
    rules = [{"under": "ns=2;s=Changing.Press"}, {"under": "ns=2;s=Changing.Oven", "name": "o/{path}", "poll": "50ms"}]
    async with acquiring(finding(node_opcua, *rules, browse_again="1s"), recorder) as task:
        await until(lambda: recorder.onlines and None not in named(recorder).values(), task)
        node_opcua.remove("ns=2;s=Changing.Press.State")
        node_opcua.remove("ns=2;s=Changing.Oven.State")
        node_opcua.add("ns=2;s=Changing.Press.New", "Double", 9.5, under="ns=2;s=Changing.Press")
        node_opcua.add("ns=2;s=Changing.Oven.New", "Double", 8.5, under="ns=2;s=Changing.Oven")
        await until(lambda: named(recorder).get("New") == 9.5 and named(recorder).get("o/New") == 8.5, task)
        assert set(named(recorder)) == {"Force", "Drive/Speed", "New", "o/Force", "o/Drive/Speed", "o/New"}
        assert "does not find it any more; it is looked for every 1 s" in problems(recorder)["State"]
        known = {each.name: each.index for each in recorder.onlines[0][0]}
        node_opcua.add("ns=2;s=Changing.Press.State", "String", "back", under="ns=2;s=Changing.Press")
        await until(lambda: named(recorder).get("State") == "back", task)
        assert {each.name: each.index for each in recorder.onlines[-1][0]}["State"] == known["State"]
        assert set(problems(recorder)) == {"o/State"}


async def test_what_the_server_says_has_come_is_found_at_once(
    node_opcua: NodeOpcUaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MODEL_CHANGES_S_MIN", 0.1)
    node_opcua.object("ns=2;s=Telling", versioned=True)
    node_opcua.add("ns=2;s=Telling.old", "Double", 1.0, under="ns=2;s=Telling")
    recorder = Recorder()
    async with acquiring(finding(node_opcua, {"under": "ns=2;s=Telling"}, browse_again="1h"), recorder) as task:
        await until(lambda: named(recorder).get("old") == 1.0, task)
        node_opcua.add("ns=2;s=Telling.new", "Double", 2.0, under="ns=2;s=Telling")
        await until(lambda: named(recorder).get("new") == 2.0, task)
        node_opcua.remove("ns=2;s=Telling.old")
        await until(lambda: "old" in problems(recorder), task)
        node_opcua.add("ns=2;s=Telling.third", "Double", 3.0, under="ns=2;s=Telling")
        await until(lambda: named(recorder).get("third") == 3.0, task)


async def test_a_server_that_says_nothing_of_its_changes_is_followed_all_the_same(
    node_opcua: NodeOpcUaServer,
) -> None:
    node_opcua.object("ns=2;s=Mute", versioned=True)
    node_opcua.add("ns=2;s=Mute.old", "Double", 1.0, under="ns=2;s=Mute")
    node_opcua.command("poison", service="CreateMonitoredItems", node="ns=0;i=2253", status=0x80430000)
    recorder = Recorder()
    try:
        async with acquiring(finding(node_opcua, {"under": "ns=2;s=Mute"}, browse_again="1s"), recorder) as task:
            await until(lambda: named(recorder).get("old") == 1.0, task)
            node_opcua.add("ns=2;s=Mute.new", "Double", 2.0, under="ns=2;s=Mute")
            await until(lambda: named(recorder).get("new") == 2.0, task)
    finally:
        node_opcua.command("heal", service="CreateMonitoredItems")


async def test_a_tag_is_the_same_one_after_the_server_was_restarted_with_other_nodes() -> None:
    server = NodeOpcUaServer(namespaces=["urn:other", "urn:lineside:tests:press"])
    server.start()
    try:
        server.object("ns=3;s=Top")
        server.add_many(
            [{"node": f"ns=3;s=Top.{n}", "under": "ns=3;s=Top", "type": "Double", "value": 1.0} for n in ("a", "b")]
        )
        working = finding(server, {"under": "/Objects/nsu=urn:lineside:tests:press;Top"})
        recorder = Recorder()
        async with acquiring(working, recorder) as task:
            await until(lambda: named(recorder) == {"a": 1.0, "b": 1.0}, task)
        before = {each.name: each.index for each in recorder.onlines[-1][0]}
        server.kill()
        server.options["namespaces"] = ["urn:lineside:tests:press"]
        server.start()
        server.object("ns=2;s=Top")
        server.add_many(
            [{"node": f"ns=2;s=Top.{n}", "under": "ns=2;s=Top", "type": "Double", "value": 2.0} for n in ("b", "c")]
        )
        async with acquiring(working, recorder) as task:
            await until(lambda: named(recorder) == {"b": 2.0, "c": 2.0}, task)
        after = {each.name: each.index for each in recorder.onlines[-1][0]}
        assert (after["b"], problems(recorder).keys()) == (before["b"], {"a"})
        assert recorder.onlines[-1][1][0].quality == BAD_NODE_ID_UNKNOWN
    finally:
        server.close()


async def test_a_server_that_takes_little_in_one_request_is_browsed_to_its_end(small: NodeOpcUaServer) -> None:
    small.object("ns=2;s=Wide")
    each: list[dict[str, Any]] = []
    for group in range(8):
        small.object(f"ns=2;s=Wide.{group}", under="ns=2;s=Wide")
        for number in range(6):
            node = f"ns=2;s=Wide.{group}.{number}"
            each.append({"node": node, "under": f"ns=2;s=Wide.{group}", "type": "Double", "value": float(number)})
    small.add_many(each)
    small.forget()
    recorder = Recorder()
    async with acquiring(finding(small, {"under": "/Objects/2:Wide"}), recorder) as task:
        expected = {f"{group}/{number}": float(number) for group in range(8) for number in range(6)}
        await until(lambda: named(recorder) == expected, task)
    assert small.requests("Browse")[1] <= 3
    assert small.requests("Read")[1] <= 7
    assert small.requests("CreateMonitoredItems")[1] <= 5


async def test_more_than_one_response_can_say_is_asked_for_until_its_end(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.object("ns=2;s=Many")
    node_opcua.add_many(
        [{"node": f"ns=2;s=Many.{n}", "under": "ns=2;s=Many", "type": "Int32", "value": n} for n in range(1201)]
    )
    node_opcua.forget()
    recorder = Recorder()
    async with acquiring(finding(node_opcua, {"under": "ns=2;s=Many"}), recorder) as task:
        await until(lambda: recorder.onlines and sorted(recorder.last().values()) == list(range(1201)), task)
    assert node_opcua.requests("BrowseNext")[0] >= 1


@pytest.mark.parametrize("whose", ["every", "inner"])
async def test_variables_that_cannot_be_looked_for_now_are_not_taken_for_gone(
    node_opcua: NodeOpcUaServer, whose: str
) -> None:
    line(node_opcua, f"Trouble{whose}")
    recorder = Recorder()
    found = finding(node_opcua, {"under": f"/Objects/2:Trouble{whose}", "match": "**/Force"}, browse_again="1s")
    async with acquiring(found, recorder) as task:
        await until(lambda: named(recorder) == {"Press/Force": 1.5, "Oven/Force": 1.5}, task)
        if whose == "every":
            node_opcua.refuse("Browse", BAD_INTERNAL_ERROR)
        else:
            node_opcua.command(
                "poison", service="Browse", node=f"ns=2;s=Trouble{whose}.Oven", status=BAD_INTERNAL_ERROR
            )
        await until(lambda: any("browsed" in reason for reason in problems(recorder).values()), task)
        assert set(named(recorder)) == {"Press/Force", "Oven/Force"}
        node_opcua.set(f"ns=2;s=Trouble{whose}.Oven.Force", "Double", 2.5)
        await until(lambda: named(recorder)["Oven/Force"] == 2.5, task)
        node_opcua.command("heal", service="Browse")
        node_opcua.remove(f"ns=2;s=Trouble{whose}.Oven")
        await until(lambda: set(named(recorder)) == {"Press/Force"}, task)
