"""``reload``: 10,000 tags on ten devices that are read all the time; how long ``edge-agent reload`` takes meanwhile.

By the clock, from the question at the socket to its answer: the files are read and checked, compared, and what has
changed is exchanged. With nothing changed, with a deadband, with one device that is connected anew, and with all ten.
The median of several reloads counts.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.edge_run import agent_file, committed
from benchmarks.processes import BIN, Program
from benchmarks.report import Figure, report
from edge_agent.local_api.protocol import call
from tests.servers.modbus import ModbusServer

DEVICES, TAGS = 10, 1000
RUNS = 7
GOAL_S = 1.0


def main() -> None:
    """Reload again and again."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        servers = [stack.enter_context(ModbusServer()) for _ in range(DEVICES)]
        for server in servers:
            server.command(f"count holding 0 {TAGS} 500")
        endpoints = [server.endpoint for server in servers]
        config = agent_file(folder, "mqtt://127.0.0.1:9", _devices(endpoints))
        agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], folder / "agent.log")
        stack.callback(agent.stop)
        socket = folder / "data" / "agent.sock"
        agent.wait_until(lambda: committed(socket) > DEVICES * TAGS, "commit samples of all devices", 60.0)
        cases: dict[str, dict[str, Any]] = {
            "nothing has changed": {},
            "a deadband of one tag": {"deadband": 1},
            "one device of 1,000 tags connected anew": {"anew": 1},
            "all ten devices connected anew": {"anew": DEVICES},
        }
        figures: list[Figure] = []
        for title, change in cases.items():
            took_s, cpu_s = _seconds(agent, socket, folder, endpoints, change)
            figures.append(Figure(f"10,000 tags, {title}", took_s, "s", GOAL_S, False))
            figures.append(Figure(f"10,000 tags, {title}: processor", cpu_s, "s CPU"))
        figures.append(Figure("memory of the agent afterwards", agent.resident_mb(), "MB"))
    report("reload", figures)


def _seconds(
    agent: Program, socket: Path, folder: Path, endpoints: list[str], change: dict[str, int]
) -> tuple[float, float]:
    took: list[float] = []
    cpu: list[float] = []
    for run in range(1, RUNS + 1):
        agent_file(folder, "mqtt://127.0.0.1:9", _devices(endpoints, run, **change))
        begun_s, cpu_s = time.monotonic(), agent.cpu_s()
        answer: Any = asyncio.run(call(socket, "reload"))
        took.append(time.monotonic() - begun_s)
        cpu.append(agent.cpu_s() - cpu_s)
        if not answer["done"]:
            raise SystemExit(f"not reloaded: {answer['reasons']}")
        before = committed(socket)
        agent.wait_until(lambda before=before: committed(socket) > before + DEVICES * TAGS, "read on", 60.0)  # type: ignore[misc]
    return statistics.median(took), statistics.median(cpu)


def _devices(endpoints: list[str], run: int = 0, *, deadband: int = 0, anew: int = 0) -> str:
    """The devices as the ``run``-th change has them; ``anew`` of them are polled at another rate."""
    lines: list[str] = []
    for number, endpoint in enumerate(endpoints):
        poll_ms = 500 + (run if number < anew else 0)
        lines += [
            f"  - name: unit{number}",
            "    driver: modbus",
            f"    endpoint: {endpoint}",
            f"    poll: {poll_ms}ms",
        ]
        lines.append("    tags:")
        for tag in range(TAGS):
            other = f", deadband: {run}" if deadband and number == tag == 0 else ""
            lines.append(f"      - {{name: t{tag}, at: holding {tag}{other}}}")
    return "\n".join(lines) + "\n"
