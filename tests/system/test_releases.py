"""Releases from the cloud to the box, nothing played: package, rollout, broker, database, launcher, agent, machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from connectors.commands.signing import SigningKey
from edge_agent.commands.pinned_keys import write_pinned_keys
from edge_agent.releases.layout import ReleaseFolder
from tests.servers.modbus import ModbusServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess, oven
from tests.system.made_releases import CRASHES, NEVER_HEALTHY, broken_release, whole_release

WAIT_S_MAX = 240.0
KEY = SigningKey.generate()


class Plant:
    """A cloud, an agent under its launcher, and another agent that is not to be touched."""

    def __init__(self, folder: Path, cloud: Cloud, broker: MosquittoBroker, unit: ModbusServer) -> None:
        self.folder, self.cloud = folder, cloud
        self.agent = AgentProcess(folder / "agent", broker, oven(unit))
        self.other = AgentProcess(folder / "other", broker, oven(unit))
        text = self.other.config.read_text().replace("name: line,", "name: second,")
        self.other.config.write_text(text)
        public = {"keys": {KEY.key_id: KEY.public_jwk()}}
        (self.agent.folder / "release-keys.json").write_text(json.dumps(public))
        with self.agent.config.open("a") as file:
            url = f"http://127.0.0.1:{cloud.port}"
            file.write(f"releases: {{url: '{url}', insecure: true, keys: release-keys.json}}\n")
        self.releases = ReleaseFolder(self.agent.folder / "data" / "releases")
        self.launcher = ChildProcess("edge-agent launch", folder / "launcher.log")

    def launch(self) -> None:
        socket = self.agent.folder / "data" / "agent.sock"
        self.launcher.start([EDGE_AGENT, "launch", "-c", str(self.agent.config)], socket.exists, timeout_s=WAIT_S_MAX)

    def until(self, true: Callable[[], Any], what: str, *, every_s: float = 0.2) -> None:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while not true():
            assert time.monotonic() < deadline_s, f"{what}\n{self.launcher.log()[-6000:]}"
            time.sleep(every_s)

    def roll_out(self, version: str, *words: str) -> dict[str, Any]:
        """Start a rollout: what it is when it is over."""
        said = self.cloud.command("rollout", "start", version, "--json", *words)
        assert said.returncode == 0, said.stderr
        number = str(json.loads(said.stdout)["rollout"])
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(json.loads(self.cloud.command("rollout", "show", number, "--json").stdout))
            return bool(found["state"] != "running")

        self.until(is_over, "the rollout is over", every_s=1.0)
        return found

    def version(self, name: str = "plant/line") -> str:
        (row,) = self.cloud.get("/api/v1/agents", agent=name).json()
        return str(row["version"]) if row["online"] else ""

    def sample_count(self) -> int:
        (row,) = self.cloud.get("/api/v1/ledger", agent="plant/line").json()
        return int(row["samples"])

    def is_settled(self) -> bool:
        return bool(self.cloud.get("/api/v1/ledger/settled").json()["settled"])


@pytest.fixture
def plant(folder: Path, mosquitto: MosquittoBroker, database_dsn: str, modbus_unit: ModbusServer) -> Iterator[Plant]:
    cloud = Cloud(folder / "cloud", mosquitto.url, database_dsn)
    cloud.add("commands", {"signing_key": str(folder / "signing.jwk")})
    assert cloud.command("keys", "create").returncode == 0
    plant = Plant(folder, cloud, mosquitto, modbus_unit)
    keys = json.loads(cloud.command("keys", "export").stdout)["keys"]
    for agent in (plant.agent, plant.other):
        (agent.folder / "data").mkdir()
        write_pinned_keys(agent.folder / "data" / "trusted-keys.json", keys)
    process = cloud.process("ingest,historian,commands,gateway")
    try:
        cloud.wait_ready(process)
        plant.launch()
        plant.other.start()
        plant.until(lambda: len(cloud.get("/api/v1/agents").json()) == 2, "both agents are known")
        plant.until(lambda: plant.version() and plant.version("plant/second"), "both agents are born")
        plant.until(lambda: cloud.get("/api/v1/ledger", agent="plant/line").json(), "something of it is stored")
        yield plant
    finally:
        plant.launcher.stop(timeout_s=45.0)
        plant.other.stop()
        process.kill()


def added(plant: Plant, package: Path) -> None:
    said = plant.cloud.command("release", "add", str(package))
    assert said.returncode == 0, said.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_new_version_takes_over_and_nothing_is_lost(plant: Plant) -> None:
    added(plant, whole_release(plant.folder, "0.1.1", KEY))
    before = plant.version()
    assert before not in ("", "0.1.1")
    count = plant.sample_count()
    found = plant.roll_out("0.1.1", "--group", "plant/line", "--soak", "1s", "--health", "2m")
    assert (found["state"], found["reason"]) == ("done", "1 of 1 agents run it"), (found, plant.launcher.log()[-6000:])
    plant.until(lambda: plant.version() == "0.1.1", "its birth is stored")
    assert plant.version("plant/second") == before
    assert plant.releases.state().current.startswith("0.1.1-")
    plant.until(lambda: plant.sample_count() > count, "it reads the machine")
    plant.until(plant.is_settled, "nothing is missing")
    (row,) = plant.cloud.get("/api/v1/ledger", agent="plant/line").json()
    assert row["missing"] == 0
    assert plant.cloud.command("audit", "verify").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("does", "health", "says"), [(CRASHES, "2m", "exit code 7"), (NEVER_HEALTHY, "5s", "healthy within 5 s")]
)
def test_a_broken_version_is_rolled_back_and_the_rollout_halts_after_the_canary(
    plant: Plant, does: str, health: str, says: str
) -> None:
    added(plant, broken_release(plant.folder, "0.1.1", KEY, does))
    before = plant.version()
    groups = ["--group", "plant/line", "--group", "plant/*"]
    found = plant.roll_out("0.1.1", *groups, "--soak", "0s", "--health", health)
    assert found["state"] == "halted"
    assert says in found["reason"]
    assert {each["agent"]: each["progress"] for each in found["members"]} == {
        "plant/line": "failed",
        "plant/second": "waiting",
    }
    assert not json.loads(plant.cloud.command("command", "list", "-a", "plant/second", "--json").stdout)
    plant.until(lambda: plant.version() == before, "the old version runs again")
    assert plant.releases.state().current == ""
    count = plant.sample_count()
    plant.until(lambda: plant.sample_count() > count, "it reads the machine")
    plant.until(plant.is_settled, "nothing is missing")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cloud_in_wrong_hands_installs_nothing(plant: Plant) -> None:
    thief, mark = SigningKey.generate(), plant.folder / "was-run"
    added(plant, broken_release(plant.folder, "0.1.1", thief, f"open({str(mark)!r}, 'w')\n" + CRASHES))
    found = plant.roll_out("0.1.1", "--group", "plant/line", "--soak", "0s")
    assert found["state"] == "halted"
    assert thief.key_id in found["reason"], "signed, and by a key that does not count here"
    assert not plant.releases.installed()
    assert plant.version() not in ("", "0.1.1")
    assert not mark.exists()
