"""The launcher on a system that refuses it something: what may pass is waited for, and an agent runs in the end."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.releases import launcher as module
from edge_agent.releases import layout
from edge_agent.releases.launcher import FAULTS_MAX, Launcher
from edge_agent.releases.layout import ReleaseFolder
from edge_agent.releases.switching import Order, State
from tests.unit.releases.fake_agent import GOOD, Box


class Child:
    """A process that runs until it is ended."""

    pid = 1 << 30

    def __init__(self) -> None:
        self.is_ended = False

    def poll(self) -> int | None:
        return 0 if self.is_ended else None

    def terminate(self) -> None:
        self.is_ended = True

    def wait(self, _limit_s: float) -> int:
        return 0


class System:
    """Starts processes, but while ``refuses``; ``started`` are the programs."""

    def __init__(self) -> None:
        self.refuses: Exception | None = None
        self.started: list[Path] = []

    def popen(self, command: list[Any], **_more: Any) -> Child:
        if self.refuses is not None:
            raise self.refuses
        self.started.append(command[0])
        return Child()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System()
    monkeypatch.setattr(module.subprocess, "Popen", system.popen)
    return system


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """Of a box whose release 1.1-b counts, and 1.0-a does before."""
    box = Box(tmp_path)
    for name in ("1.0-a", "1.1-b", "1.2-c"):
        box.install(name, GOOD)
    box.folder.keep(State(current="1.1-b", previous="1.0-a"))
    return Launcher(box.folder, box.base, ["run"])


def state_of(launcher: Launcher) -> State:
    return launcher._folder.state()


def out_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [out_of(errno.EAGAIN), out_of(errno.ENOMEM), out_of(errno.EIO), subprocess.SubprocessError("preexec_fn")]
)
def test_a_system_that_starts_no_process_for_a_while_changes_nothing_of_what_runs(
    launcher: Launcher, system: System, error: Exception
) -> None:
    system.refuses = error
    waits: list[float] = []
    for _ in range(FAULTS_MAX - 1):
        begun_s = module.time.monotonic()
        launcher._start()
        waits.append(round(launcher._start_s - begun_s, 1))
        assert state_of(launcher) == State(current="1.1-b", previous="1.0-a")
    assert waits == sorted(waits), "longer each time"
    assert 60.0 < sum(waits) < 200.0
    system.refuses = None
    launcher._start()
    assert system.started == [launcher._folder.program("1.1-b")]


def test_what_does_not_pass_has_the_release_before_run_and_at_last_the_base(launcher: Launcher, system: System) -> None:
    system.refuses = out_of(errno.ENOMEM)
    for name in ("1.0-a", ""):
        for _ in range(FAULTS_MAX):
            launcher._start()
        assert state_of(launcher).runs == name
    for _ in range(3 * FAULTS_MAX):
        launcher._start()
    system.refuses = None
    launcher._start()
    assert system.started == [launcher._base]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR])
def test_a_program_that_cannot_be_run_here_is_left_at_once(launcher: Launcher, system: System, number: int) -> None:
    system.refuses = out_of(number)
    launcher._start()
    assert state_of(launcher) == State(current="1.0-a")
    assert launcher._start_s == 0.0


def test_a_disk_that_does_not_say_what_is_installed_is_asked_again(
    launcher: Launcher, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., os.stat_result] = Path.stat

    def stat(path: Path, **how: Any) -> os.stat_result:
        if path.name == layout.COMPLETE:
            raise out_of(errno.EIO)
        return real(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat)
        launcher._start()
        launcher._take(Order("A", "1.2-c", 30.0))
    assert (state_of(launcher).current, system.started) == ("1.1-b", [])
    outcome = state_of(launcher).outcome
    assert outcome is not None
    assert "the disk does not say" in outcome.reason
    launcher._start()
    assert system.started == [launcher._folder.program("1.1-b")]


def test_a_start_in_a_trial_that_the_system_refuses_is_not_counted(launcher: Launcher, system: System) -> None:
    launcher._take(Order("A", "1.2-c", 30.0))
    system.refuses = out_of(errno.EAGAIN)
    for _ in range(FAULTS_MAX - 1):
        launcher._start()
    system.refuses = None
    launcher._start()
    assert (state_of(launcher).starts, system.started) == (1, [launcher._folder.program("1.2-c")])


def test_an_order_that_cannot_be_removed_ends_the_agent_once(
    launcher: Launcher, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: ReleaseFolder) -> None:
        raise out_of(errno.EROFS)

    monkeypatch.setattr(ReleaseFolder, "remove_order", refuse)
    launcher._start()
    launcher._take(Order("A", "1.2-c", 30.0))
    assert launcher._child is None
    launcher._start()
    launcher._take(Order("A", "1.2-c", 30.0))
    assert launcher._child is not None, "it is known already"
    assert system.started[-1] == launcher._folder.program("1.2-c")
