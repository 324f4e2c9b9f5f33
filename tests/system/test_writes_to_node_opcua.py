"""What ``edge-agent`` writes to a server of node-opcua: structures, field by field, and methods by named commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess
from tests.system.sparkplug_host import PlayedHost, until
from tests.system.terminal import Terminal

DEVICE = """
  - name: press
    driver: opcua
    endpoint: {press}
    insecure: true
    publishing: 50ms
    tags:
      - {{name: recipe, at: ns=2;s=Recipe, enum_names: true, writable: true}}
      - {{name: passes, at: ns=2;s=Recipe, part: Passes, writable: {{min: 1, max: 9}}}}
    commands:
      make:
        arguments: {{recipe: {{type: text}}, count: {{type: int, min: 1, max: 500}}}}
        steps:
          - {{write: passes, value: 4}}
          - {{call: /Objects/2:Line/Start, arguments: [$recipe, $count]}}
      stop:
        steps:
          - {{call: ns=2;s=Line / ns=2;s=Line.Stop}}
"""
FIELDS: dict[str, Any] = {
    "name": "A7", "temperatures": [180.5, 190.0], "origin": {"x": 1.0, "y": 2.0},
    "corners": [{"x": 0.0, "y": 0.5}, {"x": 10.0, "y": 10.5}], "state": 1, "passes": 3,
}  # fmt: skip
BAD_INVALID_STATE = 0x80AF0000
NEW: dict[str, Any] = {
    "Name": "A7", "Temperatures": [180.5, 195.0], "Origin": {"X": 1.0, "Y": 2.0},
    "Corners": [{"X": 0.0, "Y": 0.5}, {"X": 10.0, "Y": 12.5}], "State": "Idle", "Passes": 3,
}  # fmt: skip


class Line(NamedTuple):
    """An agent that reads the recipe of a press."""

    agent: AgentProcess
    press: NodeOpcUaServer

    def terminal(self, *words: str) -> Terminal:
        """An ``edge-agent`` command on a terminal of 80 columns."""
        return Terminal(EDGE_AGENT, *words, "-c", str(self.agent.config))

    def held(self) -> Any:
        """What the press has."""
        return self.press.get("ns=2;s=Recipe")[1]


@pytest.fixture
def line(folder: Path, mosquitto: MosquittoBroker) -> Iterator[Line]:
    press = NodeOpcUaServer(nodesets=["press.NodeSet2.xml"])
    press.start()
    recipe = {"type": "ns=2;i=3020", "fields": FIELDS}
    press.add("ns=2;s=Recipe", "ExtensionObject", recipe, datatype=recipe["type"], writable=True)
    press.object("ns=2;s=Line")
    press.command(
        "method", node="ns=2;s=Line.Start", under="ns=2;s=Line", inputs=[["recipe", "String"], ["count", "Int16"]]
    )
    press.command("method", node="ns=2;s=Line.Stop", under="ns=2;s=Line", status=BAD_INVALID_STATE)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, DEVICE.format(press=press.endpoint))
    agent.start()
    try:
        until(lambda: host.values("press", "recipe") and host.values("press", "passes"))
        yield Line(agent, press)
    finally:
        agent.stop()
        host.close()
        press.close()


def test_who_writes_a_structure_sees_each_field_that_changes_and_says_yes(line: Line) -> None:
    with line.terminal("write", "press/recipe", json.dumps(NEW), "--reason", "job 81") as terminal:
        terminal.shows("write it? [y/N]:")
        shown = [one for one in terminal.screen if "→" in one]
        assert shown == [
            "  Temperatures[1]  190.0 → 195.0",
            "  Corners[1].Y     10.5 → 12.5",
            '  State            "Running" → "Idle"',
        ]
        assert line.held()["state"] == 1, "nothing is written before somebody says yes"
        terminal.type("y\r")
        assert terminal.end() == 0
        terminal.shows("press/recipe: done")
    assert (line.held()["temperatures"], line.held()["state"]) == ([180.5, 195], 0)


def test_a_field_keeps_its_limits_also_in_the_whole_structure_and_what_does_not_fit_is_a_sentence(line: Line) -> None:
    done = line.agent.command("write", "press/passes", "7", "--reason", "job 82", "--json")
    assert (done.json["state"], done.json["after"], line.held()["passes"]) == ("succeeded", 7, 7)
    for value, sentence in (
        (NEW | {"Passes": 10}, "Passes: it takes 1 to 9 (the tag passes), and not 10"),
        (NEW | {"Origin": {"X": 1.0}}, "Origin.Y: it is missing, and each Position has it"),
    ):
        said = line.agent.command("write", "press/recipe", json.dumps(value), "--reason", "job 83")
        assert (said.code, sentence in said.out) == (1, True), said.out
    assert line.held() == FIELDS | {"passes": 7}


def test_a_named_command_calls_a_method_with_its_arguments_and_one_that_says_no_has_failed(line: Line) -> None:
    words = ("press/make", "-a", "recipe=A7", "-a", "count=25", "--reason", "job 84")
    said = line.agent.command("command", *words, "--json")
    assert said.json["state"] == "succeeded", said.out
    assert (line.press.command("calls"), line.held()["passes"]) == ([["ns=2;s=Line.Start", ["A7", 25]]], 4)
    beyond = line.agent.command("command", *words[:3], "-a", "count=501", "--reason", "job 85")
    assert (beyond.code, "501" in beyond.out) == (1, True)
    refused = line.agent.command("command", "press/stop", "--reason", "job 86", "--json")
    assert (refused.json["state"], "BadInvalidState" in refused.json["detail"]) == ("failed", True), refused.out
    assert len(line.press.command("calls")) == 2
