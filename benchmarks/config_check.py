"""``config-check``: the time of ``edge-agent check`` for 10,000 tags, the start of the program included.

Once with each tag written out (ten devices of 1,000 tags, in turns Modbus and OPC UA), once with a hundred devices of
one template of a hundred tags; and a file with a mistake in every hundredth tag, as messages need the place of each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, report

TAGS: Final = 10_000
ROUNDS: Final = 7
GOAL_S: Final = 2.0
EDGE_AGENT: Final = Path(sys.executable).with_name("edge-agent")
HEAD: Final = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: ['mqtts://broker']}\n"
TAG: Final = "unit: kN, deadband: 0.5, description: Force at the ram"


def main() -> None:
    """Check each file in turns, and report the medians."""
    files = {"each written out": written_out(), "100 of one template": of_a_template(), "100 mistakes": with_mistakes()}
    walls: dict[str, list[float]] = {name: [] for name in files}
    cpus: dict[str, list[float]] = {name: [] for name in files}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.yaml"
        for _ in range(ROUNDS):
            for name, text in files.items():
                path.write_text(text)
                wall_s, cpu_s, code = checked(path)
                if code != (1 if name == "100 mistakes" else 0):
                    raise SystemExit(f"{name}: check ended with {code}")
                walls[name].append(wall_s)
                cpus[name].append(cpu_s)
    figures: list[Figure] = []
    for name in files:
        figures.append(Figure(f"10,000 tags, {name}", statistics.median(walls[name]), "s", GOAL_S, at_least=False))
        figures.append(Figure(f"10,000 tags, {name}: processor", statistics.median(cpus[name]), "s CPU"))
    report("config-check", figures)


def checked(path: Path) -> tuple[float, float, int]:
    """Seconds by the clock and of a processor, and the exit code."""
    begun_s = time.monotonic()
    process = subprocess.Popen([EDGE_AGENT, "check", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - begun_s, used.ru_utime + used.ru_stime, process.returncode


def written_out() -> str:
    """Ten devices, half of them OPC UA servers."""
    lines = [HEAD, "devices:\n"]
    for device in range(10):
        kind, scheme = (("modbus", "tcp"), ("opcua", "opc.tcp"))[device % 2]
        lines.append(f"  - name: press {device}\n    driver: {kind}\n    endpoint: {scheme}://p{device}\n")
        lines.append("    insecure: true\n    tags:\n" if kind == "opcua" else "    tags:\n")
        for tag in range(TAGS // 10):
            at = f"holding {2 * tag}, type: float" if kind == "modbus" else f"'nsu=urn:acme:press;s=Ram.Force.{tag}'"
            lines.append(f"      - {{name: ram/force {tag}, at: {at}, {TAG}}}\n")
    return "".join(lines)


def of_a_template() -> str:
    """A hundred devices that differ in their addresses."""
    lines = [HEAD, "templates:\n  press:\n    parameters: {host: text, first: integer}\n    device:\n"]
    lines.append("      driver: modbus\n      endpoint: tcp://$(host)\n      tags:\n")
    lines += [
        f"        - {{name: ram/force {tag}, at: holding $(first + {2 * tag}), type: float, {TAG} of $(name)}}\n"
        for tag in range(100)
    ]
    lines.append("devices:\n")
    lines += [
        f"  - {{name: press {at}, template: press, with: {{host: p{at}, first: {at}}}}}\n" for at in range(TAGS // 100)
    ]
    return "".join(lines)


def with_mistakes() -> str:
    """As written out, with a deadband that is none in every hundredth tag."""
    lines = written_out().splitlines(keepends=True)
    tags = [at for at, line in enumerate(lines) if "name: ram" in line]
    for at in tags[::100]:
        lines[at] = lines[at].replace("deadband: 0.5", "deadband: little")
    return "".join(lines)


if __name__ == "__main__":
    main()
