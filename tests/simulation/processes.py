"""Many seeds, shared by several processes: each takes every so-manyth, so all of them end at about the same time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def run_in_processes(ranges: Sequence[range], jobs: int) -> list[str]:
    """Run all seeds of ``ranges`` in ``jobs`` processes; what each has said that found a failure, or ended badly."""
    found: list[str] = []
    for seeds in ranges:
        found += _run_together([_command(seeds[first::jobs]) for first in range(min(jobs, len(seeds)))])
    return found


def _command(seeds: range) -> list[str]:
    said = ["--from", str(seeds.start), "--seeds", str(len(seeds)), "--step", str(seeds.step)]
    return [sys.executable, "-m", "tests.simulation", *said]


def _run_together(commands: Sequence[Sequence[str]]) -> list[str]:
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for command in commands
    ]
    found: list[str] = []
    try:
        for command, process in zip(commands, running, strict=True):
            said, _ = process.communicate()
            if process.returncode:
                found.append(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    finally:
        for process in running:
            process.kill()
            process.wait()
    return found
