"""The real ``cloud-ingest`` in processes of its own, real servers around it, and agents that are played."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from lineside.servers.child_process import ChildProcess, free_port

from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from connectors.sparkplug.topics import Verb
from tests import plain_http
from tests.patience import WAIT_S_MAX, pause_s
from tests.played_agent import PlayedAgent, Wire, acknowledged
from tests.system import forked_commands

PROGRAM: Final = Path(sys.executable).with_name("cloud-ingest")


class Cloud:
    """One configuration of the cloud side, which any number of processes can run."""

    def __init__(
        self, folder: Path, broker: str, dsn: str, *, kafka: str = "", share: bool = False, acknowledge: str = "logged"
    ) -> None:
        self.folder, self.broker, self.dsn = folder, broker, dsn
        self.port = free_port()
        self._metrics: dict[str, str] = {}
        self.config = folder / "cloud.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        place = urlsplit(dsn)
        password = folder / "password"
        password.write_text(place.password or "")
        document: dict[str, Any] = {
            "ingest": {
                "brokers": [broker],
                "insecure": True,
                "acknowledge": acknowledge,
                "ack_interval": "20ms",
                "share": share,
            },
            "database": {
                "host": place.hostname,
                "port": place.port,
                "user": place.username,
                "name": place.path.lstrip("/"),
                "password": f"${{file:{password}}}",
                "insecure": True,
            },
            "gateway": {"port": self.port},
            "observability": {"log_level": "debug"},
        }
        if kafka:
            document["event_log"] = {"kafka": {"brokers": [kafka], "insecure": True, "replication": 1, "in_sync": 1}}
        self.configure(document)

    def add(self, section: str, settings: dict[str, Any]) -> None:
        """Processes that are started from now on have these settings, too."""
        self.configure({**self.document, section: settings})

    def configure(self, document: dict[str, Any]) -> None:
        """Processes that are started from now on have this configuration."""
        self.document = document
        self.config.write_text(json.dumps(document))

    def process(self, roles: str = "ingest,historian,gateway") -> ChildProcess:
        """A process with ``roles``, started, and not waited for."""
        process = ChildProcess(f"cloud-ingest {roles}", self.folder / f"{roles.replace(',', '-')}.log")
        process.launch([str(PROGRAM), "run", "--roles", roles, "--config", str(self.config)])
        return process

    def replica(self, name: str, roles: str) -> ChildProcess:
        """One of several processes with the same ``roles``, started, and not waited for."""
        config = self.folder / f"{name}.yaml"
        metrics = {"host": "127.0.0.1", "port": free_port()}
        config.write_text(
            json.dumps({**self.document, "observability": {**self.document["observability"], "metrics": metrics}})
        )
        process = ChildProcess(name, self.folder / f"{name}.log")
        process.launch([str(PROGRAM), "run", "--roles", roles, "--config", str(config)])
        self._metrics[name] = f"http://127.0.0.1:{metrics['port']}/metrics"
        return process

    def metric_of(self, process: ChildProcess, name: str) -> float:
        """The value of a metric, without labels, of a replica."""
        text = plain_http.ask("GET", self._metrics[process.name]).text
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])

    def wait_ready(self, process: ChildProcess) -> None:
        """Wait until the bridge is online, and what serves requests is ready."""
        if "ingest" in process.name.removeprefix("cloud-ingest"):
            process.wait_until(lambda: "host_online" in process.log(), timeout_s=WAIT_S_MAX)
        if "gateway" in process.name:
            process.wait_until(self._is_ready, timeout_s=WAIT_S_MAX)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """An answer of the API."""
        return plain_http.ask("GET", f"http://127.0.0.1:{self.port}{path}", params=parameters)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of cloud-ingest to its end."""
        width = {"COLUMNS": "120", "NO_COLOR": "1"}
        return forked_commands.run(
            PROGRAM, *arguments, "--config", str(self.config), within_s=WAIT_S_MAX, environment=width
        )

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        assert len(lines) == 1, name
        return float(lines[0].rpartition(" ")[2])


class Line:
    """A connection of played agents to the broker: sends again what is not acknowledged, as the real agent does."""

    def __init__(self, session: MqttSession) -> None:
        self._session = session
        self._unacknowledged: dict[tuple[int, int], Wire] = {}
        self.refused: dict[int, str] = {}
        self.commands: list[Message] = []

    def received(self, message: Message) -> None:
        self.commands.append(message)
        if b"Lineside/Ack" in message.payload:
            for epoch, (batches, refused) in acknowledged(message.payload).items():
                self.refused |= refused
                for key in list(self._unacknowledged):
                    if key[0] == epoch and (key[1] in batches or key[1] in refused):
                        del self._unacknowledged[key]

    def send(self, *wires: Wire) -> None:
        """Send messages that nobody acknowledges."""
        for wire in wires:
            self._session.publish(Message(wire.topic, wire.payload))

    async def deliver(self, agent: PlayedAgent, *wires: Wire, first: int, within_s: float = WAIT_S_MAX) -> None:
        """Send the batches ``first`` and following of ``agent`` until all are acknowledged."""
        for number, wire in enumerate(wires, first):
            self._unacknowledged[agent.epoch, number] = wire
        async with asyncio.timeout(within_s):
            while self._unacknowledged:
                self.send(*self._unacknowledged.values())
                for _ in range(20):
                    await asyncio.sleep(0.05)
                    if not self._unacknowledged:
                        break


@asynccontextmanager
async def line(broker: str) -> AsyncIterator[Line]:
    """A line that is connected to the broker."""
    session = MqttSession(MqttOptions("played-agents"))
    made = Line(session)
    await session.connect(broker, None, made.received)
    await session.subscribe([(f"spBv1.0/+/{Verb.NCMD.value}/+", 0), (f"spBv1.0/+/{Verb.DCMD.value}/+/+", 0)])
    try:
        yield made
    finally:
        await session.disconnect()


async def eventually(
    condition: Callable[[], object | Coroutine[Any, Any, object]], within_s: float = WAIT_S_MAX
) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(within_s):
        while True:
            began_s = time.monotonic()
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(pause_s(time.monotonic() - began_s, 0.05))
