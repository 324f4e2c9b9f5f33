"""``edge-modbus``: 1,000 float32 in 16 blocks at 10 Hz → outbox (durability full) → MQTT, in fields per CPU-second.

A read carries 125 registers at most, and no value is divided between two reads: 16 blocks hold 62 values each, and the
last 8 of the thousand take one short read more. The unit is libmodbus, in C, and changes every register between two
polls, so that every field is reported. The load is put on the agent once, four and ten times, as so many units, with 16
requests on the wire at once (the goal) and with one (for units and gateways that allow no more). Of several runs the
median counts.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import EdgeLoad, agent_file, measure_agent
from benchmarks.processes import python
from benchmarks.report import Figure, report
from tests.servers.modbus import ModbusServer

FIELDS = 1000
FIELDS_PER_BLOCK = 62
BLOCK_STRIDE = 200
SECONDS = 15.0
RUNS = 3
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
            server.command(f"count holding 0 {FIELDS // FIELDS_PER_BLOCK * BLOCK_STRIDE + 2 * FIELDS_PER_BLOCK} 50")
        for in_flight, goal in ((16, GOAL), (1, None)):
            for units in (1, 4, 10):
                devices = "".join(
                    _device(f"oven{number}", server.endpoint, in_flight)
                    for number, server in enumerate(servers[:units])
                )
                load = _median_load(folder / f"{units}-{in_flight}", broker.url, devices)
                plural = "" if units == 1 else "s"
                title = f"in_flight {in_flight}: {units} unit{plural}, {units * FIELDS:,} float32 at 10 Hz"
                figures.append(Figure(title, load.per_cpu_s, "fields/CPU-s", goal))
                figures.append(Figure(f"{title}: rate", load.per_s, "fields/s"))
    report("edge-modbus", figures)


def _median_load(folder: Path, broker: str, devices: str) -> EdgeLoad:
    loads = []
    for number in range(RUNS):
        run = folder / str(number)
        run.mkdir(parents=True)
        loads.append(measure_agent(agent_file(run, broker, devices), run, SECONDS))
    return sorted(loads, key=lambda load: load.per_cpu_s)[RUNS // 2]


def _device(name: str, endpoint: str, in_flight: int) -> str:
    lines = [f"  - name: {name}", "    driver: modbus", f"    endpoint: {endpoint}", "    poll: 100ms"]
    lines += [f"    in_flight: {in_flight}", "    tags:"]
    for field in range(FIELDS):
        block, place = divmod(field, FIELDS_PER_BLOCK)
        address = block * BLOCK_STRIDE + 2 * place
        lines.append(f"      - {{name: t{field}, at: holding {address}, type: float32}}")
    return "\n".join(lines) + "\n"
