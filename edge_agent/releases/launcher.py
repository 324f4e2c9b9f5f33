"""The launcher: runs the agent of the release that counts, and goes from one release to the next and back.

``python -m edge_agent.releases.launcher --releases FOLDER [--base PROGRAM] -- run -c FILE``. It is a process that
stays, small, of the base installation, and needs nothing but the standard library.

Faults that it survives: an agent that crashes, hangs, or never gets healthy; a release that cannot be run or was
removed; its own end, by whatever, at any step: each step is on the disk before it is done, and the next start goes on.

Exit codes: 0 told to stop; 4 another launcher works in the folder, or the folder cannot be used.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from edge_agent.releases.layout import ENV_FOLDER, ENV_PYTHON, ENV_RELEASE, ENV_TRIAL, LASTING, ReleaseFolder
from edge_agent.releases.switching import STARTS_MAX, Order, State, given_up, ordered, proved, starting, unusable

LOOK_S: Final = 0.25
PATIENCE_S: Final = 45.0
"""All that an agent does at its end is given 43 s inside; systemd kills all after 80 s."""
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_LONGEST_S: Final = 30.0
FAULTS_MAX: Final = 10
"""So often the start of a release may fail for what may pass, about two minutes, before the one before runs."""
STEADY_S: Final = 60.0
DISK_RETRY_S: Final = 5.0
EXIT_CANNOT_START: Final = 4
PR_SET_PDEATHSIG: Final = 1
"""prctl(2)."""


class Launcher:
    """See the module."""

    def __init__(self, folder: ReleaseFolder, base: Path, arguments: Sequence[str]) -> None:
        self._folder = folder
        self._base = base
        self._arguments = list(arguments)
        self._state = folder.state()
        self._child: subprocess.Popen[bytes] | None = None
        self._begun_s = 0.0
        self._stop = False
        self._wakeup = -1
        self._back_off_s = BACK_OFF_FIRST_S
        self._faults = 0
        self._start_s = 0.0
        self._trial_end_s = 0.0
        self._trial = ""
        self._is_unsaved = False
        self._disk_s = 0.0

    def run(self) -> int:
        """Work until SIGTERM or SIGINT."""
        self._hear_signals()
        self._end_leftover()
        self._save()
        while not self._stop:
            self._look()
            if self._child is None and time.monotonic() >= self._start_s and not self._stop:
                self._start()
            self._sleep()
        self._end_child()
        return 0

    # -- what happens --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at what has changed, and do what follows."""
        if self._is_unsaved and time.monotonic() >= self._disk_s:
            self._save()
        code = None if self._child is None else self._child.poll()
        trial = self._state.trial
        if trial is not None:
            self._adopt(proved(self._state, self._folder.healthy(), _now_ms()))
            if self._state.trial is not None and self._trial == trial.order and time.monotonic() >= self._trial_end_s:
                self._end_child()
                reason = f"it did not get healthy within {trial.limit_s:.0f} s"
                self._adopt(given_up(self._state, reason, _now_ms()))
                return
        if code is not None:
            self._ended(code)
        if time.monotonic() >= self._disk_s and (order := self._folder.order()) is not None:
            self._take(order)

    def _take(self, order: Order) -> None:
        """Go to the release of an order; one that is known already is only removed, and ends nothing."""
        try:
            problem = self._folder.problem(order.to)
        except OSError as exc:
            problem = f"the disk does not say whether it can be run: {exc}"
        before, state = self._state, ordered(self._state, order, problem, _now_ms())
        if not self._keep(state):  # on the disk before the agent is ended: whoever starts next goes on with it
            return
        self._adopt(state)
        try:
            self._folder.remove_order()
        except OSError as exc:
            self._refused(exc)
        if state != before:
            self._end_child()

    def _ended(self, code: int) -> None:
        """The agent has ended by itself."""
        self._child = None
        lived_s = time.monotonic() - self._begun_s
        said = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        _say("agent_ended", release=self._state.runs, how=said, lived_s=round(lived_s, 1))
        if self._state.trial is not None and self._state.starts >= STARTS_MAX:
            reason = f"it {said} before it was healthy, as often as it was started ({self._state.starts} times)"
            self._adopt(given_up(self._state, reason, _now_ms()))
            return
        if lived_s > STEADY_S:
            self._back_off_s = BACK_OFF_FIRST_S
        self._wait()

    def _start(self) -> None:
        state = self._state if self._faults else starting(self._state, _now_ms())  # it was not started: not counted
        if state != self._state and not self._keep(state):
            state = given_up(self._state, "the disk takes no note of its trial", _now_ms())
        self._adopt(state)
        name, trial = self._state.runs, self._state.trial
        if trial is not None and self._trial != trial.order:
            self._trial, self._trial_end_s = trial.order, time.monotonic() + trial.limit_s
        self._begun_s = time.monotonic()
        program = self._folder.program(name) if name else self._base
        try:
            if name and (problem := self._folder.problem(name)):
                self._adopt(unusable(self._state, _now_ms(), problem))
                return
            self._child = subprocess.Popen(
                [program, *self._arguments],
                env=self._environment(),
                preexec_fn=_end_with_parent,  # noqa: PLW1509
            )
        except (OSError, subprocess.SubprocessError) as exc:
            self._not_started(exc)
            return
        self._faults = 0
        _say("agent_started", release=name, process=self._child.pid, trial="" if trial is None else trial.order)
        try:
            self._folder.keep_child(self._child.pid, _begun(self._child.pid))
        except OSError as exc:
            _say("disk_refuses", reason=str(exc))

    def _not_started(self, error: OSError | subprocess.SubprocessError) -> None:
        """The system did not let it: that may pass, so it is tried some times before the release is left for it."""
        name = self._state.runs
        _say("agent_not_started", release=name, reason=str(error))
        self._faults += 1
        is_lasting = isinstance(error, OSError) and error.errno in LASTING
        if name and (is_lasting or self._faults >= FAULTS_MAX):
            self._adopt(unusable(self._state, _now_ms(), f"its program cannot be run: {error}"))
        else:
            self._wait()

    def _wait(self) -> None:
        """Before the next start, longer each time."""
        self._start_s = time.monotonic() + self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_LONGEST_S)

    def _environment(self) -> dict[str, str]:
        environ = {key: value for key, value in os.environ.items() if key != ENV_TRIAL}
        environ |= {ENV_FOLDER: str(self._folder.root), ENV_RELEASE: self._state.runs, ENV_PYTHON: sys.executable}
        if self._state.trial is not None:
            environ[ENV_TRIAL] = self._state.trial.order
        return environ

    # -- the state -----------------------------------------------------------------------------------------------------

    def _adopt(self, state: State) -> None:
        """Go on with ``state``; while the disk does not take it, it is written later, and a start before finds less."""
        if state == self._state:
            return
        before, self._state = self._state, state
        self._save()
        if state.outcome != before.outcome and state.outcome is not None:
            event = "release_taken" if state.outcome.succeeded else "release_rolled_back"
            _say(event, release=state.outcome.to, runs=state.outcome.runs, reason=state.outcome.reason)
        if state.runs != before.runs:
            self._back_off_s, self._start_s, self._faults = BACK_OFF_FIRST_S, 0.0, 0

    def _save(self) -> None:
        self._is_unsaved = not self._keep(self._state)

    def _keep(self, state: State) -> bool:
        """Whether the disk has ``state`` now."""
        try:
            self._folder.keep(state)
        except OSError as exc:
            self._refused(exc)
            return False
        return True

    def _refused(self, error: OSError) -> None:
        _say("disk_refuses", reason=str(error))
        self._disk_s = time.monotonic() + DISK_RETRY_S

    # -- processes and signals -----------------------------------------------------------------------------------------

    def _end_child(self) -> None:
        """End the agent, cleanly if it lets itself be ended so."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            _say("agent_killed", release=self._state.runs, process=child.pid)
            child.kill()
            child.wait()

    def _end_leftover(self) -> None:
        """End an agent that a launcher before this one has left behind, which holds the outbox."""
        process, begun = self._folder.child()
        deadline_s = time.monotonic() + PATIENCE_S
        number = signal.SIGTERM
        while process and _begun(process) == begun != "":
            try:
                os.kill(process, number)
            except OSError:
                return
            time.sleep(0.1)
            if time.monotonic() > deadline_s:
                number = signal.SIGKILL

    def _hear_signals(self) -> None:
        self._wakeup, written = os.pipe()
        for descriptor in (self._wakeup, written):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._forward)
        signal.signal(signal.SIGCHLD, _nothing)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop = True

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if self._child is not None:
            self._child.send_signal(number)

    def _sleep(self) -> None:
        """Wait for a signal, or a moment."""
        select.select([self._wakeup], [], [], LOOK_S)
        try:
            while os.read(self._wakeup, 4096):
                pass
        except BlockingIOError:
            pass


def _end_with_parent() -> None:
    """Runs in the child: without the launcher there is nobody to start it again, and another one would come."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _begun(process: int) -> str:
    """When a process began, in ticks since the start of the system (proc(5)); empty when there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nothing(_number: int, _frame: FrameType | None) -> None:
    return


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _say(event: str, **fields: Any) -> None:
    """One line of JSON, as the agent writes its own."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):  # nobody reads it any more: no reason to leave the line alone
        sys.stderr.write(json.dumps({"event": event, "timestamp": stamp, "part": "launcher", **fields}) + "\n")
        sys.stderr.flush()


def _locked(root: Path) -> IO[str]:
    """The open file by which no other launcher works in the folder. Raises ``OSError``."""
    root.mkdir(parents=True, exist_ok=True)
    file = (root / "launcher.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.releases.launcher", allow_abbrev=False)
    parser.add_argument("--releases", type=Path, required=True, help="the folder of the releases")
    parser.add_argument("--base", type=Path, help="the agent where there is no release")
    parser.add_argument("arguments", nargs="+", help="what the agent is started with")
    asked = parser.parse_args(arguments)
    base = asked.base or Path(sys.executable).with_name("edge-agent")
    try:
        lock = _locked(asked.releases)
    except BlockingIOError:
        sys.stderr.write(f"another launcher works in {asked.releases}\n")
        return EXIT_CANNOT_START
    except OSError as exc:
        sys.stderr.write(f"{asked.releases} cannot be used: {exc.strerror or exc}\n")
        return EXIT_CANNOT_START
    with lock:
        return Launcher(ReleaseFolder(asked.releases.absolute()), base, asked.arguments).run()


if __name__ == "__main__":
    sys.exit(main())
