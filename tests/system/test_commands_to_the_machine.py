"""From the API to the machine and back, nothing played: cloud, broker, agent, a Modbus unit and an OPC UA server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from lineside.servers.mosquitto import MosquittoBroker

from edge_agent.commands.pinned_keys import write_pinned_keys
from tests import plain_http
from tests.patience import WAIT_S_MAX
from tests.servers.databases import Databases
from tests.servers.modbus import ModbusServer
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import AgentProcess

TAGS = 5
DEVICES = """
- name: oven
  driver: modbus
  endpoint: {oven}
  poll: 100ms
  tags:
  - {{name: setpoint, at: holding 1, writable: {{min: 0, max: 250}}}}
  - {{name: temperature, at: holding 2}}
  - {{name: limit, at: holding 3, writable: {{min: 0, max: 99, approve: true}}}}
- name: press
  driver: opcua
  endpoint: {press}
  insecure: true
  tags:
  - {{name: speed, at: ns=1;s=speed, writable: {{min: 0, max: 100, readback: 0.01}}}}
  - {{name: state, at: ns=1;s=state}}
"""
LATHE = """
- name: lathe
  driver: opcua
  endpoint: {lathe}
  insecure: true
  tags:
  - {{name: origin, at: ns=2;s=Origin, writable: true}}
