"""An agent and the keys of its cloud, with the real programs: enrolment, a new key, the end of the old one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker
from paho.mqtt import publish

from cloud_ingest.commands.keys import read_key
from cloud_ingest.commands.messages import command_message
from connectors.commands.envelope import Envelope, WriteTag
from connectors.commands.reports import CommandReport
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.commands.ulid import new_ulid
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import AgentProcess
from tests.system.test_commands_to_the_machine import DEVICES, TAGS, Factory


class Plant(Factory):
    """The same factory, whose agent nobody has given any keys."""

    def __init__(self, *parts: Any, signing_key: Path, broker: MosquittoBroker) -> None:
        super().__init__(*parts)
        self.signing_key, self.broker = signing_key, broker

    def enrol(self, folder: Path) -> str:
        """Enrol the agent; what it says."""
        made = self.cloud.command("enrol", "plant/line")
        assert made.returncode == 0, made.stderr
        (folder / "token").write_text(made.stdout)
        url = f"http://127.0.0.1:{self.cloud.port}"
        refused = self.agent.command("enrol", url, "--token-file", str(folder / "token"))
        assert (refused.code, "without https" in refused.err) == (1, True), refused
        said = self.agent.command("enrol", url, "--token-file", str(folder / "token"), "--insecure")
        assert said.code == 0, said
        return said.out

    def trusted(self) -> list[str]:
        """The ids of the cloud's keys that the agent trusts, as the cloud knows by its newest hello."""
        (key,) = json.loads(self.cloud.command("agent-keys", "list", "--json").stdout)
        return list(key["trusts"] or [])

    def not_done(self) -> list[dict[str, Any]]:
        """What the agent says of commands to devices that were none of the cloud's."""
        return [event for event in self.agent.events("command_not_taken") if "/DCMD/" in event["topic"]]

    def has_said_hello(self) -> None:
        """Have the agent say hello now, and not within five minutes: it tells of every lock."""
        assert self.agent.command("lock", "press", "--reason", "a hello").code == 0
        assert self.agent.command("unlock", "press").code == 0

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while not condition():
            assert time.monotonic() < deadline_s, f"{self.trusted()}\n{self.agent.process.log_tail()}"
            time.sleep(0.2)

    def publish(self, key: SigningKey, value: int) -> None:
        """Write the setpoint past the cloud, as whoever has ``key`` and the broker can."""
        now_ms = time.time_ns() // 1_000_000
        action = WriteTag(device="oven", tag="setpoint", value=value)
        envelope = Envelope(
            id=new_ulid(now_ms), agent="plant/line", action=action, issuer="mallory", reason="", issued_ms=now_ms,
            expires_ms=now_ms + 60_000,
        )  # fmt: skip
        sealed = key.sign("lineside-command", envelope.to_json())
        message = command_message(AgentName("plant", "line"), action, DataType.UINT16, sealed, now_ms)
        host, _, port = self.broker.url.rpartition("/")[2].partition(":")
        publish.single(message.topic, message.payload, hostname=host, port=int(port))


