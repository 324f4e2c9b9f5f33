"""``edge-modbus``: 1,000 float32 in 16 blocks at 10 Hz → outbox (durability full) → MQTT, in fields per CPU-second.

The unit is libmodbus, in C, and changes every register between two polls, so that every field is reported. The same
load is then put on the agent four and ten times, as so many units.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file, measure_agent
from benchmarks.processes import python
from benchmarks.report import Figure, report
from tests.servers.modbus import ModbusServer

FIELDS = 1000
BLOCKS = 16
BLOCK_STRIDE = 200
SECONDS = 15.0
GOAL = 500_000.0


def main() -> None:
    """Run all loads."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = MosquittoBroker(folder / "mosquitto")
        broker.start()
        stack.callback(broker.stop)
        host = python("benchmarks.acknowledging_host", broker.url, log=folder / "host.log")
        stack.callback(host.stop)
        host.wait_for("ready")
        servers = [stack.enter_context(ModbusServer()) for _ in range(10)]
        for server in servers:
            server.command(f"count holding 0 {BLOCKS * BLOCK_STRIDE} 50")
        for units in (1, 4, 10):
            run = folder / str(units)
            run.mkdir()
            devices = "".join(
                _device(f"oven{number}", server.endpoint) for number, server in enumerate(servers[:units])
            )
            load = measure_agent(agent_file(run, broker.url, devices), run, SECONDS)
            title = f"{units} unit{'s' if units > 1 else ''}, {units * FIELDS:,} float32 at 10 Hz"
            figures.append(Figure(title, load.per_cpu_s, "fields/CPU-s", GOAL))
            figures.append(Figure(f"{title}: rate", load.per_s, "fields/s"))
    report("edge-modbus", figures)


def _device(name: str, endpoint: str) -> str:
    lines = [f"  - name: {name}", "    driver: modbus", f"    endpoint: {endpoint}", "    poll: 100ms", "    tags:"]
    for field in range(FIELDS):
        block, place = field % BLOCKS, field // BLOCKS
        address = block * BLOCK_STRIDE + 2 * place
        lines.append(f"      - {{name: t{field}, at: holding {address}, type: float32}}")
    return "\n".join(lines) + "\n"
