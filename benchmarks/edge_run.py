"""One run of the agent under load: started with a configuration, warmed up, then measured."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import BIN, Program
from connectors.model.errors import LinesideError
from edge_agent.local_api.protocol import call

WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class EdgeLoad:
    """What the agent did in the measured time."""

    samples: int
    wall_s: float
    cpu_s: float
    resident_mb: float
    waiting_samples: int

    @property
    def per_cpu_s(self) -> float:
        """Samples on disk for each second of the agent's CPU time."""
        return self.samples / self.cpu_s if self.cpu_s else float("inf")

    @property
    def per_s(self) -> float:
        """Samples on disk for each second of the clock."""
        return self.samples / self.wall_s


def agent_file(folder: Path, broker: str, devices: str, extra: str = "") -> Path:
    """Write the agent's configuration into ``folder``."""
    path = folder / "agent.yaml"
    path.write_text(
        f"agent: {{group: bench, name: agent, data_dir: {folder / 'data'}}}\n"
        f"uplink: {{brokers: ['{broker}'], insecure: true}}\n"
        f"observability: {{log_level: warning}}\n{extra}devices:\n{devices}"
    )
    return path


def measure_agent(config: Path, folder: Path, seconds: float) -> EdgeLoad:
    """Start the agent with ``config``, warm it up, measure it for ``seconds``, stop it."""
    agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], folder / "agent.log")
    socket = folder / "data" / "agent.sock"
    try:
        agent.wait_until(lambda: committed(socket) > 0, "commit a sample", 60.0)
        time.sleep(WARM_UP_S)
        before, cpu_s, started_s = committed(socket), agent.cpu_s(), time.monotonic()
        time.sleep(seconds)
        samples, wall_s, cpu_s = committed(socket) - before, time.monotonic() - started_s, agent.cpu_s() - cpu_s
        status = asyncio.run(call(socket, "status"))
        return EdgeLoad(samples, wall_s, cpu_s, agent.resident_mb(), status["outbox"]["samples"])
    finally:
        agent.stop()


def committed(socket: Path) -> int:
    """How many samples the agent behind ``socket`` has on disk; 0 while it cannot be asked."""
    try:
        answer: Any = asyncio.run(call(socket, "status"))
    except LinesideError:
        return 0
    return int(answer["outbox"]["samples_committed"])
