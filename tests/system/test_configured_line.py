"""What an engineer's files say, on real machines: calculated tags, and a look at devices before an agent runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, edge_agent, oven, press
from tests.system.sparkplug_host import PlayedHost, until

DERIVED = """\
      - {name: status, at: holding 1, type: uint16}
    derived:
      - {name: zone/fahrenheit, value: zone * 1.8 + 32, unit: °F}
      - {name: fault, value: "bit(status, 3) or zone > 300", lane: alarms}
      - {name: state, value: "if(fault, broken, fine)"}
"""


@pytest.fixture
def broker(folder: Path) -> Iterator[MosquittoBroker]:
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    yield broker
    broker.stop()


def test_tags_that_are_calculated_reach_the_cloud_and_the_operator(
    folder: Path, broker: MosquittoBroker, modbus_unit: ModbusServer
) -> None:
    modbus_unit.set("holding", 0, 1000, 1 << 3)
    host = PlayedHost(broker.port)
    agent = AgentProcess(folder, broker, oven(modbus_unit) + DERIVED)
    agent.start()
    try:
        until(lambda: host.values("oven", "state") == ["broken"])
        modbus_unit.set("holding", 1, 0)
        until(lambda: host.values("oven", "state") == ["broken", "fine"])
        modbus_unit.set("holding", 0, 1805)
        until(lambda: host.values("oven", "zone/fahrenheit")[-1:] == [pytest.approx(356.9)])
        assert host.values("oven", "fault") == [True, False]
        shown = {tag["tag"]: tag for tag in agent.command("tags", "--json").json}
        assert shown["state"]["value"] == "fine"
        assert shown["zone/fahrenheit"]["unit"] == "°F"
        refused = agent.command("write", "oven/state", "broken", "--reason", "a test")
        assert refused.code != 0
        assert "calculated from other tags" in refused.out + refused.err
    finally:
        agent.stop()
        host.close()


HEAD = "agent: {group: plant, name: line, data_dir: data}\nuplink: {brokers: ['mqtts://localhost']}\ndevices:\n"


def test_before_an_agent_runs_each_device_is_reached_and_each_tag_read(
    folder: Path, modbus_unit: ModbusServer, opcua_server: OpcUaServer
) -> None:
    modbus_unit.set("holding", 0, 1000, 1 << 3)
    opcua_server.add("force", "Double", 12.5)
    opcua_server.add("state", "String", "running")
    config = folder / "agent.yaml"
    line = press(opcua_server, "force", "state") + oven(modbus_unit) + DERIVED
    found = "  - {name: all, driver: opcua, endpoint: '%s', insecure: true, browse: [{under: /Objects, depth: 1}]}\n"
    config.write_text(HEAD + line + found % opcua_server.endpoint)
    answer = edge_agent(config, "check", "--online", "--json")
    assert answer.code == 0, answer
    assert {one["device"]: one["reached"] for one in answer.json["devices"]} == {
        "press": True, "oven": True, "all": True,
    }  # fmt: skip
    tags = [tag for one in answer.json["devices"] for tag in one["tags"]]
    values = {f"{tag['device']}/{tag['tag']}": tag["value"] for tag in tags}
    assert 12.5 in [value for name, value in values.items() if name.startswith("all/")]
    assert {name: value for name, value in values.items() if not name.startswith("all/")} == {
        "press/force": 12.5, "press/state": "running", "oven/zone": 100.0, "oven/status": 8,
        "oven/zone/fahrenheit": 212.0, "oven/fault": True, "oven/state": "broken",
    }  # fmt: skip
    assert not (folder / "data").exists(), "a look leaves nothing"
    shown = edge_agent(config, "check", "--online", "--device", "oven")
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "1 device, all reached; 5 tags, all good"


def test_what_is_wrong_at_the_devices_is_told_device_by_device_and_tag_by_tag(
    folder: Path, modbus_unit: ModbusServer, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Double", 12.5)
    modbus_unit.command("refuse holding 65000 65000 2")
    port = free_port()
    robot = (
        f"  - {{name: robot, driver: modbus, endpoint: 'tcp://127.0.0.1:{port}', tags: [{{name: x, at: coil 1}}]}}\n"
    )
    beyond = "      - {name: beyond, at: holding 65000}\n"
    config = folder / "agent.yaml"
    config.write_text(HEAD + press(opcua_server, "force", "forec") + oven(modbus_unit) + beyond + robot)
    answer = edge_agent(config, "check", "--online")
    assert answer.code == 1
    assert "robot  NOT REACHED" in answer.out
    assert f"127.0.0.1:{port}" in answer.out
    assert "forec: " in answer.out
    assert "beyond: " in answer.out
    assert answer.out.splitlines()[-1] == "3 devices, 1 NOT REACHED; 4 tags, 2 NOT GOOD"
    assert edge_agent(config, "check").code == 0, "the file itself is right"


def test_while_the_agent_runs_no_second_connection_is_made_unasked(
    folder: Path, broker: MosquittoBroker, modbus_unit: ModbusServer
) -> None:
    agent = AgentProcess(folder, broker, oven(modbus_unit))
    agent.start()
    try:
        refused = agent.command("check", "--online")
        assert (refused.code, refused.out) == (4, "")
        assert "edge-agent tags" in refused.err
        assert agent.command("check", "--online", "--anyway").code == 0
    finally:
        agent.stop()


def test_while_a_line_is_commissioned_nothing_is_written_and_everybody_is_told(
    folder: Path, broker: MosquittoBroker, modbus_unit: ModbusServer
) -> None:
    more = "      - {name: setpoint, at: holding 5, writable: {min: 0, max: 250}}\n"
    agent = AgentProcess(folder, broker, oven(modbus_unit) + more)
    agent.config.write_text(agent.config.read_text().replace("name: line,", "name: line, commissioning: true,"))
    agent.start()
    try:
        until(lambda: agent.command("status", "--json").json["devices"][0]["online"])
        refused = agent.command("write", "oven/setpoint", "180", "--reason", "a test")
        assert refused.code == 1
        assert "the line is being commissioned; when it is handed over" in refused.out + refused.err
        assert "COMMISSIONING: nothing is written to any device" in agent.command("status").out
        assert modbus_unit.get("holding", 5) == [0]
        assert all(function in (1, 2, 3, 4) for _, function, _, _ in modbus_unit.requests())
    finally:
        agent.stop()


def test_a_type_that_the_server_contradicts_is_told_with_its_line_and_the_tag_is_read(
    folder: Path, broker: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Double", 12.5)
    opcua_server.add("state", "String", "running")
    line = press(opcua_server, "state", "force").rstrip("\n").removesuffix("}") + ", type: int32}\n"
    config = folder / "look.yaml"
    config.write_text(HEAD + line)
    number = (HEAD + line).count("\n")
    answer = edge_agent(config, "check", "--online", "--json")
    assert answer.code == 1
    state, force = answer.json["devices"][0]["tags"]
    assert (state["value"], state["problem"]) == ("running", "")
    assert (force["value"], force["type"], force["quality"]) == (12.5, "Double", "Good")
    assert force["problem"].startswith(f"{config}:{number}: the device file says 'type: int32', and the server says")
    shown = edge_agent(config, "check", "--online")
    assert shown.out.splitlines()[-1] == "1 device, all reached; 2 tags, 1 NOT AS ITS FILE SAYS"

    host = PlayedHost(broker.port)
    agent = AgentProcess(folder, broker, line)
    agent.start()
    try:
        until(lambda: host.values("press", "force") == [12.5] and host.values("press", "state") == ["running"])
        (device,) = agent.command("status", "--json").json["devices"]
        assert [problem["tag"] for problem in device["problems"]] == ["force"]
        assert "1 tag with a problem" in agent.command("doctor").out
        told = {tag["tag"]: (tag["quality"], bool(tag["problem"])) for tag in agent.command("tags", "--json").json}
        assert told == {"force": ("Good", True), "state": ("Good", False)}
        logs = agent.command("logs").out
        assert "press/force: the device file says 'type: int32'" in logs
    finally:
        agent.stop()
        host.close()
