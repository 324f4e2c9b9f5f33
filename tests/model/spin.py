"""Runs the model checker Spin on the model of the delivery protocol, and reads what it has found."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lineside.servers.child_process import find_program

MODEL: Final = Path(__file__).parents[2] / "docs" / "protocol" / "model" / "delivery.pml"
DEPTH_MAX: Final = 100_000
MEMORY_MB_MAX: Final = 2_000
SEARCH_S_MAX: Final = 250.0
_HOW_TO_INSTALL: Final = "run: make servers (Debian: apt-get install spin gcc)"


@dataclass(frozen=True, slots=True)
class Search:
    """What one search of the model's states has said."""

    output: str

    @property
    def states(self) -> int:
        """How many different states were found."""
        found = re.search(r"([\d.e+]+) states, stored", self.output)
        return 0 if found is None else int(float(found[1]))

    @property
    def violated(self) -> str:
        """The invariant that does not hold, ``everything_ends`` when a run does not; empty when all hold."""
        if found := re.search(r"assertion violated (.+) \(at depth", self.output):
            return found[1]
        return "everything_ends" if "acceptance cycle" in self.output else ""

    @property
    def shortcomings(self) -> list[str]:
        """Why this search does not show that all invariants hold; nothing when it does."""
        told = ["error:", "Search not completed", "hash compact", "Bit statespace", "reached -DMEMLIM", "aborted"]
        found = [each for each in told if each in self.output]
        if "Full statespace search" not in self.output or "errors: 0" not in self.output:
            found.append("it did not end")
        return found

    @property
    def never_done(self) -> list[str]:
        """Steps of the model that no run takes."""
        return [line.strip() for line in self.output.splitlines() if ", state " in line and '"-end-"' not in line]


def search(folder: Path, switches: Sequence[str], *, is_broken: bool = False) -> Search:
    """Search all states of the model with these switches, in ``folder``.

    ``is_broken``: a violation will be found soon; then after as few steps as possible. With the switch ``LIVE`` the
    property ``everything_ends`` is checked, too.
    """
    defines = [f"-D{switch}" for switch in switches]
    is_live = any(switch.startswith("LIVE") for switch in switches)
    _run([find_program("spin", _HOW_TO_INSTALL), "-a", *defines, str(MODEL)], folder)
    options = ["-O0" if is_broken else "-O1"]  # a short search is over before a better program is made
    options += [] if is_live else ["-DSAFETY", *(["-DBFS"] if is_broken else [])]
    gcc = find_program("gcc", _HOW_TO_INSTALL)
    _run([gcc, "-w", *options, f"-DMEMLIM={MEMORY_MB_MAX}", "-o", "pan", "pan.c"], folder)
    hash_bits = 18 if is_broken else 22  # a larger table takes longer to clear than these searches take
    return Search(_run(["./pan", f"-m{DEPTH_MAX}", f"-w{hash_bits}", *(["-a"] if is_live else [])], folder))


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SEARCH_S_MAX, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} has failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout
