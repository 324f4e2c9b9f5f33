"""An agent delivers the variables of a server that its file does not name, and those that come while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.edge_agent_steps import AgentProcess
from tests.system.sparkplug_host import PlayedHost
from tests.system.test_edge_agent import running, until


@pytest.fixture
def line() -> Iterator[NodeOpcUaServer]:
    """A server of node-opcua with two zones."""
    server = NodeOpcUaServer()
    server.start()
    for zone in ("Zone1", "Zone2"):
        server.object(f"ns=2;s={zone}")
        server.add(f"ns=2;s={zone}.Temperature", "Double", 180.5, under=f"ns=2;s={zone}")
    server.add("ns=2;s=Zones", "Float", [1.5, 2.5])
    yield server
    server.close()


def test_variables_that_nobody_has_named_are_delivered_and_those_that_come_later(
    folder: Path, mosquitto: MosquittoBroker, line: NodeOpcUaServer
) -> None:
    device = (
        f"  - name: oven\n    driver: opcua\n    endpoint: {line.endpoint}\n    insecure: true\n"
        "    publishing: 50ms\n    sampling: 50ms\n    browse_again: 1s\n"
        "    browse:\n      - {under: /Objects, match: 'Zone?/*'}\n      - {under: /Objects/2:Lathe}\n"
        "    tags:\n      - {name: zone_b, at: ns=2;s=Zones, part: '[1]', scale: 10}\n"
        "    derived:\n      - {name: doubled, value: '2 * zone_b'}\n"
    )
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, device)
    with running(agent, host):
        for tag, value in [
            ("Zone1/Temperature", 180.5),
            ("Zone2/Temperature", 180.5),
            ("zone_b", 25.0),
            ("doubled", 50),
        ]:
            until(lambda tag=tag, value=value: value in host.values("oven", tag))
        line.set("ns=2;s=Zone2.Temperature", "Double", 190.0)
        until(lambda: host.values("oven", "Zone2/Temperature")[-1] == 190.0)
        line.object("ns=2;s=Zone3")
        line.add("ns=2;s=Zone3.Temperature", "Double", 170.0, under="ns=2;s=Zone3")
        until(lambda: 170.0 in host.values("oven", "Zone3/Temperature"))
        line.remove("ns=2;s=Zone1.Temperature")
        until(lambda: "does not find it any more" in agent.command("tags").out)
        shown = agent.command("tags").out
        assert "Zone3/Temperature" in shown
        assert "nothing named 2:Lathe below /Objects" in " ".join(shown.split())
