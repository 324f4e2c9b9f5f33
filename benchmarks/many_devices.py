"""``many-devices``: 100 devices of 100 tags on one agent; what becomes of the others when one is dead.

Each device is a unit of libmodbus of its own, polled five times a second; its first register goes up at each read, so
that each poll gives a sample whose source time is that of the poll. The interval between two polls of a device is taken
from what arrives at the host, over all devices but one, which is there first, then ended (nothing listens), then frozen
(connected and silent).
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file
from benchmarks.processes import BIN, Program
from benchmarks.report import Figure, report
from tests.servers.modbus import ModbusServer
from tests.system.sparkplug_host import PlayedHost

DEVICES, TAGS = 100, 100
POLL_MS = 200
SECONDS = 20.0
SETTLE_S = 5.0
RATIO_MAX = 1.1
DEAD = "unit0"


def main() -> None:
    """Measure with all devices, with one that is gone, and with one that is silent."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = MosquittoBroker(folder / "mosquitto")
        broker.start()
        stack.callback(broker.stop)
        host = PlayedHost(broker.port, "bench", "agent")
        stack.callback(host.close)
        servers = [stack.enter_context(ModbusServer()) for _ in range(DEVICES)]
        for server in servers:
            server.command("count holding 0 0 read")
        devices = "".join(_device(f"unit{number}", server.endpoint) for number, server in enumerate(servers))
        config = agent_file(folder, broker.url, devices)
        agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], folder / "agent.log")
        stack.callback(agent.stop)
        agent.wait_until(lambda: len({seen.device for seen in host.of("DDATA")}) == DEVICES, "read all devices", 60.0)
        before, cpu_s = _intervals_ms(agent, host)
        servers[0].kill()
        gone, _ = _intervals_ms(agent, host)
        servers[0].start()
        servers[0].command("count holding 0 0 read")
        time.sleep(SETTLE_S)
        os.kill(servers[0].pid, signal.SIGSTOP)
        silent, _ = _intervals_ms(agent, host)
        os.kill(servers[0].pid, signal.SIGCONT)
        memory_mb = agent.resident_mb()
    figures = [
        Figure("100 devices of 100 tags at 5 Hz: p99 of the interval", before, "ms"),
        Figure("the same, one device gone", gone, "ms"),
        Figure("the same, one device silent", silent, "ms"),
        Figure("one device gone: p99 against before", gone / before, "", RATIO_MAX, False),
        Figure("one device silent: p99 against before", silent / before, "", RATIO_MAX, False),
        Figure("CPU of the agent", 100 * cpu_s / SECONDS, "% of a core"),
        Figure("memory of the agent", memory_mb, "MB"),
    ]
    report("many-devices", figures)


def _intervals_ms(agent: Program, host: PlayedHost) -> tuple[float, float]:
    """The p99 of the others' intervals over some time, and the CPU time of the agent."""
    time.sleep(SETTLE_S)
    begun, cpu_s = len(host.seen), agent.cpu_s()
    time.sleep(SECONDS)
    cpu_s = agent.cpu_s() - cpu_s
    times: dict[str, list[int]] = {}
    for seen in host.seen[begun:]:
        if seen.verb == "DDATA" and not seen.is_preview:
            found = {metric.timestamp for metric in seen.payload.metrics if not metric.name}
            times.setdefault(seen.device, []).extend(found)
    return float(np.percentile(_differences(times), 99)), cpu_s


def _differences(times: Mapping[str, list[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    others = [np.diff(np.unique(found)) for device, found in times.items() if device != DEAD]
    if len(others) < DEVICES - 1:
        raise SystemExit(f"only {len(others)} of the others were read")
    return np.concatenate(others)


def _device(name: str, endpoint: str) -> str:
    lines = [f"  - name: {name}", "    driver: modbus", f"    endpoint: {endpoint}", f"    poll: {POLL_MS}ms"]
    lines += ["    timeout: 500ms", "    tags:"]
    lines += [f"      - {{name: t{tag}, at: holding {tag}}}" for tag in range(TAGS)]
    return "\n".join(lines) + "\n"
