"""``edge-opcua``: subscription → outbox (durability full) → MQTT, in samples per CPU-second of the agent.

The server is open62541, in C. A node can be monitored under several tag names: that multiplies the load without making
the server the bottleneck. The naive path runs beside it on the same machine in the same run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file, measure_agent
from benchmarks.processes import python
from benchmarks.report import Figure, report

NODES = 1000
HZ = 10
SECONDS = 60.0
"""The kernel counts CPU time in hundredths of a second: this long, it is exact to a percent."""
GOAL_DOUBLES, GOAL_MIXED = 500_000.0, 250_000.0


def main() -> None:
    """Run all loads."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        folder = Path(name)
        broker = MosquittoBroker(folder / "mosquitto")
        broker.start()
        host = python("benchmarks.acknowledging_host", broker.url, log=folder / "host.log")
        host.wait_for("ready")
        try:
            for kind, goal in (("double", GOAL_DOUBLES), ("mixed", GOAL_MIXED)):
                figures += _kind(folder / kind, broker.url, kind, goal)
        finally:
            host.stop()
            broker.stop()
    report("edge-opcua", figures)


def _kind(folder: Path, broker: str, kind: str, goal: float) -> list[Figure]:
    folder.mkdir()
    port = free_port()
    server = python("benchmarks.opcua_server", str(port), str(NODES), str(HZ), kind, log=folder / "server.log")
    server.wait_for("ready", 60.0)
    figures: list[Figure] = []
    try:
        for fan in (1, 5, 10):
            run = folder / str(fan)
            run.mkdir()
            config = agent_file(run, broker, _device(port, fan))
            load = measure_agent(config, run, SECONDS)
            title = f"{kind}, {NODES * fan:,} tags at {HZ} Hz"
            figures.append(Figure(title, load.per_cpu_s, "samples/CPU-s", goal))
            figures.append(Figure(f"{title}: rate", load.per_s, "samples/s"))
        figures.append(
            Figure(f"{kind}, naive path, {NODES:,} tags at {HZ} Hz", _naive(folder, broker, port), "samples/CPU-s")
        )
    finally:
        server.stop()
    return figures


def _device(port: int, fan: int) -> str:
    lines = [
        "  - name: press",
        "    driver: opcua",
        f"    endpoint: opc.tcp://127.0.0.1:{port}",
        "    insecure: true",
        "    tags:",
    ]
    lines += [f"      - {{name: t{copy}/{node}, at: ns=1;s=T{node}}}" for copy in range(fan) for node in range(NODES)]
    return "\n".join(lines) + "\n"


def _naive(folder: Path, broker: str, port: int) -> float:
    program = python("benchmarks.naive_opcua", f"opc.tcp://127.0.0.1:{port}", broker, str(folder), str(NODES),
                     log=folder / "naive.log")  # fmt: skip
    try:
        program.wait_for("ready", 60.0)
        time.sleep(3.0)
        counted, cpu_s = _count(folder), program.cpu_s()
        time.sleep(SECONDS)
        return (_count(folder) - counted) / (program.cpu_s() - cpu_s)
    finally:
        program.stop()


def _count(folder: Path) -> int:
    return int((folder / "naive.count").read_text())
