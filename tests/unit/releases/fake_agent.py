"""Agents of a few lines, and the launcher in a process of its own that can be made to end at any of its steps."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.releases.layout import ReleaseFolder
from edge_agent.releases.switching import Order, State
from tests.patience import WAIT_S_MAX

LOGS = """
import os, sys, time, signal, json
from pathlib import Path
root = Path(os.environ["LINESIDE_RELEASES"])
trial = os.environ.get("LINESIDE_TRIAL", "")
def say(what):
    with (root.parent / "lives.txt").open("a") as file:
        file.write(f"{NAME} {what} {trial}\\n")
def stop(*_):
    say("stop"); sys.exit(0)
def healthy():
    new = root / "healthy.json.new"; new.write_text(json.dumps({"order": trial})); new.replace(root / "healthy.json")
signal.signal(signal.SIGTERM, stop)
say("start")
"""
GOOD = "if trial: healthy()\nwhile True: time.sleep(0.05)\n"
CRASHES = "sys.exit(7)\n"
NEVER_HEALTHY = "while True: time.sleep(0.05)\n"
HANGS = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(0.05)\n"
DIES_ONCE = (
    "mark = root.parent / f'{NAME}.died'\n"
    "if not mark.exists():\n    mark.touch(); os.kill(os.getpid(), signal.SIGKILL)\n" + GOOD
)

KILLED_AT = """
import os, signal, sys
step, left = 0, int(sys.argv.pop(1))
def counted(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, call)
for name in ("replace", "fsync", "unlink", "symlink", "rename"):
    counted(name)
import pathlib
pathlib.os = os
from edge_agent.releases import launcher
launcher.PATIENCE_S, launcher.BACK_OFF_FIRST_S, launcher.LOOK_S = 1.0, 0.02, 0.05
sys.exit(launcher.main())
"""
"""Dies before the n-th step that changes the disk."""


class Box:
    """A folder of releases, agents in it, and launchers."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "releases"
        self.lives_file = folder / "lives.txt"
        self.base = folder / "edge-agent"
        self.folder = ReleaseFolder(self.root)
        self.root.mkdir()
        self.launchers: list[subprocess.Popen[bytes]] = []
        self._write(self.base, "base", GOOD)

    def install(self, name: str, does: str) -> None:
        program = self.folder.program(name)
        program.parent.mkdir(parents=True)
        self._write(program, name, does)
        (self.root / name / "complete.json").write_text("{}")

    def order(self, order: str, to: str, limit_s: float = 30.0) -> None:
        self.folder.give_order(Order(order, to, limit_s))

    def launch(self, killed_at: int = 0) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_AT, str(killed_at), "--releases", self.root, "--base", self.base, "run"],
            stderr=subprocess.DEVNULL,
        )
        self.launchers.append(process)
        return process

    def lives(self) -> list[str]:
        return self.lives_file.read_text().splitlines() if self.lives_file.exists() else []

    def starts(self) -> list[str]:
        """Who was started, in order."""
        return [line.split()[0] for line in self.lives() if line.split()[1] == "start"]

    def state(self) -> State:
        return self.folder.state()

    def outcome(self) -> tuple[str, bool] | None:
        outcome = self.state().outcome
        return None if outcome is None else (outcome.order, outcome.succeeded)

    def is_running(self, name: str) -> bool:
        """Whether the last that was said is that ``name`` has started."""
        lives = self.lives()
        return bool(lives) and lives[-1].split()[:2] == [name, "start"]

    def has_ended(self, name: str) -> bool:
        """Whether nothing is left to do, and ``name`` runs."""
        link, state = self.root / "current", self.state()
        is_decided = state.outcome is not None and state.current == name and link.is_symlink()
        return is_decided and link.readlink() == Path(name) and self.folder.order() is None and self.is_running(name)

    def kill(self) -> None:
        for process in self.launchers:
            process.kill()
            process.wait()
        child = json.loads((self.root / "child.json").read_text()) if (self.root / "child.json").exists() else {}
        if child:
            with contextlib.suppress(OSError):
                os.kill(child["process"], signal.SIGKILL)

    @staticmethod
    def _write(path: Path, name: str, does: str) -> None:
        path.write_text(f"#!{sys.executable} -SE\nNAME = {name!r}\n{LOGS}{does}")
        path.chmod(0o755)


def until(true: Callable[[], Any], within_s: float = WAIT_S_MAX) -> None:
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
