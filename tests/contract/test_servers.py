"""The servers that tests and the demo start: they serve, restart where they were, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from lineside.servers import postgres
from lineside.servers.child_process import LOOPBACK, ChildProcess, ProgramMissing, ServerNotStarted, free_port
from lineside.servers.iotcore_broker import IotcoreBroker
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer
from lineside.servers.throwaway_authority import IssuedCertificate, ThrowawayAuthority
from paho.mqtt.enums import CallbackAPIVersion

from connectors.postgres.database import open_database
from tests.patience import WAIT_S_MAX


class MqttClient:
    """Enough of a client to see that a broker works. MQTT 5."""

    def __init__(self, port: int, authority: ThrowawayAuthority | None = None, own: IssuedCertificate | None = None):
        self.messages: list[bytes] = []
        self._events: dict[str, threading.Event] = {"connect": threading.Event(), "subscribe": threading.Event()}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda *_: self._events["connect"].set()
        self._client.on_subscribe = lambda *_: self._events["subscribe"].set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(bytes(message.payload))
        if authority is not None and own is not None:
            self._client.tls_set(str(authority.certificate), str(own.certificate), str(own.key))
        self._client.connect(LOOPBACK, port)
        self._client.loop_start()
        assert self._events["connect"].wait(WAIT_S_MAX)

    def subscribe(self, pattern: str) -> None:
        self._events["subscribe"].clear()
        self._client.subscribe(pattern, qos=1)
        assert self._events["subscribe"].wait(WAIT_S_MAX)

    def publish(self, topic: str, payload: bytes, **more: Any) -> None:
        self._client.publish(topic, payload, qos=1, **more).wait_for_publish(WAIT_S_MAX)

    def wait_for(self, count: int, within_s: float = WAIT_S_MAX) -> list[bytes]:
        deadline_s = time.monotonic() + within_s
        while len(self.messages) < count and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return self.messages

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(params=[MosquittoBroker, IotcoreBroker])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MosquittoBroker | IotcoreBroker]:
    started: MosquittoBroker | IotcoreBroker = request.param(tmp_path / "broker")
    started.start()
    yield started
    started.stop()


def test_a_broker_carries_messages_and_restarts_on_its_port(broker: MosquittoBroker | IotcoreBroker) -> None:
    for how in (broker.kill, broker.stop):
        listener, sender = MqttClient(broker.port), MqttClient(broker.port)
        listener.subscribe("$share/group/plant/#")
        sender.publish("plant/line", bytes(100_000))
        assert [len(message) for message in listener.wait_for(1)] == [100_000]
        listener.close()
        sender.close()
        how()
        assert not broker.running
        with socket.socket() as probe:
            assert probe.connect_ex((LOOPBACK, broker.port)) != 0
        broker.start()


def test_a_broker_listens_on_the_loopback_interface_only(broker: MosquittoBroker | IotcoreBroker) -> None:
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if int(port, 16) == broker.port and line.split()[3] == "0A":
                listening.append(address)
    assert listening == ["0100007F"]


def test_a_port_in_use_is_said(broker: MosquittoBroker | IotcoreBroker, tmp_path: Path) -> None:
    with pytest.raises(ServerNotStarted, match=f"port {broker.port} is in use"):
        MosquittoBroker(tmp_path / "second", port=broker.port).start()


def test_mosquitto_knows_clients_by_their_certificates(tmp_path: Path) -> None:
    authority = ThrowawayAuthority(tmp_path / "authority")
    broker = MosquittoBroker(
        tmp_path / "broker", authority=authority, access_list=["pattern readwrite %u/#", "user host", "topic #"]
    )
    broker.start()
    try:
        assert broker.url == f"mqtts://{LOOPBACK}:{broker.port}"
        host = MqttClient(broker.port, authority, authority.issue("host"))
        agent = MqttClient(broker.port, authority, authority.issue("plant"))
        host.subscribe("#")
        agent.publish("other/line", b"not allowed")
        agent.publish("plant/line", b"allowed")
        assert host.wait_for(1) == [b"allowed"]
        host.close()
        agent.close()
        strangers = ThrowawayAuthority(tmp_path / "strangers").issue("host")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        for certificate in (None, strangers):
            if certificate is not None:
                context.load_cert_chain(certificate.certificate, certificate.key)
            with (
                socket.create_connection((LOOPBACK, broker.port)) as raw,
                context.wrap_socket(raw, server_hostname=LOOPBACK) as secured,
                pytest.raises(ssl.SSLError),
            ):
                secured.recv(1)
    finally:
        broker.stop()


def test_a_persistent_mosquitto_keeps_retained_messages_over_a_stop(tmp_path: Path) -> None:
    broker = MosquittoBroker(tmp_path / "broker", persistent=True)
    broker.start()
    try:
        client = MqttClient(broker.port)
        client.publish("state", b"online", retain=True)
        client.close()
        broker.stop()
        broker.start()
        client = MqttClient(broker.port)
        client.subscribe("state")
        assert client.wait_for(1) == [b"online"]
        client.close()
    finally:
        broker.stop()


async def test_postgres_asks_for_the_password_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    server = PostgresServer(folder)
    server.start()
    try:
        server.create_database("plant")
        server.stop()
        again = PostgresServer(folder, port=server.port)
        again.start()
        try:
            database = await open_database(again.dsn("plant"), connections_max=1, application_name="tests")
            await database.close()
            wrong = again.dsn("plant").replace(":" + again.dsn("").split(":")[2].split("@")[0], ":wrong")
            with pytest.raises(Exception, match="refuses the password of the user 'lineside'"):
                await open_database(wrong, connections_max=1, application_name="tests")
        finally:
            again.stop()
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
    finally:
        server.stop()


def test_postgres_never_runs_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without user namespaces; a user other than root starts it as he is."""
    monkeypatch.setattr(postgres, "user_namespace", lambda: ())
    folder = Path(tempfile.mkdtemp(prefix="lineside-"))
    folder.chmod(0o711)
    server = PostgresServer(folder / "postgres")
    try:
        server.start()
        expected = 65_534 if os.geteuid() == 0 else os.geteuid()
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == expected
        server.create_database("plant")
        server.kill()
        server.start()
    finally:
        server.stop()
        shutil.rmtree(folder)


