"""An agent that was cut off from its OPC UA server, or was not running, delivers what the server has kept meanwhile."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.edge_agent_steps import AgentProcess
from tests.system.sparkplug_host import PlayedHost
from tests.system.test_edge_agent import running, until

NODE = "ns=2;s=outage.force"
SERVER_RUNS_S = 2.0
"""So long before the first sample: a gap begins a margin before it, and the server has to have been there then."""


@pytest.fixture
def historian() -> Iterator[NodeOpcUaServer]:
    """A server of node-opcua with a variable that it keeps the history of."""
    server = NodeOpcUaServer()
    server.start()
    server.add(NODE, "Int32", -1, historized=True)
    time.sleep(SERVER_RUNS_S)
    yield server
    server.close()


def press(server: NodeOpcUaServer, more: str) -> str:
    """The device of ``server`` with that variable, for an agent's file; ``more``: settings of it, in one line."""
    tag = f"{{name: force, at: '{NODE}', queue_size: 1000}}"
    fast = "publishing: 50ms, sampling: 0s, timeout: 20s"
    return (
        f"  - {{name: press, driver: opcua, endpoint: '{server.endpoint}', insecure: true, {fast}, {more},\n"
        f"     tags: [{tag}]}}\n"
    )


def count_up(server: NodeOpcUaServer, first: int, last: int) -> None:
    for number in range(first, last + 1):
        server.set(NODE, "Int32", number)
        time.sleep(0.02)


def gaps(host: PlayedHost) -> list[dict[str, Any]]:
    records = {(seen.epoch, seen.batch): seen.named("Lineside/Gap") for seen in host.of("NDATA")}
    return [json.loads(record) for record in records.values() if record]


def test_what_was_missed_comes_from_the_history_and_only_the_rest_is_declared(
    folder: Path, mosquitto: MosquittoBroker, historian: NodeOpcUaServer
) -> None:
    device = press(historian, "keep: 0s, history: {wait: 200ms}")
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, device)
    with running(agent, host):
        until(lambda: host.values("press", "force"))
        count_up(historian, 0, 9)
        until(lambda: 9 in host.values("press", "force"))
        agent.process.pause()  # it tries again when all of it is history
        historian.command("drop")
        count_up(historian, 10, 29)
        agent.process.resume()
        until(lambda: set(range(30)) <= set(host.values("press", "force")))
        until(lambda: agent.events("history_read"))
        assert [event["tags_unfilled"] for event in agent.events("history_read")] == [0]
        assert gaps(host) == [], "nothing is missing after all"
        agent.stop()
        count_up(historian, 30, 49)
        agent.start()
        until(lambda: set(range(50)) <= set(host.values("press", "force")))
        (gap,) = until(lambda: gaps(host))
        times = Counter(host.values("press", "force"))
    assert (gap["device"], gap["reason"]) == ("press", "agent_not_running")
    assert gap["last_ns"] - gap["first_ns"] < 5e9, (
        "a margin before the newest sample that was stored: see the reference"
    )
    assert {number for number in range(50) if times[number] > 1} <= {29, 49}, "the present value, at a connect"


def test_what_came_during_a_cut_comes_by_the_session_that_goes_on_and_nothing_is_declared(
    folder: Path, mosquitto: MosquittoBroker, historian: NodeOpcUaServer
) -> None:
    device = press(historian, "history: {wait: 0ms}")
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, device)
    with running(agent, host):
        until(lambda: host.values("press", "force"))
        for first in (0, 20, 40):
            count_up(historian, first, first + 9)
            historian.command("drop")
            count_up(historian, first + 10, first + 19)
        until(lambda: set(range(60)) <= set(host.values("press", "force")))
        until(lambda: agent.events("device_session"))
        times = Counter(host.values("press", "force"))
        assert {event["how"] for event in agent.events("device_session")} == {"resumed"}
        assert (gaps(host), agent.events("history_read")) == ([], [])
    assert {number for number in range(60) if times[number] > 1} == set()


def test_history_that_is_cut_off_is_read_on_in_the_next_connection_and_nothing_is_declared(
    folder: Path, mosquitto: MosquittoBroker, historian: NodeOpcUaServer
) -> None:
    device = press(historian, "keep: 0s, history: {wait: 0ms}")
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, device)
    with running(agent, host):
        until(lambda: host.values("press", "force"))
        count_up(historian, 0, 9)
        until(lambda: 9 in host.values("press", "force"))
        historian.command("delay", service="HistoryRead", delay_ms=60_000)
        historian.command("drop")
        count_up(historian, 10, 29)
        historian.forget()
        until(lambda: historian.requests("HistoryRead")[0])
        historian.command("drop")
        historian.command("heal", service="HistoryRead")
        count_up(historian, 30, 39)
        until(lambda: set(range(40)) <= set(host.values("press", "force")))
        until(lambda: agent.events("history_read"))
        assert [event["outages"] for event in agent.events("history_cut_off")] == [1]
        assert gaps(host) == [], "nothing is missing after all"
