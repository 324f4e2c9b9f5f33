"""A secured OPC UA session from the engineer's chair: refused, accepted, at work, and ended, with real processes."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.cloud_process import eventually
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess

DEVICES = (
    "  - name: press\n    driver: opcua\n    endpoint: %s\n    timeout: 20s\n"
    "    security: {policy: Basic256Sha256, user: operator, password: '${file:press.password}'}\n"
    "    tags: [{name: force, at: ns=2;s=force}]\n"
)


def device(agent: AgentProcess) -> dict[str, Any]:
    (found,) = agent.command("status", "--json").json["devices"]
    return dict(found)


async def test_a_new_server_waits_for_a_person_and_is_lost_when_it_is_rejected(
    folder: Path, mosquitto: MosquittoBroker
) -> None:
    server = NodeOpcUaServer(
        policies=("None", "Basic256Sha256"), modes=("None", "SignAndEncrypt"), trusting=True, anonymous=False,
        users={"operator": "open sesame"},
    )  # fmt: skip
    server.start()
    (folder / "press.password").write_text("open sesame\n")
    agent = AgentProcess(folder, mosquitto, DEVICES % server.endpoint)
    try:
        server.add("ns=2;s=force", "Double", 12.5)
        agent.start()
        await eventually(lambda: "is not accepted yet" in device(agent)["reason"])
        screen = agent.command("status").out
        run = device(agent)["reason"].split("edge-agent trust accept ")[1]
        assert run in screen
        listed = agent.command("trust", "list").out
        assert f"rejected  {run}" in listed
        assert server.endpoint in listed

        assert agent.command("trust", "accept", run).code == 0
        await eventually(lambda: device(agent)["online"])
        await eventually(lambda: agent.command("tags", "--json").json[0]["value"] == 12.5)
        assert agent.command("status", "--json").json["insecure"] == [f"uplink {mosquitto.url}"]
        assert (folder / "data" / "opcua" / "own.key").stat().st_mode & 0o777 == 0o600
        assert "open sesame" not in agent.process.log()

        assert agent.command("trust", "reject", run).code == 0
        await eventually(lambda: not device(agent)["online"])
        await eventually(lambda: "is not accepted yet" in device(agent)["reason"])
    finally:
        assert isinstance(agent.process, ChildProcess)
        agent.stop()
        server.close()


def test_before_an_agent_runs_each_step_of_trust_is_one_sentence(folder: Path) -> None:
    server = NodeOpcUaServer(policies=("None", "Basic256Sha256"), modes=("None", "SignAndEncrypt"))
    server.start()
    config = folder / "agent.yaml"
    config.write_text(
        f"agent: {{group: plant, name: line, data_dir: {folder / 'data'}}}\nuplink: {{brokers: [mqtts://broker]}}\n"
        f"devices:\n  - name: press\n    driver: opcua\n    endpoint: {server.endpoint}\n"
        "    tags: [{name: force, at: ns=2;s=force}]\n"
    )

    def said(*words: str) -> str:
        command = [EDGE_AGENT, *words, "-c", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)
        assert ended.stderr == "", "what a library has to say of it is no sentence for a person"
        return ended.stdout

    try:
        server.add("ns=2;s=force", "Double", 12.5)
        first = said("check", "--online")
        assert "is not accepted yet" in first
        (thumbprint,) = set(re.findall(r"[0-9A-F]{40}", first))
        said("trust", "accept", thumbprint)
        assert "the server has not accepted this agent's certificate" in said("check", "--online")
        own = (folder / "data" / "opcua" / "own.der").read_bytes()
        server.command("trust", certificate=base64.b64encode(own).decode())
        assert "1 device, all reached; 1 tag, all good" in said("check", "--online")
    finally:
        server.close()
