"""Agents that are commanded all at once, and what their devices, the stream and the cloud say of it.

A few processes have them all (``command_agents``). Each agent has its registers on a unit of libmodbus, and each
command a register of its own, so that the unit itself counts how often a command was written.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.commanding import Course, commander
from benchmarks.processes import Program, python
from tests.servers.modbus import ModbusServer

AGENTS_A_PROCESS: Final = 25
REMEMBERED: Final = 4096
"""So many requests a unit remembers."""
WRITES: Final = frozenset({5, 6, 15, 16, 22})
WITHIN_S: Final = 180.0
SETTLE_S: Final = 3.0
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Commanded:
    """What has become of all commands."""

    courses: Sequence[Course]
    wall_s: float
    writes: Counter[int]
    """By register: how often its unit has seen it written."""
    wrong: Sequence[int]
    """Registers that do not hold what was commanded."""
    doubled: Sequence[str]
    """Commands of which the stream told an end more than once."""
    in_cloud: Counter[str]
    """By state, the commands that the cloud has."""
    resident_mb: float


class Fleet:
    """``agents`` agents with ``tags`` writable registers each."""

    def __init__(self, folder: Path, cloud: CommandedCloud, stack: ExitStack, agents: int, tags: int) -> None:
        self._cloud = cloud
        self._agents = agents
        self._tags = tags
        self._units: list[ModbusServer] = []
        self._programs: list[Program] = []
        for first in range(0, agents, AGENTS_A_PROCESS):
            unit = stack.enter_context(ModbusServer())
            numbers = range(first, min(first + AGENTS_A_PROCESS, agents))
            configs = [str(self._config(folder / _name(number), number, unit)) for number in numbers]
            program = python("benchmarks.command_agents", *configs, log=folder / f"agents-{first}.log")
            stack.callback(program.stop)
            self._units.append(unit)
            self._programs.append(program)
        for program in self._programs:
            program.wait_for("ready", 120.0)
        cloud.wait_for_tags(agents * tags)
        time.sleep(SETTLE_S)  # they ask the cloud for its time

    def _config(self, folder: Path, number: int, unit: ModbusServer) -> Path:
        folder.mkdir()
        self._cloud.pin_keys(folder / "data")
        lines = [
            f"agent: {{group: fleet, name: {_name(number)}, data_dir: data}}",
            f"uplink: {{brokers: ['{self._cloud.broker.url}'], insecure: true}}",
            "devices:",
            f"  - name: press\n    driver: modbus\n    endpoint: {unit.endpoint}\n    poll: 2s\n    tags:",
        ]
        for tag in range(self._tags):
            place = self._register(number, tag)
            lines.append(f"      - {{name: t{tag}, at: holding {place}, writable: {{min: 0, max: 60000}}}}")
        path = folder / "agent.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _register(self, number: int, tag: int) -> int:
        return number * self._tags + tag

    async def command_all(self) -> Commanded:
        """Command every register once, all at once."""
        for unit in self._units:
            unit.command("reset")
        places = [(number, tag) for number in range(self._agents) for tag in range(self._tags)]
        random.shuffle(places)
        async with commander(self._cloud.url, self._cloud.token, WITHIN_S) as client, asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(
                    client.command(f"fleet/{_name(number)}", "press", f"t{tag}", value, f"{number} {tag}"),
                    name=f"command {value}",
                )
                for number, tag in places
                for value in (1 + self._register(number, tag),)
            ]
        courses = [task.result() for task in asked]
        wall_s = max(course.ended_s for course in courses) - min(course.began_s for course in courses)
        return Commanded(
            courses,
            wall_s,
            self._writes(),
            [place for place in range(len(places)) if self._held(place) != 1 + place],
            client.doubled,
            self._in_cloud(),
            sum(program.resident_mb() for program in self._programs),
        )

    def _writes(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for unit in self._units:
            requests = unit.requests()
            if len(requests) >= REMEMBERED:
                raise SystemExit("a unit has seen more requests than it remembers")
            for _, function, address, count in requests:
                if function in WRITES:
                    found.update(range(address, address + count))
        return found

    def _held(self, register: int) -> int:
        unit = self._units[register // self._tags // AGENTS_A_PROCESS]
        return unit.get("holding", register)[0]

    def _in_cloud(self) -> Counter[str]:
        """All commands of the cloud by their state, a page at a time."""
        found: Counter[str] = Counter()
        headers, before = {"Authorization": f"Bearer {self._cloud.token}"}, ""
        while True:
            parameters = {"limit": str(PAGE)} | ({"before": before} if before else {})
            answer = httpx.get(
                f"{self._cloud.url}/api/v1/commands", params=parameters, headers=headers, timeout=30.0, trust_env=False
            ).json()
            found.update(command["state"] for command in answer["commands"])
            if not answer["next"]:
                return found
            before = answer["next"]


def _name(number: int) -> str:
    return f"a{number:03}"
