"""``edge-memory``: resident memory of an agent with 10,000 tags over ten minutes, and its cold start.

Half of the tags are OPC UA (open62541), half are Modbus (libmodbus), and all change once a second. The OPC UA server is
ended and started again half-way, as servers are. A minute at 10 Hz follows. A cold start is counted from the start of
the process to the first sample on disk; the files are in the page cache, the outbox is new.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file, committed
from benchmarks.processes import BIN, Program, python
from benchmarks.report import Figure, report
from tests.servers.modbus import ModbusServer

NODES, FAN = 1000, 5
UNITS, FIELDS = 5, 1000
RUN_S = 600.0
FAST_S = 60.0
LOOK_EVERY_S = 5.0
WARM_UP_S = 60.0
STARTS = 5
GOAL_MB, GOAL_GROWTH_MB, GOAL_START_S = 120.0, 3.0, 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    folder: Path
    broker: str
    port: int
    units: list[ModbusServer]

    def server(self, hz: float) -> Program:
        """The OPC UA server, running."""
        log = self.folder / "server.log"
        server = python("benchmarks.opcua_server", str(self.port), str(NODES), str(hz), "double", log=log)
        server.wait_for("ready", 60.0)
        return server

    def count_every(self, period_ms: int) -> None:
        """Let every register change so often."""
        for unit in self.units:
            unit.command("count clear")
            unit.command(f"count holding 0 {2 * FIELDS} {period_ms}")

    def agent(self, name: str, poll: str) -> tuple[Program, Path]:
        """A new agent, just started, and its socket."""
        run = self.folder / name
        run.mkdir()
        lines = [
            f"  - {{name: press, driver: opcua, endpoint: 'opc.tcp://127.0.0.1:{self.port}', insecure: true, tags: ["
        ]
        lines += [
            f"      {{name: t{copy}/{node}, at: ns=1;s=T{node}}}," for copy in range(FAN) for node in range(NODES)
        ]
        lines.append("    ]}")
        for number, unit in enumerate(self.units):
            lines.append(
                f"  - {{name: oven{number}, driver: modbus, endpoint: '{unit.endpoint}', poll: {poll}, tags: ["
            )
            lines += [f"      {{name: f{k}, at: holding {2 * k}, type: float32}}," for k in range(FIELDS)]
            lines.append("    ]}")
        config = agent_file(run, self.broker, "\n".join(lines) + "\n")
        agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], run / "agent.log")
        return agent, run / "data" / "agent.sock"


def main() -> None:
    """Measure cold starts, then ten minutes, then a minute at ten times the rate."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = MosquittoBroker(folder / "mosquitto")
        broker.start()
        stack.callback(broker.stop)
        host = python("benchmarks.acknowledging_host", broker.url, log=folder / "host.log")
        stack.callback(host.stop)
        host.wait_for("ready")
        units = [stack.enter_context(ModbusServer()) for _ in range(UNITS)]
        bench = Bench(folder, broker.url, free_port(), units)
        report("edge-memory", [*_starts(bench), *_ten_minutes(bench), *_fast(bench)])


def _starts(bench: Bench) -> list[Figure]:
    bench.count_every(500)
    server = bench.server(1)
    took_s, cpu_s = [], []
    try:
        for number in range(STARTS):
            begun_s = time.monotonic()
            agent, socket = bench.agent(f"start{number}", "1s")
            try:
                agent.wait_until(lambda socket=socket: committed(socket) > 0, "commit a sample")
                took_s.append(time.monotonic() - begun_s)
                cpu_s.append(agent.cpu_s())
            finally:
                agent.stop()
    finally:
        server.stop()
    return [
        Figure(f"cold start to first sample, median of {STARTS}", statistics.median(took_s), "s", GOAL_START_S, False),
        Figure("cold start: CPU time until then, median", statistics.median(cpu_s), "CPU-s"),
    ]


def _ten_minutes(bench: Bench) -> list[Figure]:
    bench.count_every(500)
    resident, samples = _watch(bench, "ten_minutes", "1s", 1, RUN_S)
    settled = resident[int(WARM_UP_S / LOOK_EVERY_S) :]
    tenth = max(1, len(settled) // 10)
    growth = statistics.median(settled[-tenth:]) - statistics.median(settled[:tenth])
    return [
        Figure("10,000 tags at 1 Hz, ten minutes: most resident", max(resident), "MB", GOAL_MB, False),
        Figure("10,000 tags at 1 Hz, ten minutes: growth after the first", growth, "MB", GOAL_GROWTH_MB, False),
        Figure("10,000 tags at 1 Hz, ten minutes: rate", samples / RUN_S, "samples/s"),
    ]


def _fast(bench: Bench) -> list[Figure]:
    bench.count_every(50)
    resident, samples = _watch(bench, "fast", "100ms", 10, FAST_S)
    return [
        Figure("10,000 tags at 10 Hz, one minute: most resident", max(resident), "MB", GOAL_MB, False),
        Figure("10,000 tags at 10 Hz, one minute: rate", samples / FAST_S, "samples/s"),
    ]


def _watch(bench: Bench, name: str, poll: str, hz: float, seconds: float) -> tuple[list[float], int]:
    """Resident memory (MB) every few seconds, and the samples that were committed."""
    server = bench.server(hz)
    resident: list[float] = []
    try:
        agent, socket = bench.agent(name, poll)
        try:
            agent.wait_until(lambda: committed(socket) > 0, "commit a sample")
            end_s = time.monotonic() + seconds
            half_s = end_s - seconds / 2
            while time.monotonic() < end_s:
                time.sleep(LOOK_EVERY_S)
                resident.append(agent.resident_mb())
                if seconds > FAST_S and time.monotonic() > half_s:
                    half_s = end_s
                    server.stop()
                    server = bench.server(hz)
            return resident, committed(socket)
        finally:
            agent.stop()
    finally:
        server.stop()
