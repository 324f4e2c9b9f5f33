"""A line goes on with the other OPC UA server when one is lost, with real processes; status and log say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.cloud_process import eventually
from tests.system.edge_agent_steps import AgentProcess

DEVICES = (
    "  - name: press\n    driver: opcua\n    endpoint: %s\n    backup: [%s]\n    insecure: true\n    timeout: 20s\n"
    "    tags: [{name: who, at: ns=2;s=who}]\n"
)


async def test_a_line_goes_on_with_the_other_server_and_says_so(folder: Path, mosquitto: MosquittoBroker) -> None:
    first, second = servers = [NodeOpcUaServer(), NodeOpcUaServer()]
    for number, server in enumerate(servers):
        server.start()
        server.add("ns=2;s=who", "Double", float(number))
    agent = AgentProcess(folder, mosquitto, DEVICES % (first.endpoint, second.endpoint))

    def value() -> Any:
        return agent.command("tags", "--json").json[0]["value"]

    try:
        agent.start()
        await eventually(lambda: value() == 0.0)
        first.kill()
        await eventually(lambda: value() == 1.0)
        (device,) = agent.command("status", "--json").json["devices"]
        assert (device["endpoint"], device["reached_at"]) == (first.endpoint, second.endpoint)
        assert f"reached at {second.endpoint}, instead of" in agent.command("status").out
        assert [event["endpoint"] for event in agent.events("device_reached")] == [first.endpoint, second.endpoint]
        second.kill()
        await eventually(lambda: "none of its servers can be used" in agent.command("status").out)
    finally:
        agent.stop()
        for server in servers:
            server.close()
