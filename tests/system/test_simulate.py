"""``edge-agent simulate`` plays a device file well enough for the agent's own drivers to read and write every tag."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess, edge_agent
from tests.system.sparkplug_host import until

DEVICES = """
  - name: press
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:{press}
    insecure: true
    tags:
      - {{name: force, at: 'nsu=http://acme.example/press;s=Ram.Force', unit: kN}}
      - {{name: speed, at: 'ns=2;s=Speed', writable: {{min: 0, max: 200}}}}
      - {{name: state, at: 'nsu=http://acme.example/press;s=State', type: string}}
      - {{name: closed, at: 'nsu=http://acme.example/press;s=Door.Closed', type: bool}}
      - {{name: number, at: 'ns=2;i=1001'}}
  - name: oven
    driver: modbus
    endpoint: tcp://127.0.0.1:{oven}
    unit_id: 7
    tags:
      - {{name: zone, at: input 0, type: float32, order: CDAB, unit: °C}}
      - {{name: pressure, at: input 2, scale: 0.1, offset: -20}}
      - {{name: mode, at: holding 4, poll: 500ms}}
      - {{name: trip, at: input 40.3}}
      - {{name: setpoint, at: holding 1, writable: {{min: 0, max: 250}}}}
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("a")
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    yield AgentProcess(folder, broker, DEVICES.format(press=free_port(), oven=free_port()))
    broker.stop()


@pytest.fixture(scope="module")
def played(agent: AgentProcess) -> Iterator[list[Any]]:
    simulating = agent.watch("simulate", "--json")
    assert simulating.stdout is not None
    said = simulating.stdout.readline()
    if not said:
        pytest.fail(simulating.communicate()[1])
    yield json.loads(said)
    os.kill(simulating.pid, signal.SIGINT)
    _out, err = simulating.communicate(timeout=WAIT_S_MAX)
    assert (simulating.returncode, err) == (0, "")


def test_every_tag_that_is_played_is_read_by_the_agent_and_writes_stay(agent: AgentProcess, played: list[Any]) -> None:
    press, oven = played
    assert (press["tags"], list(press["left_out"]), oven["tags"], oven["left_out"]) == (4, ["number"], 5, {})
    agent.start()
    try:

        def values() -> dict[str, Any]:
            return {one["tag"]: one["value"] for one in agent.command("tags", "--json").json}

        first = until(lambda: (seen := values()) and None not in {**seen, "number": 0}.values() and seen)
        assert 0 <= first["force"] <= 100
        assert -20 <= first["pressure"] <= -10
        assert first["mode"] in range(101)
        assert first["state"].startswith("simulated")
        until(lambda: all(values()[tag] != first[tag] for tag in ("force", "zone", "pressure")))
        for target in ("press/speed", "oven/setpoint"):
            assert agent.command("write", target, "125", "--reason", "a trial").code == 0
            assert agent.command("read", target, "--json").json[0]["value"] == 125
    finally:
        agent.stop()


def test_what_cannot_be_played_is_said(agent: AgentProcess, played: list[Any]) -> None:
    taken = edge_agent(agent.config, "simulate", "oven")
    assert (taken.code, "cannot be used" in taken.err, "--port" in taken.err) == (1, True, True)
    unknown = edge_agent(agent.config, "simulate", "ofen")
    assert (unknown.code, "there are press, oven" in unknown.err) == (2, True)


def test_a_port_can_be_chosen_and_the_end_is_clean(agent: AgentProcess, tmp_path: Path) -> None:
    port = free_port()
    command = ["env", "--default-signal=INT", EDGE_AGENT, "simulate", "oven", "--port", str(port)]
    simulating = subprocess.Popen([*command, "-c", str(agent.config)], stdout=subprocess.PIPE, text=True)
    assert simulating.stdout is not None
    assert simulating.stdout.readline() == f"oven: tcp://127.0.0.1:{port}, 5 tags\n"
    simulating.send_signal(signal.SIGTERM)
    assert simulating.wait(WAIT_S_MAX) == 0
    simulating.stdout.close()