@pytest.fixture
def plant(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Iterator[Plant]:
    signing_key = tmp_path / "signing.jwk"
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    cloud.add("commands", {"signing_key": str(signing_key)})
    assert cloud.command("keys", "create").returncode == 0
    token = cloud.command("token", "create", "anna", "--role", "operator").stdout.strip()
    press = OpcUaServer()
    press.start()
    with ModbusServer() as oven:
        oven.set("holding", 1, 180, 175)
        press.add("speed", "Double", 40.0, writable=True)
        press.add("state", "String", "idle")
        agent = AgentProcess(tmp_path / "agent", mosquitto, DEVICES.format(oven=oven.endpoint, press=press.endpoint))
        process = cloud.process("ingest,historian,commands,gateway")
        try:
            cloud.wait_ready(process)
            agent.start()
            found = Plant(cloud, agent, oven, press, token, signing_key=signing_key, broker=mosquitto)
            deadline_s = time.monotonic() + WAIT_S_MAX
            while len(cloud.get("/api/v1/tags").json()["tags"]) < TAGS:
                assert time.monotonic() < deadline_s, agent.process.log_tail()
                time.sleep(0.1)
            yield found
        finally:
            agent.stop()
            process.kill()
            press.kill()


@pytest.mark.slow
def test_an_enrolled_agent_does_commands_and_follows_the_cloud_from_key_to_key(plant: Plant, tmp_path: Path) -> None:
    first = read_key(plant.signing_key)
    said = plant.enrol(tmp_path)
    assert first.key_id in said
    assert "cloud-ingest keys list" in said
    own = plant.agent.folder / "data" / "agent-key.jwk"
    assert own.stat().st_mode & 0o777 == 0o600
    plant.until(lambda: plant.trusted() == [first.key_id])  # the running agent has read the file by itself
    found = plant.end_of(plant.send("oven", "setpoint", 200))
    assert (found["state"], plant.oven.get("holding", 1)) == ("succeeded", [200]), found

    kept = tmp_path / "kept.jwk"
    shutil.copy(plant.signing_key, kept)
    assert plant.cloud.command("keys", "create", "--to", str(tmp_path / "next.jwk")).returncode == 0
    second = read_key(tmp_path / "next.jwk")
    plant.has_said_hello()
    plant.until(lambda: set(plant.trusted()) == {first.key_id, second.key_id})
    (tmp_path / "next.jwk").replace(plant.signing_key)
    plant.until(lambda: plant.cloud.command("keys", "retire", first.key_id).returncode == 0)  # it knows what is trusted
    plant.has_said_hello()

    def is_first_forgotten() -> bool:
        if plant.trusted() != [second.key_id]:
            plant.has_said_hello()  # the cloud has taken a moment to see that another key is to sign
        return plant.trusted() == [second.key_id]

    plant.until(is_first_forgotten)
    found = plant.end_of(plant.send("oven", "setpoint", 210))
    assert (found["state"], plant.oven.get("holding", 1)) == ("succeeded", [210]), found

    plant.publish(read_key(kept), 66)
    plant.until(lambda: bool(plant.not_done()))
    (refused,) = plant.not_done()
    assert (refused["code"], first.key_id in refused["detail"]) == ("unknown_key", True)
    assert plant.oven.get("holding", 1) == [210]
    plant.publish(second, 220)  # the same message by the key that holds is done: the refusal was the key's
    plant.until(lambda: plant.oven.get("holding", 1) == [220])

    log = [json.loads(line) for line in plant.agent.command("audit", "export").out.splitlines()]
    changes = [entry for entry in log if entry["action"] == "trusted keys changed"]
    assert [(entry["details"]["added"], entry["details"]["removed"]) for entry in changes] == [
        ([first.key_id], []), ([second.key_id], []), ([], [first.key_id]),
    ]  # fmt: skip
    assert [entry["details"].get("signed_by") for entry in changes] == [None, first.key_id, second.key_id]
    assert plant.agent.command("audit", "verify").code == 0
    assert plant.cloud.command("audit", "verify").returncode == 0


@pytest.mark.slow
def test_a_token_is_of_no_use_a_second_time_and_to_another_agent(plant: Plant, tmp_path: Path) -> None:
    plant.enrol(tmp_path)
    url = f"http://127.0.0.1:{plant.cloud.port}"
    keys = plant.agent.folder / "data" / "trusted-keys.json"
    before = keys.read_bytes()
    said = plant.agent.command("enrol", url, "--token-file", str(tmp_path / "token"), "--insecure")
    assert (said.code, "used already" in said.err) == (1, True), said
    (tmp_path / "token").write_text(plant.cloud.command("enrol", "plant/another").stdout)
    said = plant.agent.command("enrol", url, "--token-file", str(tmp_path / "token"), "--insecure")
    assert (said.code, "for another agent" in said.err) == (1, True), said
    assert keys.read_bytes() == before
    listed = plant.cloud.command("agent-keys", "list").stdout
    own = json.loads((plant.agent.folder / "data" / "agent-key.jwk").read_text())["kid"]
    assert "trusts the cloud's keys" in listed
    assert (own in listed, "plant/another" in listed) == (True, False)
    assert plant.cloud.command("agent-keys", "revoke", own).returncode == 0
    (key,) = json.loads(plant.cloud.command("agent-keys", "list", "--json").stdout)
    assert (key["key_id"], key["retired"] is not None) == (own, True)
    assert plant.cloud.command("agent-keys", "revoke", own).returncode == 1
    assert plant.cloud.command("enrol", "line").returncode == 1
    assert plant.cloud.command("enrol", "plant/line", "--valid", "soon").returncode == 2
    exported = [json.loads(line) for line in plant.cloud.command("audit", "export").stdout.splitlines()]
    refused = [entry["details"]["code"] for entry in exported if entry["action"] == "enrolment refused"]
    assert refused == ["token_used", "other_agent"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_others_say_under_the_name_of_an_enrolled_agent_changes_nothing(plant: Plant, tmp_path: Path) -> None:
    plant.enrol(tmp_path)
    plant.until(lambda: bool(plant.trusted()))
    assert plant.end_of(plant.send("oven", "setpoint", 200))["state"] == "succeeded"
    assert plant.agent.command("lock", "press", "--reason", "a new tool").code == 0

    def standing() -> dict[str, Any]:
        (row,) = json.loads(plant.cloud.command("command", "agents", "--json").stdout)
        return dict(row)

    plant.until(lambda: bool(standing()["locked"]))
    before = standing()
    assert (before["signs"], before["forged"], before["audit_alarms"]) == (True, 0, [])
    assert (before["locked"][0]["line"], before["locked"][0]["reason"]) == ("press", "a new tool")
    mallory = PlayedAgent("line")
    waits = plant.send("oven", "limit", 7, expires_s=300)
    plant.until(lambda: plant.ask("GET", f"/{waits}").json()["waits_for_approval"])
    lie = CommandReport(
        id=waits, journal="ab" * 16, number=9, step=9, state=CommandState.SUCCEEDED, time_ms=1, actor="agent"
    )
    host, _, port = plant.broker.url.rpartition("/")[2].partition(":")
    for key in (None, SigningKey.generate()):
        mallory.key = key
        for wire in (mallory.report(lie), mallory.hello("ab" * 16, count=1)):
            publish.single(wire.topic, wire.payload, hostname=host, port=int(port))
    plant.until(lambda: standing()["forged"] == 4)
    found = plant.ask("GET", f"/{waits}").json()
    assert found["state"] == "received", found
    assert standing()["journal"] == before["journal"]
    letters = json.loads(plant.cloud.command("dead-letters", "list", "--json").stdout)
    assert sum("is not believed" in letter["reason"] for letter in letters) == 4
    assert "not believed" in plant.cloud.command("agents").stdout
    assert plant.cloud.command("audit", "verify").returncode == 0
