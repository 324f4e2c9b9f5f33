"""The driver of docs/how-to/write-a-driver.md, as a package of others: it passes the contract, and an agent runs it."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess
from tests.system.sparkplug_host import PlayedHost, until

EXAMPLE = Path(__file__).parents[2] / "docs" / "how-to" / "http-driver"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example with its entry point, as an installer would leave it, for every program that is started."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"lineside_http-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (points,) = project["entry-points"].items()
    entries = "".join(f"{name} = {value}\n" for name, value in points[1].items())
    (info / "entry_points.txt").write_text(f"[{points[0]}]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", f"{info.parent}{os.pathsep}{EXAMPLE}")
    return info


def test_the_example_passes_the_contract_of_drivers_with_pytest_alone(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(tmp_path), str(EXAMPLE / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_an_agent_reads_a_device_by_it_and_without_it_the_check_says_what_is_missing(
    installed: Path, folder: Path, mosquitto: MosquittoBroker
) -> None:
    document: dict[str, Any] = {"oven": {"zones": [{"temperature": 181.5}]}, "ready": True}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_args: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    devices = (
        f"  - name: oven\n    driver: http\n    endpoint: http://127.0.0.1:{server.server_port}/\n    poll: 50ms\n"
        "    tags:\n      - {name: zone, at: /oven/zones/0/temperature, unit: °C}\n"
        "      - {name: ready, at: /ready, type: bool}\n      - {name: door, at: /door}\n"
    )
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder / "agent", mosquitto, devices)
    try:
        agent.start()
        until(lambda: host.values("oven", "zone") == [181.5] * len(host.values("oven", "zone")) != [])
        document["oven"]["zones"][0]["temperature"] = 190.25
        until(lambda: host.values("oven", "zone")[-1:] == [190.25])
        assert host.values("oven", "ready")[0] is True
        status = agent.command("status", "--json").json["devices"][0]
        assert [problem["reason"] for problem in status["problems"]] == ["there is no /door in the document"]
        server.shutdown()
        server.server_close()
        until(lambda: host.of("DDEATH", device="oven"))
        until(lambda: "cannot be reached" in agent.command("status").out)
    finally:
        agent.stop()
        host.close()
        server.shutdown()
        server.server_close()
    listed = subprocess.run([EDGE_AGENT, "drivers"], capture_output=True, text=True, check=False)
    assert ["http", "lineside-http", "1.0.0"] in [line.split() for line in listed.stdout.splitlines()]
    assert listed.returncode == 0
    (installed / "entry_points.txt").unlink()
    said = agent.command("check")
    assert said.code == 1
    assert "there is no driver 'http' for device 'oven'" in said.err
