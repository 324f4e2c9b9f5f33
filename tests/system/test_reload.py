"""``edge-agent reload`` on real machines and a real broker: what has not changed loses no sample, and no session."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, oven, press
from tests.system.sparkplug_host import PlayedHost, Seen, until
from tests.system.test_edge_agent import QUEUED_MAX

WRITE_S = 0.005


class Ramp:
    """Writes 1, 2, 3 … to a variable until it is stopped; what has not come yet is no more than the server keeps."""

    def __init__(self, server: OpcUaServer, host: PlayedHost) -> None:
        self.last = 0.0
        self._server, self._host = server, host
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(WRITE_S):
            self.last += 1
            self._server.write("force", "Double", self.last)
            while self.last % QUEUED_MAX == 0 and self._host.values("press", "force")[-1:] != [self.last]:
                if self._stop.wait(WRITE_S):
                    return


class Plant:
    """A press whose force rises all the time, and an oven; the host acknowledges."""

    def __init__(self, folder: Path, broker: MosquittoBroker, server: OpcUaServer, unit: ModbusServer) -> None:
        self.server, self.unit = server, unit
        self.press, self.oven = press(server, "force"), oven(unit)
        self.host = PlayedHost(broker.port)
        self.agent = AgentProcess(folder / "agent", broker, self.press + self.oven)
        self._first = self.agent.config.read_text()

    def write(self, devices: str, more: str = "") -> None:
        """Other devices in the agent's file, and further sections of it."""
        self.agent.config.write_text(self._first.split("devices:\n", maxsplit=1)[0] + more + f"devices:\n{devices}")

    def sequence(self, after: int) -> list[int]:
        return [seen.payload.seq for seen in self.host.seen[after:] if seen.verb != "NDEATH"]

    def births(self, device: str) -> list[Seen]:
        return self.host.of("DBIRTH", device=device)


@pytest.fixture
def plant(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer, modbus_unit: ModbusServer
) -> Iterator[Plant]:
    opcua_server.add("force", "Double", 0.0)
    modbus_unit.set("holding", 0, 175)
    modbus_unit.set("holding", 1, 42)
    found = Plant(folder, mosquitto, opcua_server, modbus_unit)
    try:
        found.agent.start()
        until(lambda: found.host.values("press", "force") and found.host.values("oven", "zone"))
        yield found
    finally:
        found.agent.stop()
        found.host.close()


def test_the_press_goes_on_while_the_oven_gets_a_tag_and_a_kiln_comes_and_goes(plant: Plant) -> None:
    agent, host = plant.agent, plant.host
    more_tags = plant.oven + "      - {name: door, at: holding 1}\n"
    kiln = plant.oven.replace("name: oven", "name: kiln")
    ramp = Ramp(plant.server, host)
    try:
        until(lambda: ramp.last > 50)
        before = len(host.seen)
        plant.write(plant.press + more_tags + kiln)
        said = agent.command("reload")
        assert (said.code, said.err) == (0, "")
        assert said.out.splitlines()[:2] == ["kiln: added: 1 tag", "oven: connected anew: 1 tag added"]
        until(lambda: host.values("oven", "door") == [42] and host.values("kiln", "zone") == [17.5])
        plant.write(plant.press + more_tags)
        assert agent.command("reload").out.startswith("kiln: removed: 1 tag\n")
        until(lambda: host.of("DDEATH", device="kiln"))
        written = ramp.last
        until(lambda: ramp.last > written + 50)
    finally:
        ramp.stop()
    until(lambda: host.values("press", "force")[-1:] == [ramp.last])
    values = host.values("press", "force")
    assert values[-int(ramp.last) :] == [float(number + 1) for number in range(int(ramp.last))], "none lost or doubled"
    assert plant.server.sessions == 1
    assert [event["device"] for event in agent.events("device_connected")].count("press") == 1
    assert not any(seen.named("Lineside/Gap") for seen in host.of("NDATA", "DDATA") if seen.device == "press")
    assert [len(host.of("NBIRTH")), len(plant.births("press")), len(host.of("NDEATH"))] == [1, 1, 0]
    assert [sorted(birth.aliases) for birth in plant.births("oven")] == [["zone"], ["door", "zone"]]
    first, second = plant.births("oven")
    assert first.aliases["zone"] == second.aliases["zone"]
    order = [seen.verb for seen in host.of("DBIRTH", "DDEATH", device="oven")]
    assert order == ["DBIRTH", "DDEATH", "DBIRTH"]
    numbers = plant.sequence(after=before)
    assert [(other - one) % 256 for one, other in itertools.pairwise(numbers)] == [1] * (len(numbers) - 1)


def test_a_file_that_is_not_valid_is_refused_with_its_line_and_status_says_so_until_it_is_right(plant: Plant) -> None:
    agent = plant.agent
    assert agent.command("status", "--json").json["configuration"]["state"] == "in_sync"
    plant.write(plant.press + plant.oven.replace("holding 0", "holdin 0"))
    said = agent.command("reload")
    assert said.code == 1
    problem = agent.command("check").err.splitlines()[0]
    assert said.err.splitlines() == [problem, "1 problem; the agent goes on with what it had"]
    assert said.out == ""
    shown = agent.command("status")
    assert "FAILED" in shown.out
    assert "holdin 0" in shown.out.replace("\n", "")
    assert shown.code == 0, "devices and uplink are as they should be"
    plant.write(plant.press + plant.oven)
    until(lambda: agent.command("status", "--json").json["configuration"]["state"] == "in_sync")


def test_with_watch_a_changed_file_is_used_by_itself_and_a_setting_that_takes_a_restart_is_named(plant: Plant) -> None:
    agent, host = plant.agent, plant.host
    plant.write(plant.press + plant.oven, "reload: {watch: true, settle: 200ms}\n")
    assert agent.command("reload").out.startswith("reload.settle: in effect\nreload.watch: in effect\n")
    more = "reload: {watch: true, settle: 200ms}\n"
    plant.write(plant.press + plant.oven + "      - {name: door, at: holding 1}\n", more)
    until(lambda: host.values("oven", "door") == [42])
    agent.config.write_text(agent.config.read_text().replace("commit_interval: 50ms", "commit_interval: 60ms"))
    until(lambda: agent.command("status", "--json").json["configuration"]["restart"] == ["outbox.commit_interval"])
    shown = " ".join(agent.command("status").out.split())
    assert "takes effect with a restart of the agent only: outbox.commit_interval" in shown


def test_other_brokers_are_gone_over_to_with_everything_that_waits(
    plant: Plant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    agent = plant.agent
    other = MosquittoBroker(tmp_path_factory.mktemp("other"))
    other.start()
    host = PlayedHost(other.port)
    try:
        plant.host.acknowledges = False
        plant.server.write("force", "Double", 7.0)
        until(lambda: plant.host.values("press", "force")[-1:] == [7.0])
        text = agent.config.read_text()
        first = next(line for line in text.splitlines() if line.startswith("uplink:"))
        agent.config.write_text(text.replace(first.split("'")[1], other.url))
        assert agent.command("reload").out.startswith("uplink.brokers: in effect\n")
        until(lambda: host.values("press", "force")[-1:] == [7.0])
        until(lambda: plant.host.of("NDEATH"))
        assert plant.server.sessions == 1
    finally:
        host.close()
        agent.stop()
        other.stop()
