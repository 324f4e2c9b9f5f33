"""A real ``edge-agent`` process with real machines and a real broker, and the commands of its operator."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.servers.opcua import OpcUaServer
from tests.system import forked_commands

EDGE_AGENT: Final = str(Path(sys.executable).with_name("edge-agent"))
NAMESPACE: Final = "urn:lineside:tests:press"


class Said(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


def edge_agent(config: Path, *words: str, within_s: float = WAIT_S_MAX) -> Said:
    """Run an ``edge-agent`` command on the agent of ``config``."""
    done = forked_commands.run(Path(EDGE_AGENT), *words, "-c", str(config), within_s=within_s)
    return Said(done.returncode, done.stdout, done.stderr)


def runs(place: Path) -> bool:
    """Whether an agent answers at its socket and has all its parts: first a slow start says there what it waits for."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(WAIT_S_MAX)
        asking.connect(str(place))
        asking.sendall(b'{"call": "names"}\n')
        with asking.makefile("rb") as answers:
            return "result" in json.loads(answers.readline())
    return False


class AgentProcess:
    """One agent with its files in ``folder``; started again, it goes on with its outbox."""

    def __init__(
        self,
        folder: Path,
        broker: MosquittoBroker,
        devices: str,
        *,
        uplink: str = "",
        within: str = "",
        resend_after: str = "1s",
    ) -> None:
        """``resend_after``: longer than any test lasts where each message is to come once."""
        self.config = folder / "agent.yaml"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            "agent: {group: plant, name: line, data_dir: data}\n"
            f"uplink: {{brokers: ['{broker.url}'], insecure: true, resend_after: {resend_after}{uplink}}}\n"
            "outbox: {commit_interval: 50ms}\n"
            f"{within}" + (f"devices:\n{devices}" if devices else "")
        )
        self.process = ChildProcess("edge-agent", folder / "agent.log")

    def start(self) -> None:
        """Start it, and wait until it runs, and answers its operator."""
        place = self.folder / "data" / "agent.sock"
        self.process.start([EDGE_AGENT, "run", "-c", str(self.config)], lambda: runs(place), timeout_s=WAIT_S_MAX)

    def stop(self) -> int:
        """Ask it to end (SIGTERM); its exit code. Does nothing when it has ended."""
        self.process.stop(timeout_s=WAIT_S_MAX)
        assert self.process._process is not None
        return int(self.process._process.returncode)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        (self.folder / "data" / "agent.sock").unlink(missing_ok=True)  # its presence is what ``start`` waits for

    def command(self, *words: str) -> Said:
        """Run an ``edge-agent`` command on its file."""
        return edge_agent(self.config, *words)

    def check(self, config: Path) -> Said:
        """Have another file checked."""
        return edge_agent(config, "check")

    def watch(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on until it is ended; it hears SIGINT also where the tests themselves ignore it."""
        command = ["env", "--default-signal=INT", EDGE_AGENT, *words, "-c", str(self.config)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says of one kind of event since the last start."""
        lines = [json.loads(line) for line in self.process.log_lines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def press(server: OpcUaServer, *tags: str, more: str = "") -> str:
    """A device entry for an OPC UA server; a tag is its identifier, which becomes its name.

    With a sampling interval of 0 open62541 reports every single write, up to 100 between two publishes. One that is
    killed is noticed at once, however long ``timeout`` is: it ends no session where the machine stands still.
    """
    lines = [f"      - {{name: {tag}, at: 'nsu={NAMESPACE};s={tag}', queue_size: 1000}}" for tag in tags]
    return (
        f"  - name: press\n    driver: opcua\n    endpoint: {server.endpoint}\n    insecure: true\n"
        f"    publishing: 50ms\n    sampling: 0s\n    timeout: 20s\n{more}    tags:\n" + "\n".join(lines) + "\n"
    )


def oven(unit: ModbusServer) -> str:
    """A device entry for a Modbus unit with one register; one that is killed is noticed at once."""
    return (
        f"  - name: oven\n    driver: modbus\n    endpoint: {unit.endpoint}\n    poll: 50ms\n    timeout: 20s\n"
        "    tags:\n      - {name: zone, at: holding 0, scale: 0.1, unit: °C}\n"
    )
