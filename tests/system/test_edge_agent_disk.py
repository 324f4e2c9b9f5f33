"""A real agent on a real disk that is full, read-only, damaged, or has lost a file: it stays, and says what is gone."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess, Said, press
from tests.system.small_disk import SmallDisk, small_disk
from tests.system.sparkplug_host import PlayedHost, until
from tests.system.test_edge_agent import samples_on_disk

MEGABYTE = 1_000_000


class DiskAgent(AgentProcess):
    """An agent whose data are on a disk of its own; its socket is not, so that it can always be asked."""

    def __init__(self, folder: Path, broker: MosquittoBroker, devices: str, disk: SmallDisk) -> None:
        super().__init__(folder, broker, devices)
        self._disk = disk
        self.socket = folder / "agent.sock"
        own = f"local_api: {{socket: '{self.socket}'}}\ndevices:\n"
        bounds = "{free_disk_min: 1MB, ballast: 4MB, commit"
        self.config.write_text(self.config.read_text().replace("{commit", bounds).replace("devices:\n", own))

    def start(self) -> None:
        self.process.start(
            [EDGE_AGENT, "run", "-c", str(self.config)],
            self.socket.exists,
            timeout_s=WAIT_S_MAX,
            wrapper=self._disk.wrapper,
        )

    def kill(self) -> None:
        self.process.kill()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def disk(folder: Path) -> Iterator[SmallDisk]:
    with small_disk(folder / "data", 48 * MEGABYTE) as made:
        yield made


@pytest.fixture
def host(mosquitto: MosquittoBroker) -> Iterator[PlayedHost]:
    played = PlayedHost(mosquitto.port)
    yield played
    played.close()


def gaps(host: PlayedHost) -> list[dict[str, Any]]:
    """The gap records that have come, each once."""
    records = {(s.epoch, s.batch): s.named("Lineside/Gap") for s in host.of("NDATA")}
    return [json.loads(record) for record in records.values() if record]


def blocked(agent: AgentProcess) -> Said | None:
    """What ``status`` says while the outbox takes nothing."""
    said = agent.command("status")
    return said if re.search(r"BLOCKED, \d+ samples? in memory: the outbox", words_of(said)) else None


def words_of(said: Said) -> str:
    """What was said, as it is before it is wrapped."""
    return " ".join(said.out.split())


def test_a_disk_that_another_file_fills_stops_nothing_and_is_said_until_there_is_room(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer, disk: SmallDisk, host: PlayedHost
) -> None:
    opcua_server.add("force", "Int32", 0)
    numbers = itertools.count(1)

    def count_up(times: int) -> int:
        for _ in range(times):
            last = next(numbers)
            opcua_server.write("force", "Int32", last)
            time.sleep(0.01)
        return last

    agent = DiskAgent(folder, mosquitto, press(opcua_server, "force"), disk)
    agent.start()
    try:
        until(lambda: host.values("press", "force") == [0])
        pid = agent.process.pid

        def fill_more() -> Said | None:
            disk.fill()
            count_up(20)
            return blocked(agent)

        said = until(fill_more)
        assert "disk is full" in words_of(said)
        until(lambda: agent.events("outbox_blocked"))
        disk.free()
        until(lambda: agent.events("outbox_recovered"))
        last = count_up(20)
        until(lambda: host.values("press", "force")[-1:] == [last])
        until(lambda: agent.command("status").code == 0)
        assert agent.process.pid == pid
        arrived = host.values("press", "force")
        assert arrived == sorted(set(arrived))
        if missing := set(range(last + 1)) - set(arrived):
            assert {gap["reason"] for gap in gaps(host)} & {"disk_full", "device_overflow"}, missing
    finally:
        assert agent.stop() == 0


def test_an_agent_starts_on_a_disk_that_is_full_or_read_only_as_soon_as_it_works(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer, disk: SmallDisk, host: PlayedHost
) -> None:
    opcua_server.add("force", "Int32", 7)
    agent = DiskAgent(folder, mosquitto, press(opcua_server, "force"), disk)
    disk.fill()
    agent.start()
    try:
        (waiting, *_) = until(lambda: agent.events("outbox_not_opened"))
        assert "data" in waiting["reason"]
        status = agent.command("status", "--json")
        assert (status.code, bool(status.json["waiting_for_outbox"])) == (1, True)
        assert "NOT OPEN: " in agent.command("status").out
        assert "acquires nothing yet" in agent.command("tags").err
        assert host.of("NBIRTH") == []
        disk.free()
        until(lambda: host.values("press", "force") == [7])
        assert [event["event"] for event in agent.events("outbox_recovered")] == ["outbox_recovered"]
        assert agent.stop() == 0

        disk.remount(read_only=True)
        agent.start()
        until(lambda: agent.events("outbox_not_opened"))
        assert "ead-only" in agent.command("status").out
        disk.remount(read_only=False)
        until(lambda: len(host.of("NBIRTH")) == 2)
        opcua_server.write("force", "Int32", 8)
        until(lambda: host.values("press", "force")[-1:] == [8])
        assert agent.stop() == 0

        disk.remount(read_only=True)
        agent.start()
        until(lambda: agent.events("outbox_not_opened"))
    finally:
        assert agent.stop() == 0, "an agent that waits can be stopped"


def stopped_with_a_backlog(agent: AgentProcess, host: PlayedHost, server: OpcUaServer) -> Path:
    """The agent is killed while batches wait that nobody has seen; the path of its outbox."""
    agent.start()
    until(lambda: host.values("press", "force") == [0])
    host.acknowledges = False
    for number in range(1, 31):
        server.write("force", "Int32", number)
        time.sleep(0.02)
    path = agent.folder / "data" / "outbox.db"
    until(lambda: 30 in samples_on_disk(path))
    agent.kill()
    return path


def goes_on(agent: AgentProcess, host: PlayedHost, server: OpcUaServer) -> None:
    """The next start delivers what it has, and new samples, none of which is taken for one that came before."""
    host.acknowledges = True
    agent.start()
    server.write("force", "Int32", 1000)
    until(lambda: 1000 in host.values("press", "force"))
    until(lambda: agent.command("buffer", "list", "--json").json == [])
    epochs = {seen.epoch for seen in host.of("NBIRTH")}
    assert len(epochs) == 2
    contents: dict[tuple[str, int], list[Any]] = {}
    for seen in host.of("NDATA", "DDATA"):
        content = [
            (
                metric.name or metric.alias,
                getattr(metric, str(metric.WhichOneof("value"))),
                metric.name or metric.timestamp,
            )
            for metric in seen.payload.metrics
        ]
        key = (seen.epoch, seen.batch)
        assert contents.setdefault(key, content) == content, f"two batches have the number {key}"


def test_a_lost_write_ahead_log_is_declared_and_nothing_new_is_taken_for_a_duplicate(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer, host: PlayedHost
) -> None:
    opcua_server.add("force", "Int32", 0)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    try:
        path = stopped_with_a_backlog(agent, host, opcua_server)
        first = host.of("NBIRTH")[0].epoch
        path.with_name("outbox.db-wal").unlink()
        goes_on(agent, host, opcua_server)
        assert agent.events("batches_lost")
        named = [gap for gap in gaps(host) if gap["reason"] == "outbox_damaged" and gap["epoch"] == first]
        numbers = {n for gap in named for begin, end in gap["batches"] for n in range(begin, end + 1)}
        seen = {s.batch for s in host.of("NDATA", "DDATA") if s.epoch == first}
        start = json.loads(next(r for s in reversed(host.of("NDATA")) if (r := s.named("Lineside/Epoch Start"))))
        (earlier,) = [each for each in start["earlier"] if each["epoch"] == first]
        assert set(range(earlier["first"], earlier["last"] + 1)) <= numbers | seen
    finally:
        agent.stop()


def test_an_outbox_whose_first_page_is_destroyed_is_salvaged_and_set_aside(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer, host: PlayedHost
) -> None:
    opcua_server.add("force", "Int32", 0)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    try:
        path = stopped_with_a_backlog(agent, host, opcua_server)
        sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        with path.open("r+b") as file:
            file.write(bytes(8192))  # the page that says where everything is
        goes_on(agent, host, opcua_server)
        assert host.values("press", "force")[:31] == list(range(31)), "all of it could be read"
        (salvaged,) = agent.events("outbox_salvaged")
        assert (path.parent / salvaged["set_aside"]).exists()
        assert salvaged["set_aside"] in agent.command("status").out.replace("\n", "").replace(" ", "")
        assert "outbox_damaged" in {gap["reason"] for gap in gaps(host)}
    finally:
        agent.stop()
