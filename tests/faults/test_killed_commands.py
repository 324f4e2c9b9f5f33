"""The agent is killed (kill -9) at each step of a command, on a real broker and a real device.

Whatever the moment: the device was written at most once, and what the cloud hears is what the device holds, or unknown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from connectors.commands.envelope import Envelope, WriteTag
from connectors.commands.states import CommandState
from edge_agent.commands.pinned_keys import write_pinned_keys
from tests.faults.commanding_cloud import CommandingCloud
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer

WRITES = (5, 6, 15, 16, 22)
"""Function codes (MODBUS Application Protocol Specification V1.1b3, 6)."""
BEFORE = 5
CONFIG = """
agent: {{group: plant, name: line, data_dir: {folder}}}
uplink: {{brokers: ["{broker}"], insecure: true}}
devices:
  - name: press
    driver: modbus
    endpoint: {endpoint}
    poll: 200ms
    tags:
      - {{name: speed, at: holding 1, writable: {{min: 0, max: 250}}}}
      - {{name: go, at: coil 1, writable: {{pulse: {{value: true, back_to: false, after: 300ms}}}}}}
"""
MOMENTS = [f"commit:{number}:{when}" for number in range(1, 7) for when in ("before", "after")]
MOMENTS += ["write:before", "write:after"]


class Scene:
    """One agent beside its broker and its press."""

    def __init__(self, folder: Path, broker: MosquittoBroker, press: ModbusServer, cloud: CommandingCloud) -> None:
        self.folder, self.press, self.cloud = folder, press, cloud
        text = CONFIG.format(folder=folder, broker=broker.url, endpoint=press.endpoint)
        (folder / "agent.yaml").write_text(text)
        write_pinned_keys(folder / "trusted-keys.json", {cloud.key.key_id: cloud.key.public_jwk()})

    def start(self, where: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.faults.killed_agent", str(self.folder / "agent.yaml"), where]
        with (self.folder / "agent.log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def writes(self) -> int:
        """How many writes have reached the press since it was reset."""
        return sum(function in WRITES for _, function, _, _ in self.press.requests())


@pytest.fixture
def scene(mosquitto: MosquittoBroker) -> Iterator[Scene]:
    with (
        tempfile.TemporaryDirectory(prefix="kill") as folder,
        ModbusServer() as press,
        CommandingCloud(mosquitto.url) as cloud,
    ):
        yield Scene(Path(folder), mosquitto, press, cloud)


def kill(scene: Scene, moment: str, envelope: Envelope) -> None:
    """Send a command until the agent has killed itself."""
    killed = scene.start(moment)
    ended_early = False
    try:
        while killed.poll() is None:
            scene.cloud.send(envelope)
            try:
                killed.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        ended_early = killed.returncode == -9
    finally:
        killed.kill()
        killed.wait()
    assert ended_early, "it was killed by itself, at the moment that was asked for"


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_at_a_step_of_a_command(scene: Scene, moment: str) -> None:
    scene.press.set("holding", 1, BEFORE)
    scene.press.command("reset")
    envelope = scene.cloud.envelope(WriteTag(device="press", tag="speed", value=77))
    kill(scene, moment, envelope)
    again = scene.start("never")
    try:
        end = scene.cloud.end_of(envelope)
        held = scene.press.get("holding", 1)[0]
        assert scene.writes() <= 1
        if end.state is CommandState.SUCCEEDED:
            assert (scene.writes(), held, end.after) == (1, 77, 77)
        else:
            assert end.state is CommandState.UNKNOWN, end
            assert end.after == held
        next_one = scene.cloud.envelope(WriteTag(device="press", tag="speed", value=78))
        assert scene.cloud.end_of(next_one).state is CommandState.SUCCEEDED
        assert scene.press.get("holding", 1) == [78]
    finally:
        again.terminate()
        again.wait(WAIT_S_MAX)


@pytest.mark.slow
def test_kill_9_in_a_pulse_leaves_no_button_pressed(scene: Scene) -> None:
    scene.press.set("coil", 1, 0)
    scene.press.command("reset")
    envelope = scene.cloud.envelope(WriteTag(device="press", tag="go", value=True))
    kill(scene, "write:after", envelope)
    assert (scene.press.get("coil", 1), scene.writes()) == ([1], 1)
    again = scene.start("never")
    try:
        end = scene.cloud.end_of(envelope)
        assert (end.state, end.after) == (CommandState.UNKNOWN, False), end
        assert (scene.press.get("coil", 1), scene.writes()) == ([0], 2), "pressed once, and released"
    finally:
        again.terminate()
        again.wait(WAIT_S_MAX)
