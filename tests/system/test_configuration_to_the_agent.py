"""From the API to the agent itself, nothing played: device files, restart, rebirth, log level."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from lineside.servers.mosquitto import MosquittoBroker

from edge_agent.commands.pinned_keys import write_pinned_keys
from tests import plain_http
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import AgentProcess

HEALTH_S = 10
"""So long a file is on trial that is to be kept: a machine that stands still for a moment does not put it back."""
NAME = "devices/oven.yaml"
OVEN = """
devices:
- name: oven
  driver: modbus
  endpoint: {oven}
  poll: 100ms
  timeout: 2s
  tags:
  - {{name: temperature, at: holding 2}}
"""


class Plant:
    """An agent whose devices are in a file of their own, and an engineer with a token."""

    def __init__(self, cloud: Cloud, agent: AgentProcess, oven: ModbusServer, tokens: dict[str, str]) -> None:
        self.cloud, self.agent, self.oven, self._tokens = cloud, agent, oven, tokens
        self.file = agent.folder / NAME
        self.good = OVEN.format(oven=oven.endpoint)

    def ask(self, method: str, path: str, body: Any = None, *, by: str = "eva", **query: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._tokens[by]}", "Idempotency-Key": str(time.monotonic_ns())}
        url = f"http://127.0.0.1:{self.cloud.port}/api/v1/{path}"
        return plain_http.ask(method, url, headers=headers, json=body, params=query)

    def post(self, action: dict[str, Any], by: str = "eva") -> httpx.Response:
        body = {"agent": "plant/line", "action": action, "reason": "a test", "expires_s": 120}
        return self.ask("POST", "commands", body, by=by)

    def end_of(self, action: dict[str, Any]) -> dict[str, Any]:
        """Ask for ``action``; what became of it, once nothing more will."""
        answer = self.post(action)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.ask("GET", f"commands/{answer.json()['id']}").json())
            return found["state"] in ("succeeded", "failed", "refused", "expired", "cancelled", "unknown")

        self.until(ended, found)
        return found

    def version(self, content: str, **more: Any) -> dict[str, Any]:
        return {"do": "apply_file", "name": NAME, "content": content, "health_s": HEALTH_S, **more}

    def until(self, condition: Callable[[], object], about: object = "") -> None:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while not condition():
            assert time.monotonic() < deadline_s, f"{about}\n{self.agent.process.log_tail()}"
            time.sleep(0.1)

    def told(self) -> dict[str, Any]:
        """What the cloud says of the file on the box."""
        (agent,) = self.cloud.get("/api/v1/agents").json()
        return dict(agent["files"][0]) if agent["files"] else {}

    def newest_at_box(self) -> dict[str, Any]:
        """The newest command in the agent's journal; nothing while it begins anew."""
        said = self.agent.command("commands", "list", "--json")
        return dict(said.json[0]) if said.code == 0 else {}

    def starts(self) -> int:
        return len(self.agent.events("agent_started"))


