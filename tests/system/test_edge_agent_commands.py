"""The ``edge-agent`` command beside a real agent: what it prints for people and programs, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, edge_agent, oven, press
from tests.system.sparkplug_host import PlayedHost, until


class Line(NamedTuple):
    """A running line: a press with a wrong tag, an oven, and a robot that cannot be reached."""

    agent: AgentProcess
    host: PlayedHost
    press: OpcUaServer
    unit: ModbusServer


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """One for all tests of this file: commands change nothing."""
    folder = tmp_path_factory.mktemp("a")
    broker, server, unit = MosquittoBroker(folder / "mosquitto"), OpcUaServer(), ModbusServer()
    broker.start()
    server.start()
    unit.start()
    unit.set("holding", 0, 1805)
    server.add("force", "Double", 12.5)
    server.add("state", "String", "running")
    robot = f"  - {{name: robot, driver: modbus, endpoint: 'tcp://127.0.0.1:{free_port()}'"
    robot += ", tags: [{name: x, at: coil 1}]}\n"
    host = PlayedHost(broker.port)
    agent = AgentProcess(folder, broker, press(server, "force", "state", "forec") + oven(unit) + robot)
    agent.start()
    try:
        until(lambda: all(host.values(*tag) for tag in (("oven", "zone"), ("press", "force"), ("press", "state"))))
        until(lambda: "refused the connection" in agent.command("status", "--json").out)
        yield Line(agent, host, server, unit)
    finally:
        agent.stop()
        host.close()
        unit.stop()
        server.kill()
        broker.stop()


def test_a_wrong_tag_and_a_machine_that_is_away_stop_nothing_else(line: Line) -> None:
    assert line.host.values("press", "force")[0] == 12.5
    assert line.host.values("oven", "zone")[0] == pytest.approx(180.5)
    line.press.write("force", "Double", 99.0)
    line.unit.set("holding", 0, 2000)
    until(lambda: line.host.values("press", "force")[-1] == 99.0)
    until(lambda: line.host.values("oven", "zone")[-1] == pytest.approx(200.0))
    assert "robot" not in {seen.device for seen in line.host.seen}


def test_status_says_everything_to_programs(line: Line) -> None:
    answer = until(lambda: (said := line.agent.command("status", "--json")).json["outbox"]["batches"] == 0 and said)
    assert answer.code == 1, "the robot is not connected"
    status = answer.json
    assert (status["agent"], status["delivery"], status["commissioning"]) == ("plant/line", "acknowledged", False)
    assert (status["uplink"]["phase"], status["uplink"]["reason"], status["uplink"]["refused"]) == ("born", "", 0)
    assert status["uplink"]["acknowledged"] >= 5
    devices = {device["device"]: device for device in status["devices"]}
    assert {name: device["online"] for name, device in devices.items()} == {
        "press": True,
        "oven": True,
        "robot": False,
    }
    assert [problem["tag"] for problem in devices["press"]["problems"]] == ["forec"]
    assert "the server has no such node" in devices["press"]["problems"][0]["reason"]
    assert "refused the connection" in devices["robot"]["reason"]
    assert status["outbox"]["samples_committed"] >= 3
    insecure = " ".join(status["insecure"])
    assert all(part in insecure for part in ("uplink mqtt://", "press opc.tcp://", "oven tcp://", "robot tcp://"))


def test_status_says_everything_to_people(line: Line) -> None:
    said = line.agent.command("status")
    assert said.code == 1
    words = " ".join(said.out.split())
    for part in ("plant/line", "robot (modbus) offline", "robot: 127.0.0.1:", "refused the connection", "press: forec:",
                 "uplink online", "promise a sample leaves this disk only when the cloud's event log has it",
                 "Modbus/TCP is neither encrypted nor authenticated; tls:// is, where the device has it: oven, robot",
                 "files: database "):  # fmt: skip
        assert part in words


def test_tags_are_listed_with_value_quality_and_unit(line: Line) -> None:
    line.press.write("force", "Double", 41.25)
    until(lambda: line.host.values("press", "force")[-1] == 41.25)
    said = line.agent.command("tags", "--json")
    assert said.code == 0
    tags = {(tag["device"], tag["tag"]): tag for tag in said.json}
    assert set(tags) == {("press", "force"), ("press", "state"), ("press", "forec"), ("oven", "zone"), ("robot", "x")}
    force, zone = tags["press", "force"], tags["oven", "zone"]
    assert (force["value"], force["quality"], force["type"], force["stale"]) == (41.25, "Good", "Double", False)
    assert (zone["unit"], zone["type"]) == ("°C", "Double")
    forec = tags["press", "forec"]
    assert (forec["value"], forec["quality"], forec["quality_code"]) == (None, "BadNodeIdUnknown", "0x80340000")
    assert (tags["robot", "x"]["value"], tags["robot", "x"]["stale"]) == (None, True)
    people = line.agent.command("tags")
    assert people.code == 0
    assert "press/force" in people.out
    assert "41.25" in people.out
    assert "time (UTC)" in people.out
    chosen = line.agent.command("tags", "--search", "FOR")
    assert [word for word in chosen.out.split() if word.startswith("press/")] == ["press/force", "press/forec"]
    chosen = line.agent.command("tags", "--device", "oven", "--json")
    assert [tag["tag"] for tag in chosen.json] == ["zone"]
    unknown = line.agent.command("tags", "--device", "ofen")
    assert (unknown.code, unknown.err.strip()) == (1, "no device 'ofen'; there are press, oven, robot")


def test_watch_gives_one_line_a_change_until_it_is_interrupted(line: Line) -> None:
    watching = line.agent.watch("watch", "--json", "--device", "press", "-n", "0.1")
    assert watching.stdout is not None
    first = [json.loads(watching.stdout.readline()) for _ in range(3)]
    assert sorted(tag["tag"] for tag in first) == ["force", "forec", "state"]
    line.press.write("state", "String", "stopped")
    changed = json.loads(watching.stdout.readline())
    assert (changed["tag"], changed["value"]) == ("state", "stopped")
    os.kill(watching.pid, signal.SIGINT)
    _out, err = watching.communicate(timeout=WAIT_S_MAX)
    assert (watching.returncode, err) == (0, "")


def test_the_outbox_can_be_looked_into(line: Line) -> None:
    status = until(lambda: (said := line.agent.command("buffer", "status", "--json")).json["waiting"] == [] and said)
    assert status.code == 0
    assert status.json["path"].endswith("data/outbox.db")
    assert len(status.json["epochs"]) == 1
    assert (status.json["open_gaps"], status.json["refused"]) == ([], 0)
    until(lambda: "nothing is waiting" in line.agent.command("buffer", "status").out)  # its own records come between
    line.host.acknowledges = False
    line.press.write("force", "Double", -5.0)

    def listed() -> list[dict[str, Any]]:  # what the agent says of its commands may stand beside them
        return [row for row in line.agent.command("buffer", "list", "--json").json if row["kind"] != "command"]

    (row,) = until(listed)
    assert (row["kind"], row["device"], row["sample_count"]) == ("samples", "press", 1)
    people = line.agent.command("buffer", "list")
    assert people.code == 0
    assert str(row["batch"]) in people.out
    assert "committed (UTC)" in people.out
    waiting = line.agent.command("buffer", "status", "--json").json["waiting"]
    assert [each["samples"] for each in waiting if each["kind"] == "samples"] == [1]
    line.host.acknowledges = True
    line.host.acknowledge_all()
    until(lambda: line.agent.command("buffer", "list", "--json").json == [])


def test_without_an_agent_every_command_says_so_and_the_outbox_is_still_readable(
    folder: Path, mosquitto: MosquittoBroker, modbus_unit: ModbusServer
) -> None:
    agent = AgentProcess(folder, mosquitto, oven(modbus_unit))
    never = agent.command("buffer", "status")
    assert (never.code, "has the agent ever run?" in never.err) == (1, True)
    for words in (["status"], ["tags"], ["watch"], ["status", "--json"]):
        said = agent.command(*words)
        assert (said.code, said.out) == (3, "")
        socket = folder / "data" / "agent.sock"
        assert said.err.strip() == f"no agent answers at {socket}; is it running? (edge-agent run)"
    agent.start()
    until(lambda: "samples" in [row["kind"] for row in agent.command("buffer", "list", "--json").json])
    assert agent.stop() == 0
    assert agent.command("status").code == 3
    kinds = [row["kind"] for row in agent.command("buffer", "list", "--json").json]
    data = [kind for kind in kinds if kind != "command"]  # the hello of commands comes when it comes
    assert data[:2] == ["epoch_start", "definition"]
    assert "samples" in kinds


def test_check_says_where_what_and_what_to_write_instead(folder: Path) -> None:
    path = folder / "agent.yaml"
    path.write_text(
        "agent: {group: plant, name: line}\n"
        "uplink: {brokers: [mqtts://b]}\n"
        "devices:\n"
        "  - name: press\n"
        "    driver: opcua\n"
        "    endpoint: opc.tcp://p\n"
        "    tags:\n"
        "      - {name: force, at: ns=2;i=1, samplng: 1s}\n"
        "      - {name: state, at: State}\n"
    )
    said = edge_agent(path, "check")
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert lines[0].startswith(f"{path}:8:37: unknown key 'samplng' in tag 'force'. Did you mean 'sampling'?")
    assert lines[1].startswith(f"{path}:9:27: 'at' of tag 'state': 'State' is not a node id.")
    assert lines[2:] == ["2 problems"]
    document = edge_agent(path, "check", "--json")
    assert document.code == 1
    assert document.json["valid"] is False
    assert [(problem["line"], problem["column"]) for problem in document.json["problems"]] == [
        (8, 37),
        (9, 27),
    ]
    run = edge_agent(path, "run")
    assert (run.code, run.err) == (1, said.err)
    path.write_text(path.read_text().replace("samplng", "sampling").replace("at: State", "at: s=State"))
    path.write_text(path.read_text().replace("    tags:", "    insecure: true\n    tags:"))
    assert edge_agent(path, "check") == (0, f"{path}: valid, 1 device with 2 tags\n", "")
    assert edge_agent(path, "check", "--json").json == {
        "valid": True, "problems": [], "devices": 1, "tags": 2, "unseen_credentials": []
    }  # fmt: skip


def test_a_command_that_is_used_wrongly_ends_with_2(folder: Path) -> None:
    path = folder / "agent.yaml"
    assert edge_agent(path, "statsu").code == 2
    assert edge_agent(path, "watch", "-n", "fast").code == 2
    missing = edge_agent(path, "check")
    assert (missing.code, missing.out) == (1, "")
    assert "the file cannot be read: No such file or directory." in missing.err
