"""Many agents in one process: ``python -m benchmarks.command_agents CONFIG…``; prints "ready" when all of them run.

Each is a whole agent (outbox, journal, drivers, uplink) as ``edge-agent run`` puts it together, with files of its own.
Only the process is shared, as a hundred of them would need ten gigabytes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from connectors.observability.logs import configure_logs
from connectors.ports.clock import SystemClock
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from edge_agent.main import Agent


async def run(paths: list[Path]) -> None:
    """Run all of them until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    drivers = built_in_drivers()
    agents = [await Agent.assemble(load_config(path, drivers), drivers, SystemClock()) for path in paths]
    async with asyncio.TaskGroup() as tasks:
        for path, agent in zip(paths, agents, strict=True):
            tasks.create_task(agent.run(stop), name=str(path))
        print("ready", flush=True)


if __name__ == "__main__":
    configure_logs("warning", "json")
    asyncio.run(run([Path(word) for word in sys.argv[1:]]))