def at_s(event: dict[str, Any]) -> float:
    """When it was logged."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture
def plant(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Iterator[Plant]:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    cloud.add("commands", {"signing_key": str(tmp_path / "signing.jwk")})
    assert cloud.command("keys", "create").returncode == 0
    roles = {"eva": "engineer", "otto": "operator"}
    tokens = {name: cloud.command("token", "create", name, "--role", roles[name]).stdout.strip() for name in roles}
    with ModbusServer() as oven:
        oven.set("holding", 2, 175)
        agent = AgentProcess(tmp_path / "agent", mosquitto, "", within="include: [devices/*.yaml]\n")
        file = agent.folder / NAME
        file.parent.mkdir()
        file.write_text(OVEN.format(oven=oven.endpoint))
        keys = json.loads(cloud.command("keys", "export").stdout)["keys"]
        (agent.folder / "data").mkdir()
        write_pinned_keys(agent.folder / "data" / "trusted-keys.json", keys)
        process = cloud.process("ingest,historian,commands,gateway")
        found = Plant(cloud, agent, oven, tokens)
        try:
            cloud.wait_ready(process)
            agent.start()
            found.until(lambda: cloud.get("/api/v1/tags").json()["tags"])
            found.until(lambda: found.told().get("state") == "local")
            yield found
        finally:
            agent.stop()
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_good_file_is_used_and_a_bad_one_refused_and_one_without_its_machine_put_back(plant: Plant) -> None:
    faster = plant.good.replace("100ms", "50ms")
    found = plant.end_of(plant.version(faster))
    assert (found["state"], found["code"]) == ("refused", "file_differs"), "an engineer has made it"
    assert sha(plant.good) in found["detail"]
    assert plant.file.read_text() == plant.good
    found = plant.end_of(plant.version(faster, replaces=plant.told()["sha256"]))
    assert (found["state"], found["detail"]) == ("succeeded", f"{NAME} version 2 is in use")
    assert plant.starts() == 1
    assert [state["state"] for state in found["states"]] == ["requested", "sent", "received", "executing", "succeeded"]
    assert plant.file.read_text() == faster
    plant.until(lambda: plant.told()["sync"] == "in_sync", plant.told())
    assert plant.told()["version"] == 2
    shown = plant.agent.command("status", "--json").json["commands"]["files"]
    assert [(file["name"], file["version"], file["state"], file["loaded"]) for file in shown] == [
        (NAME, 2, "in_use", True)
    ]
    bad = plant.end_of(plant.version(faster.replace("holding 2", "holdin 2")))
    assert (bad["state"], bad["code"]) == ("refused", "file_invalid")
    checked = plant.agent.folder / "checked"
    (checked / "devices").mkdir(parents=True)
    (checked / "agent.yaml").write_text(plant.agent.config.read_text())
    (checked / NAME).write_text(faster.replace("holding 2", "holdin 2"))
    said = plant.agent.check(checked / "agent.yaml")
    assert bad["detail"] in said.err.replace(f"{checked}/", ""), "the checker's own message, with line and column"
    assert f"{NAME}:9:" in bad["detail"]
    assert plant.file.read_text() == faster
    with ModbusServer() as nobody:
        nowhere = faster.replace(plant.oven.endpoint, nobody.endpoint)
    starts = plant.starts()
    lost = plant.end_of(plant.version(nowhere, health_s=5))
    assert lost["state"] == "failed"
    assert lost["detail"] == f"{NAME} version 4 was rolled back: not read within 5 s, and was before: oven"
    assert plant.file.read_text() == faster
    assert plant.starts() == starts, "without a restart"
    plant.until(lambda: plant.told()["sync"] == "failed", plant.told())
    versions = plant.ask("GET", "device-files", agent="plant/line", name=NAME).json()
    assert [(one["version"], one["state"]) for one in versions] == [
        (4, "rolled_back"), (3, "refused"), (2, "applied"), (1, "refused")
    ]  # fmt: skip
    kept = plant.ask("GET", "device-files/content", agent="plant/line", name=NAME, version=2)
    assert kept.text == faster
    plant.until(lambda: '"value": 175' in plant.agent.command("tags", "--json").out, "the oven is read again")
    assert plant.agent.command("audit", "verify").code == 0
    assert plant.cloud.command("audit", "verify").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_change_at_the_box_is_seen_and_the_engineer_there_can_go_back_to_the_version(plant: Plant) -> None:
    faster = plant.good.replace("100ms", "50ms")
    assert plant.end_of(plant.version(faster, replaces=sha(plant.good)))["state"] == "succeeded"
    plant.file.write_text(faster + "# by hand\n")
    plant.until(lambda: plant.told()["state"] == "changed", plant.told())
    assert plant.told()["sync"] == "out_of_sync"
    assert plant.end_of(plant.version(plant.good))["code"] == "file_differs"
    listed = plant.agent.command("config", "list", "--json")
    assert listed.json[0]["state"] == "changed"
    shown = plant.agent.command("config", "show", NAME, "--json").json
    assert [(one["version"], one["sha256"]) for one in shown["before"]] == [(0, sha(plant.good))]
    back = plant.agent.command("config", "rollback", NAME, "--reason", "as it was", "--health", str(HEALTH_S))
    assert back.code == 0, back.err
    plant.until(lambda: plant.file.read_text() == faster)
    plant.until(lambda: plant.newest_at_box().get("state") == "succeeded", "the rollback")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_in_the_trial_the_file_is_put_back_before_it_is_read_and_the_report_says_so(plant: Plant) -> None:
    faster = plant.good.replace("100ms", "50ms")
    answer = plant.post(plant.version(faster, replaces=sha(plant.good), health_s=120))
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    plant.until(lambda: plant.agent.events("device_file_tried"), "the trial")
    assert plant.file.read_text() == faster
    plant.agent.kill()
    plant.agent.start()
    assert plant.file.read_text() == plant.good
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(plant.ask("GET", f"commands/{answer.json()['id']}").json())
        return found["state"] not in ("requested", "sent", "received", "executing")

    plant.until(ended, found)
    assert found["state"] == "failed"
    assert "the agent ended in the trial without having been asked to" in found["detail"]
    assert plant.starts() == 1, "since it was killed"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_restart_is_one_and_reported_by_the_next_start_and_it_keeps_its_process(plant: Plant) -> None:
    before, process = plant.starts(), plant.agent.process._process
    assert process is not None
    found = plant.end_of({"do": "restart"})
    assert (found["state"], found["detail"]) == ("succeeded", "the agent has begun anew")
    assert plant.starts() == before + 1
    time.sleep(5.0)
    assert plant.starts() == before + 1
    assert process.poll() is None
    os.kill(process.pid, 0)
    reports = [state for state in found["states"] if state["state"] == "succeeded"]
    assert len(reports) == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_rebirth_a_log_level_and_who_may_ask_for_them(plant: Plant) -> None:
    born = len(plant.agent.events("uplink_online"))
    answer = plant.cloud.command("command", "rebirth", "plant/line", "--wait", "40s", "--json")
    assert (answer.returncode, json.loads(answer.stdout)["state"]) == (0, "succeeded"), answer.stderr
    shown = plant.cloud.command("command", "files", "plant/line").stdout
    assert NAME in shown
    assert "local" in shown
    assert len(plant.agent.events("uplink_online")) > born
    found = plant.end_of({"do": "log_level", "level": "error", "for_s": 4})
    assert (found["state"], found["detail"]) == ("succeeded", "for 4 s, then info again")
    plant.until(lambda: len(plant.agent.events("log_level_changed")) == 2)
    asked, ended = plant.agent.events("log_level_changed")
    assert (asked["to"], ended["to"]) == ("error", "info")
    assert at_s(ended) - at_s(asked) > 3
    for action in ({"do": "restart"}, {"do": "rebirth"}, plant.version(plant.good)):
        answer = plant.post(action, by="otto")
        assert (answer.status_code, answer.json()["code"]) == (httpx.codes.FORBIDDEN, "not_your_role")
    assert plant.agent.command("lock", "agent", "--reason", "the laptop is plugged in").code == 0
    found = plant.end_of({"do": "restart"})
    assert (found["state"], found["code"]) == ("refused", "locked")
