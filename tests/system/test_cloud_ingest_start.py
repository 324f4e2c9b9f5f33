"""What ``cloud-ingest`` says when it cannot start, or waits: one sentence each, in log, commands and API."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from tests.patience import WAIT_S_MAX
from tests.system.cloud_process import Cloud


@pytest.fixture
def cloud(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Cloud:
    return Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)


def change(cloud: Cloud, section: str, **settings: Any) -> None:
    """Change settings in a section of the configuration."""
    document = json.loads(cloud.config.read_text())
    document[section].update(settings)
    cloud.config.write_text(json.dumps(document))


def logged(process: ChildProcess, event: str) -> list[dict[str, Any]]:
    """What a process has said of one kind of event."""
    return [line for line in map(json.loads, process.log_lines()) if line["event"] == event]


def test_a_database_that_is_missing_is_named_wherever_somebody_looks(cloud: Cloud) -> None:
    change(cloud, "database", name="nowhere")
    for command in (["migrate"], ["ledger"], ["query", "1"]):
        done = cloud.command(*command)
        assert (done.returncode, done.stdout) == (3, ""), command
        assert done.stderr.endswith(
            " has no database 'nowhere'. An administrator makes it with: CREATE DATABASE nowhere OWNER lineside;\n"
        )
    process = cloud.process()
    try:
        process.wait_until(lambda: bool(logged(process, "store_waiting")), timeout_s=WAIT_S_MAX)
        waiting = logged(process, "store_waiting")[0]
        assert (waiting["task"], waiting["level"]) == ("start", "warning")
        assert waiting["reason"] == done.stderr.strip()
        answer = cloud.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, done.stderr.strip())
    finally:
        process.kill()


def test_a_broker_that_is_away_is_named_in_the_log_and_the_api_answers(cloud: Cloud) -> None:
    change(cloud, "ingest", brokers=["mqtt://127.0.0.1:1"])
    process = cloud.process()
    try:
        process.wait_until(lambda: bool(logged(process, "host_lost")), timeout_s=WAIT_S_MAX)
        lost = logged(process, "host_lost")[0]
        assert lost["broker"] == "mqtt://127.0.0.1:1"
        assert "mqtt://127.0.0.1:1 cannot be reached" in lost["reason"]
        answer = cloud.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["reason"] == f"ingest: {lost['reason']}"
        assert cloud.get("/api/v1/agents").json() == []
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("roles", "section"), [("ingest,gateway", "gateway"), ("historian", "metrics")])
def test_a_port_that_is_taken_ends_the_start_with_one_sentence(cloud: Cloud, roles: str, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        change(cloud, "gateway", port=port)
        change(cloud, "observability", metrics={"port": port})
        done = cloud.command("run", "--roles", roles)
    assert done.returncode == 1
    *events, said = done.stderr.splitlines()
    assert said.startswith(f"'{section}' cannot listen at 127.0.0.1:{port}: another program has the port")
    assert [json.loads(line)["event"] for line in events] == ["cloud_started", "port_waiting", "cloud_stopped"]


def test_a_file_that_is_missing_is_named_before_anything_is_connected(cloud: Cloud) -> None:
    change(cloud, "ingest", ca_file="brokers.pem")
    expected = "'ca_file' of 'ingest': the file '" + str(cloud.folder / "brokers.pem") + "' cannot be read"
    for command in (["check"], ["run"], ["run", "--roles", "ingest"]):
        done = cloud.command(*command)
        assert (done.returncode, done.stdout) == (1, ""), command
        assert done.stderr.startswith(f"{cloud.config}:1:")
        assert expected in done.stderr
    assert cloud.command("migrate").returncode == 0, "who asks the database needs no file of the broker"