def test_a_server_that_was_frozen_and_killed_or_stopped_starts_again(tmp_path: Path) -> None:
    """A backend that stays frozen would hold the shared memory of the dead server for ever."""
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    try:
        server.create_database("plant")
        for end in (server.kill, server.stop):
            server.pause()
            end()
            server.start()
        server.ensure_database("plant")
    finally:
        server.stop()


def test_a_child_that_ended_while_its_parent_was_frozen_keeps_no_other_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = ChildProcess("parent", tmp_path / "log")
    parent.start(["sh", "-c", "sleep 60 & sleep 60 & wait"], lambda: len(parent._children()) == 2, timeout_s=WAIT_S_MAX)
    try:
        alive_before = parent._children()
        gone = subprocess.Popen(["true"])
        gone.wait()
        parent.pause()
        monkeypatch.setattr(parent, "_children", lambda: [gone.pid, *alive_before])
        parent.resume()
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in alive_before]
        assert "T" not in states
    finally:
        parent.kill()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerNotStarted, match="no_such_parameter"):
        PostgresServer(tmp_path / "postgres", settings={"no_such_parameter": "1"}).start()
    with pytest.raises(ServerNotStarted, match="ended with code"):
        MosquittoBroker(tmp_path / "broker", options=["no_such_option"]).start()


def test_a_missing_program_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(ProgramMissing, match="mosquitto is not installed; apt-get install mosquitto"):
        MosquittoBroker(tmp_path / "broker")


_STARTER = """
import sys, time
from pathlib import Path
from lineside.servers.iotcore_broker import IotcoreBroker
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

folder = Path(sys.argv[1])
servers = [MosquittoBroker(folder / "1"), IotcoreBroker(folder / "2"), PostgresServer(folder / "3")]
for server in servers:
    server.start()
print(*(server.process.pid for server in servers), flush=True)
time.sleep(60)
"""


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", _STARTER, str(tmp_path)], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    assert len(pids) == 3
    assert all(alive(pid) for pid in pids)
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    deadline_s = time.monotonic() + 5.0
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether a process runs (one that ended, and that nobody has waited for, does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_free_ports_are_free_and_outside_of_the_range_for_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(20):
        port = free_port()
        assert port < lowest
        with socket.socket() as probe:
            probe.bind((LOOPBACK, port))


_ASKER = """
from lineside.servers.child_process import free_port

print(*(free_port() for _ in range(150)), flush=True)
input()
"""


def test_a_port_is_given_to_one_process_alone_before_its_server_listens_too() -> None:
    asked = [
        subprocess.Popen([sys.executable, "-c", _ASKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    given = [free_port() for _ in range(150)]
    for process in asked:
        assert process.stdout is not None
        given += map(int, process.stdout.readline().split())
    for process in asked:
        process.communicate(b"\n")
    assert len(given) == len(set(given)) == 600
