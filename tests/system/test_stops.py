"""A stop is one whatever a program is waiting for: here everything that it connects to accepts, and says nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess, oven

STOP_S_MAX: Final = 8.0
"""Nothing of it waits for an answer: a name lookup, a TLS handshake and a login alone would take ten and more."""
LOOK_S: Final = 0.05
ROLES: Final = "ingest,historian,commands,lines,inventory,catalog,integrations,orders,analytics,gateway"


class Silent:
    """A server that takes every connection and never says a word."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.taken: list[socket.socket] = []
        self._taking = threading.Thread(target=self._take, daemon=True)
        self._taking.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self._listening.accept()[0])

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # else it may take one more connection, which nobody would close
        self._taking.join(WAIT_S_MAX)
        self._listening.close()
        for one in self.taken:
            one.close()


@pytest.fixture
def silent() -> Iterator[Callable[[], Silent]]:
    made: list[Silent] = []

    def make() -> Silent:
        made.append(Silent())
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask_to_end(process: ChildProcess) -> None:
    """Stop it (SIGTERM), and kill it when it has not ended after ``STOP_S_MAX``.

    Time in which the machine stands still, and this process with it, does not count.
    """
    process.send(signal.SIGTERM)
    passed_s = 0.0
    while process.running and passed_s < STOP_S_MAX:
        began_s = time.monotonic()
        time.sleep(LOOK_S)
        passed_s += min(time.monotonic() - began_s, 2 * LOOK_S)
    process.kill()


def stopped(process: ChildProcess, *asked: Silent) -> int:
    """The exit code of a process that is stopped when it waits for each of ``asked``."""
    try:
        process.wait_until(lambda: all(one.taken for one in asked), timeout_s=WAIT_S_MAX)
        ask_to_end(process)
    finally:
        process.kill()
    assert process._process is not None
    return int(process._process.returncode)


def test_an_agent_ends_while_broker_and_machines_say_nothing(tmp_path: Path, silent: Callable[[], Silent]) -> None:
    broker, press, oven = silent(), silent(), silent()
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"agent: {{group: plant, name: line, data_dir: {tmp_path}/data}}\n"
        f"uplink: {{brokers: ['mqtts://127.0.0.1:{broker.port}']}}\n"
        "devices:\n"
        f"  - {{name: press, driver: opcua, endpoint: 'opc.tcp://127.0.0.1:{press.port}', insecure: true, timeout: 30s,"
        " tags: [{name: force, at: 'ns=2;s=force'}]}\n"
        f"  - {{name: oven, driver: modbus, endpoint: 'tcp://127.0.0.1:{oven.port}', timeout: 30s,"
        " tags: [{name: zone, at: holding 0}]}\n"
    )
    process = ChildProcess("edge-agent", tmp_path / "agent.log")
    process.launch([EDGE_AGENT, "run", "-c", str(config)])
    assert stopped(process, broker, press, oven) == 0, process.log_tail()
    assert '"agent_stopped"' in process.log()


def test_a_cloud_process_ends_while_its_database_says_nothing(tmp_path: Path, silent: Callable[[], Silent]) -> None:
    database = silent()
    cloud = Cloud(
        tmp_path / "cloud", "mqtt://127.0.0.1:1", f"postgresql://lineside:x@127.0.0.1:{database.port}/lineside"
    )
    process = cloud.process(ROLES)
    assert stopped(process, database) == 0, process.log_tail()


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_a_cloud_process_ends_while_its_broker_says_nothing(
    tmp_path: Path, database_dsn: str, silent: Callable[[], Silent], scheme: str
) -> None:
    broker = silent()
    cloud = Cloud(tmp_path / "cloud", f"{scheme}://127.0.0.1:{broker.port}", database_dsn)
    process = cloud.process("ingest,historian,gateway")
    assert stopped(process, broker) == 0, process.log_tail()


def test_a_cloud_process_ends_while_kafka_says_nothing(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, silent: Callable[[], Silent]
) -> None:
    kafka = silent()
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn, kafka=f"127.0.0.1:{kafka.port}")
    process = cloud.process("ingest,historian,gateway")
    assert stopped(process, kafka) == 0, process.log_tail()


@pytest.mark.slow
@pytest.mark.parametrize("before_s", [0.0, 0.3])
def test_a_cloud_process_ends_together_with_its_servers(
    tmp_path: Path,
    mosquitto: MosquittoBroker,
    postgres_server: PostgresServer,
    database_dsn: str,
    before_s: float,
) -> None:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    process = cloud.process(ROLES)
    try:
        cloud.wait_ready(process)
        postgres_server.kill()
        mosquitto.kill()
        time.sleep(before_s)  # what was lost is being closed
        ask_to_end(process)
    finally:
        process.kill()
        postgres_server.start()
        mosquitto.start()
    assert process._process is not None
    assert process._process.returncode == 0, process.log_tail()
    events = [json.loads(line)["event"] for line in process.log().splitlines() if line.startswith("{")]
    assert events[-1] == "cloud_stopped"
    assert "fault" not in events, process.log_tail()
    assert "Traceback" not in process.log()


@pytest.mark.parametrize("before_s", [0.0, 0.3])
def test_an_agent_ends_together_with_broker_and_machine(
    tmp_path: Path, mosquitto: MosquittoBroker, before_s: float
) -> None:
    with ModbusServer() as unit:
        agent = AgentProcess(tmp_path / "agent", mosquitto, oven(unit))
        agent.start()
        try:
            for event in ("uplink_online", "device_connected"):
                agent.process.wait_until(lambda event=event: bool(agent.events(event)), timeout_s=WAIT_S_MAX)
            mosquitto.kill()
            unit.kill()
            time.sleep(before_s)  # what was lost is being closed
            ask_to_end(agent.process)
            assert agent.stop() == 0, agent.process.log_tail()
        finally:
            agent.kill()
            mosquitto.start()
    (ended,) = agent.events("agent_stopped")
    assert ended["samples_lost"] == 0
    assert agent.events("fault") == []
