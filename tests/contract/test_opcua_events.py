"""Events and alarms of a server of node-opcua, as samples."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from connectors.model.datatypes import DataType
from connectors.model.quality import GOOD
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import PRESS, NodeOpcUaServer

SERVER = "i=2253"


def reading(server: NodeOpcUaServer, node: str = SERVER, **events: Any) -> OpcUaDriver:
    """A driver of the events of a node, beside a value."""
    server_time = {"at": "i=2258", "sampling": "1s"}
    return driver(server.endpoint, [{"at": node, "events": events or True, "lane": "alarms"}, server_time])


def told(recorder: Recorder) -> list[dict[str, Any]]:
    return [json.loads(value) for value, _quality in recorder.of(0)]


async def test_an_event_is_a_sample_at_its_own_time_with_what_it_says(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.command("notifier", node="ns=2;s=said.Press")
    recorder = Recorder()
    async with acquiring(reading(node_opcua), recorder) as task:
        await until(lambda: recorder.of(1), task)
        before_ns = time.time_ns()
        node_opcua.command("event", node="ns=2;s=said.Press", message="Größe 7 gewählt", severity=300)
        await until(lambda: told(recorder), task)
    (event,) = told(recorder)
    assert len(event.pop("id")) > 10
    assert event == {
        "type": "SystemEventType",
        "source": "Press",
        "source_node": f"nsu={PRESS};s=said.Press",
        "message": "Größe 7 gewählt",
        "severity": 300,
    }
    (row,) = [row for row in recorder.rows if row[0] == 0]
    assert before_ns - 2_000_000 <= row[1] <= time.time_ns()
    assert recorder.datatypes[0] is DataType.STRING


async def test_events_of_one_object_that_are_severe_enough_are_read(node_opcua: NodeOpcUaServer) -> None:
    for name in ("Press", "Oven"):
        node_opcua.command("notifier", node=f"ns=2;s=severe.{name}")
    recorder = Recorder()
    working = reading(node_opcua, "ns=2;s=severe.Press", severity=500)
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.of(1), task)
        asked = await working.read(0)
        assert (asked.value, asked.quality) == ("", GOOD), "it can be read, and nothing has happened yet"
        node_opcua.command("event", node="ns=2;s=severe.Press", message="small", severity=499)
        node_opcua.command("event", node="ns=2;s=severe.Oven", message="elsewhere", severity=900)
        node_opcua.command("event", node="ns=2;s=severe.Press", message="large", severity=500)
        await until(lambda: told(recorder), task)
    assert [event["message"] for event in told(recorder)] == ["large"]


async def test_an_alarm_is_told_as_it_is_at_each_connect_and_as_it_changes(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.command("notifier", node="ns=2;s=alarm.Press")
    node_opcua.add("ns=2;s=alarm.force", "Double", 0.0)
    names = ("TooHard", "TooLong")
    nodes = [
        node_opcua.command("alarm", at="ns=2;s=alarm.Press", name=name, input="ns=2;s=alarm.force", high=100)
        for name in names
    ]
    node_opcua.set("ns=2;s=alarm.force", "Double", 200.0)
    recorder = Recorder()
    working = reading(node_opcua, "ns=2;s=alarm.Press")

    def states() -> list[tuple[str, bool | None, bool | None, bool]]:
        return [(each["name"], each.get("active"), each.get("acked"), each["retain"]) for each in told(recorder)]

    async with acquiring(working, recorder) as task:
        await until(lambda: len(told(recorder)) == 2, task)
        assert sorted(states()) == [(name, True, False, True) for name in names], "what there was before the connect"
        assert {each["condition"] for each in told(recorder)} == {
            node.replace("ns=2;", f"nsu={PRESS};") for node in nodes
        }
        event = next(each for each in told(recorder) if each["name"] == "TooHard")
        condition = event["condition"]
        await working.call("acknowledge", [condition, event["id"], "seen by Anna"])
        await until(lambda: ("TooHard", True, True, True) in states(), task)
        assert node_opcua.command("alarm_state", node=nodes[0])[1:] == [True, False, "seen by Anna"]
        newest = told(recorder)[-1]  # each change of its state is an event of its own
        await working.call("confirm", [condition, newest["id"], "measured anew"])
        await until(lambda: told(recorder)[-1].get("confirmed"), task)
    count = len(told(recorder))
    async with acquiring(working, recorder) as task:
        node_opcua.set("ns=2;s=alarm.force", "Double", 0.0)
        await until(lambda: ("TooHard", False, True, True) in states()[count:], task)
    assert not [state for state in states()[count:] if state[1]], "what was told before comes once"


async def test_an_alarm_that_ended_while_nobody_looked_is_said_to_have_ended(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.command("notifier", node="ns=2;s=ended.Press")
    node_opcua.add("ns=2;s=ended.force", "Double", 0.0)
    where = {"at": "ns=2;s=ended.Press", "name": "Ends", "input": "ns=2;s=ended.force", "high": 100}
    node = node_opcua.command("alarm", **where)
    recorder = Recorder()
    working = reading(node_opcua)  # only at the server itself does node-opcua say when it has told all of them

    def told_of_it() -> list[dict[str, Any]]:
        return [event for event in told(recorder) if event.get("name") == "Ends"]

    async with acquiring(working, recorder) as task:
        node_opcua.set("ns=2;s=ended.force", "Double", 200.0)
        await until(told_of_it, task)
    node_opcua.command("settle", node=node)
    async with acquiring(working, recorder) as task:
        await until(lambda: len(told_of_it()) > 1, task)
    begun, ended = told_of_it()
    assert (begun["retain"], begun["active"]) == (True, True)
    assert (ended["retain"], "active" in ended, ended["condition"]) == (False, False, begun["condition"])
    assert ended["ended"] == "it was not among those that the server has told anew"


async def test_a_server_that_may_have_lost_states_is_asked_for_them(node_opcua: NodeOpcUaServer) -> None:
    recorder = Recorder()
    async with acquiring(reading(node_opcua), recorder) as task:
        await until(lambda: recorder.of(1), task)
        node_opcua.forget()
        node_opcua.command("refresh_required")
        await until(lambda: node_opcua.requests("Call")[0] == 1, task)


async def test_a_node_without_events_is_a_problem_of_its_tag(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.object("ns=2;s=silent.Press")
    recorder = Recorder()
    async with acquiring(reading(node_opcua, "ns=2;s=silent.Press"), recorder) as task:
        await until(lambda: recorder.of(1), task)
    (problem,) = recorder.onlines[0][1]
    assert problem.reason == "this node sends no events; name an object that does, such as i=2253"


async def test_events_that_did_not_come_are_sent_again(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.command("notifier", node="ns=2;s=again.Press")
    recorder = Recorder()
    async with acquiring(reading(node_opcua, "ns=2;s=again.Press"), recorder) as task:
        await until(lambda: recorder.of(1), task)
        node_opcua.command("lose", count=1)
        node_opcua.command("event", node="ns=2;s=again.Press", message="first", severity=300)
        await until(lambda: told(recorder), task)
    assert [event["message"] for event in told(recorder)] == ["first"]
    assert recorder.unsent == []


async def test_a_method_can_be_named_by_its_path(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.object("ns=2;s=path.Press", name="PathPress")
    node_opcua.command("method", node="ns=2;s=path.Start", under="ns=2;s=path.Press", inputs=[["speed", "Double"]])
    recorder = Recorder()
    working = driver(node_opcua.endpoint, [{"at": "i=2258"}])
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.of(0), task)
        assert await working.call("/Objects/2:PathPress/Start", [2.5]) == (2.5,)
        with pytest.raises(ValueError, match="/Objects/2:PathPress/Stop"):
            await working.call("/Objects/2:PathPress/Stop", [])
        with pytest.raises(ValueError, match="acknowledge takes the node id of a condition, the id of an event and a"):
            await working.call("acknowledge", ["i=1"])
    assert node_opcua.command("calls")[-1] == ["ns=2;s=path.Start", [2.5]]
