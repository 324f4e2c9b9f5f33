"""Processes under test, and what they cost: CPU time and resident memory by the kernel's own account."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Program:
    """A program in a process of its own, ended with the benchmark. Its output goes to ``log``."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """User and system time so far, of the process and of its children that have ended."""
        return cpu_s_of(self.pid)

    def resident_mb(self) -> float:
        """Resident memory now, in MB (10^6 bytes)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def wait_for(self, text: str, longest_s: float = 30.0) -> None:
        """Wait until the program has printed ``text``."""
        self.wait_until(lambda: text in self._log.read_text(errors="replace"), f"print {text!r}", longest_s)

    def wait_until(self, done: Callable[[], bool], what: str, longest_s: float = 30.0) -> None:
        """Wait until ``done``; ends the benchmark with the program's output when that does not come."""
        end_s = time.monotonic() + longest_s
        while not done():
            if self._process.poll() is not None or time.monotonic() > end_s:
                tail = self._log.read_text(errors="replace")[-3000:]
                raise SystemExit(f"{self._process.args!r} did not {what}:\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the program, politely first."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def python(module: str, *arguments: str, log: Path) -> Program:
    """``python -m module arguments`` in a process of its own."""
    return Program([sys.executable, "-m", module, *arguments], log)


def cpu_s_of(pid: int) -> float:
    """User and system time of a process so far, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_S


def cpu_s_with_children(pid: int) -> float:
    """``cpu_s_of`` a server and of the children that it has now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spent_s = cpu_s_of(pid)
    for child in children:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            spent_s += cpu_s_of(int(child))
    return spent_s
