"""``command-fleet``: 1,000 commands to 100 agents at once, none lost and none doubled.

Each agent is a whole one, with outbox and journal on disk (durability full) and a real Modbus device; they share four
processes. The units (libmodbus) count how often each command was written: each has a register of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.command_latency import quantile
from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.commanded_fleet import Commanded, Fleet
from benchmarks.report import Figure, report

AGENTS: Final = 100
COMMANDS_AN_AGENT: Final = 10


def figures_of(found: Commanded, agents: int, commands: int) -> list[Figure]:
    """All figures."""
    succeeded = sum(course.state == "succeeded" for course in found.courses)
    took_ms = [course.took_ms for course in found.courses]
    once = sum(count == 1 for count in found.writes.values())
    more = sum(count - 1 for count in found.writes.values() if count > 1)
    title = f"{commands:,} commands to {agents} agents"
    return [
        Figure(f"{title}: told as succeeded by the stream", succeeded, "commands", commands),
        Figure(f"{title}: succeeded in the cloud", found.in_cloud["succeeded"], "commands", commands),
        Figure(f"{title}: written exactly once, as the devices count", once, "commands", commands),
        Figure(f"{title}: written again", more, "writes", 0, at_least=False),
        Figure(f"{title}: registers that hold another value", len(found.wrong), "registers", 0, at_least=False),
        Figure(f"{title}: told more than once", len(found.doubled), "commands", 0, at_least=False),
        Figure(f"{title}: rate", commands / found.wall_s, "commands/s"),
        Figure(f"{title}: POST to result, p50", quantile(took_ms, 0.5), "ms"),
        Figure(f"{title}: POST to result, p99", quantile(took_ms, 0.99), "ms"),
        Figure(f"{title}: resident memory for each agent", found.resident_mb / agents, "MB"),
    ]


def main() -> None:
    """Run it."""
    commands = AGENTS * COMMANDS_AN_AGENT
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        cloud = CommandedCloud(Path(name))
        stack.callback(cloud.stop)
        cloud.start()
        fleet = Fleet(Path(name), cloud, stack, AGENTS, COMMANDS_AN_AGENT)
        found = asyncio.run(fleet.command_all())
    report("command-fleet", figures_of(found, AGENTS, commands))