"""
ORIGIN = {"type": "ns=2;i=3001", "fields": {"x": 1.5, "y": 2.5}}


class Factory:
    """All of it, and somebody with a token."""

    def __init__(self, cloud: Cloud, agent: AgentProcess, oven: ModbusServer, press: OpcUaServer, token: str) -> None:
        self.cloud, self.agent, self.oven, self.press = cloud, agent, oven, press
        self._token = token

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"} | ({"Idempotency-Key": key} if key else {})
        url = f"http://127.0.0.1:{self.cloud.port}/api/v1/commands{path}"
        return plain_http.ask(method, url, headers=headers, json=body)

    def post(self, device: str, tag: str, value: Any, **more: Any) -> httpx.Response:
        """Ask for a write."""
        action = {"do": "write", "device": device, "tag": tag, "value": value}
        body = {"agent": "plant/line", "action": action, "reason": "new recipe", **more}
        return self.ask("POST", "", body, key=f"{device} {tag} {value} {time.monotonic_ns()}")

    def send(self, device: str, tag: str, value: Any, **more: Any) -> str:
        """Ask for a write; the id of the command."""
        answer = self.post(device, tag, value, **more)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def end_of(self, command: str) -> dict[str, Any]:
        """What became of a command, once nothing more will."""
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            found = dict(self.ask("GET", f"/{command}").json())
            if found["state"] in ("succeeded", "failed", "refused", "expired", "cancelled", "unknown"):
                return found
            assert time.monotonic() < deadline_s, f"{found}\n{self.agent.process.log_tail()}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Factory]:
    """One for all tests of this file."""
    folder = tmp_path_factory.mktemp("f")
    broker, press = MosquittoBroker(folder / "mosquitto"), OpcUaServer()
    lathe = NodeOpcUaServer(nodesets=["press.NodeSet2.xml"])
    with ExitStack() as at_the_end:
        for server, end in ((broker, broker.stop), (press, press.kill), (lathe, lathe.close)):
            server.start()
            at_the_end.callback(end)
        oven = at_the_end.enter_context(ModbusServer())
        press.add("speed", "Double", 40.0, writable=True)
        press.add("state", "String", "idle")
        cloud = Cloud(folder / "cloud", broker.url, at_the_end.enter_context(databases.with_tables()))
        cloud.add("commands", {"signing_key": str(folder / "signing.jwk")})
        assert cloud.command("keys", "create").returncode == 0
        token = cloud.command("token", "create", "anna", "--role", "operator").stdout.strip()
        lathe.add("ns=2;s=Origin", "ExtensionObject", ORIGIN, datatype=ORIGIN["type"], writable=True)
        devices = (DEVICES.strip() + LATHE).format(oven=oven.endpoint, press=press.endpoint, lathe=lathe.endpoint)
        agent = AgentProcess(folder / "agent", broker, devices)
        keys = json.loads(cloud.command("keys", "export").stdout)["keys"]
        (agent.folder / "data").mkdir()
        write_pinned_keys(agent.folder / "data" / "trusted-keys.json", keys)
        process = cloud.process("ingest,historian,commands,gateway")
        at_the_end.callback(process.kill)
        cloud.wait_ready(process)
        at_the_end.callback(agent.stop)
        agent.start()
        deadline_s = time.monotonic() + WAIT_S_MAX
        while len(cloud.get("/api/v1/tags").json()["tags"]) < TAGS + 1:
            assert time.monotonic() < deadline_s, agent.process.log_tail()
            time.sleep(0.1)
        yield Factory(cloud, agent, oven, press, token)


@pytest.fixture
def factory(built: Factory) -> Factory:
    """Its machines hold what they held, nothing is locked, and its agent runs, whatever another test has done."""
    built.oven.set("holding", 1, 180, 175, 0)
    built.press.write("speed", "Double", 40.0)
    built.agent.start()
    built.agent.command("unlock", "oven")
    return built


@pytest.mark.slow
def test_a_command_reaches_the_machine_and_what_the_machine_holds_comes_back(factory: Factory) -> None:
    found = factory.end_of(factory.send("oven", "setpoint", 200))
    assert (found["state"], found["before"], found["after"]) == ("succeeded", 180, 200)
    assert [state["state"] for state in found["states"]] == ["requested", "sent", "received", "executing", "succeeded"]
    assert factory.oven.get("holding", 1) == [200]
    found = factory.end_of(factory.send("press", "speed", 62.5))
    assert (found["state"], found["before"], found["after"]) == ("succeeded", 40.0, 62.5)
    assert factory.press.read("speed")[1] == 62.5
    assert factory.cloud.command("audit", "verify").returncode == 0
    assert factory.agent.command("audit", "verify").code == 0


@pytest.mark.slow
def test_a_structure_is_commanded_as_a_text_in_json_and_compared_field_by_field(factory: Factory) -> None:
    found = factory.end_of(factory.send("lathe", "origin", '{"X": 7, "Y": -3.25}'))
    assert found["state"] == "succeeded", found
    assert (json.loads(found["before"]), json.loads(found["after"])) == ({"X": 1.5, "Y": 2.5}, {"X": 7.0, "Y": -3.25})
    found = factory.end_of(factory.send("lathe", "origin", '{"X": 8}'))
    assert found["state"] == "failed"
    assert "Y: it is missing, and each Position has it" in found["detail"]
    assert factory.post("lathe", "origin", {"X": 8, "Y": 9}).is_client_error, "a value is a text, a number or a truth"


@pytest.mark.slow
def test_what_is_not_allowed_is_refused_by_its_code_and_the_machine_is_as_it_was(factory: Factory) -> None:
    factory.end_of(factory.send("oven", "setpoint", 190))  # the agent knows the cloud's time from here on
    for device, tag, value, more, code in (
        ("oven", "temperature", 1, {}, "not_writable"),
        ("press", "speed", 10.0, {"precondition": "press/state == running"}, "precondition"),
    ):
        found = factory.end_of(factory.send(device, tag, value, **more))
        assert (found["state"], found["code"]) == ("refused", code), found
    for device, tag, value, code in (
        ("oven", "lid", 1, "unknown_target"), ("press", "speed", "fast", "wrong_type"),
        ("oven", "setpoint", 251, "out_of_limits"),
    ):  # fmt: skip
        answer = factory.post(device, tag, value)
        assert (answer.is_client_error, answer.json()["code"]) == (True, code), "the cloud knows tags and their limits"
    assert factory.agent.command("lock", "oven", "--reason", "the door is open").code == 0
    found = factory.end_of(factory.send("oven", "setpoint", 210))
    assert (found["state"], found["code"]) == ("refused", "locked")
    assert "the door is open" in json.dumps(found)
    assert factory.oven.get("holding", 1, 2) == [190, 175]
    assert factory.press.read("speed")[1] == 40.0
    assert factory.agent.command("unlock", "oven").code == 0
    assert factory.end_of(factory.send("oven", "setpoint", 210))["state"] == "succeeded"
    assert factory.oven.get("holding", 1) == [210]
    assert factory.agent.command("write", "oven/setpoint", "205", "--reason", "by hand").code == 0
    assert factory.end_of(factory.send("oven", "setpoint", 215))["state"] == "succeeded"
    assert factory.oven.get("holding", 1) == [215]


@pytest.mark.slow
def test_a_command_for_an_agent_that_is_off_waits_for_it_and_one_whose_time_is_up_never_happens(
    factory: Factory,
) -> None:
    factory.end_of(factory.send("oven", "setpoint", 190))
    factory.agent.stop()
    waiting = factory.send("oven", "setpoint", 220, expires_s=300)
    short = factory.send("oven", "setpoint", 230, expires_s=1)
    assert factory.end_of(short)["state"] == "expired"
    assert factory.oven.get("holding", 1) == [190]
    factory.agent.start()
    assert factory.end_of(waiting)["state"] == "succeeded"
    assert factory.oven.get("holding", 1) == [220]


@pytest.mark.slow
def test_what_the_device_file_wants_approved_waits_and_is_done_once_somebody_in_the_cloud_agrees(
    factory: Factory,
) -> None:
    command = factory.send("oven", "limit", 7, expires_s=300)
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not (found := factory.ask("GET", f"/{command}").json())["waits_for_approval"]:
        assert time.monotonic() < deadline_s, f"{found}\n{factory.agent.process.log_tail()}"
        time.sleep(0.05)
    assert (found["state"], found["code"], found["states"][-1]["actor"]) == ("received", "not_approved", "plant/line")
    factory.agent.kill()
    assert factory.oven.get("holding", 3) == [0]
    agreed = factory.cloud.command("command", "approve", command, "--reason", "seen")  # by the user of this machine
    assert agreed.returncode == 0, agreed.stderr
    assert factory.cloud.command("command", "approve", command).returncode == 1, "once"
    factory.agent.start()
    found = factory.end_of(command)
    assert (found["state"], factory.oven.get("holding", 3)) == ("succeeded", [7]), found
    assert len(found["approvers"]) == 1
    listed = json.loads(factory.agent.command("commands", "list", "--json").out)
    assert [one["state"] for one in listed if one["id"] == command] == ["succeeded"]
    exported = factory.agent.command("audit", "export").out
    assert ['"approve"' in exported, '"waits for approval"' in exported] == [True, True]
