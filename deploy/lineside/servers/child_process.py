"""A server as a child process: on a port of the loopback interface, with a log file, gone when its parent is gone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from connectors.model.errors import LinesideError

LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(10_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections: nothing else takes a port of ours while
its server is down, and a client that tries again and again cannot connect to itself."""
_BLOCK: Final = 100
_TRIES_MAX: Final = 1000
_POLL_S: Final = 0.01
_LOG_TAIL_LINES: Final = 15


class ProgramMissing(LinesideError):
    """A program that is needed is not installed: the text says what to install."""


class ServerNotStarted(LinesideError):
    """A server did not start: the text says why, with the end of its log."""


def find_program(name: str, how_to_install: str) -> str:
    """The full path of ``name``, also where only root's search path has it. Raises ``ProgramMissing``."""
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=search_path)
    if found is None:
        raise ProgramMissing(f"the program {name} is not installed; {how_to_install}")
    return found


class _OwnPorts:
    """Ports that this process gives out and no other: also before their servers listen, and while they are down.

    A block of them is held by the name of an abstract Unix socket (unix(7)), which ends with the process.
    """

    def __init__(self) -> None:
        self._process_id = 0
        self._held: list[int] = []
        self._left: list[int] = []

    def next(self) -> int:
        """One that was not given out yet, as long as there is such a one."""
        if self._process_id != os.getpid():  # what a fork was born with is its parent's
            self._process_id, self._held, self._left = os.getpid(), [], []
        if not self._left:
            self._left = self._next_block() or self._held[:] or list(_PORTS)
            random.shuffle(self._left)
        return self._left.pop()

    def _next_block(self) -> list[int]:
        starts = _PORTS[::_BLOCK]
        for start in random.sample(starts, len(starts)):
            with socket.socket(socket.AF_UNIX) as holder:
                try:
                    holder.bind(f"\0lineside-ports-{start}")
                except OSError:
                    continue
                holder.detach()
            block = list(range(start, start + _BLOCK))
            self._held += block
            return block
        return []


_own_ports: Final = _OwnPorts()


def free_port() -> int:
    """A TCP port of the loopback interface on which nothing listens now, and that no other process is given here."""
    for _ in range(_TRIES_MAX):
        port = _own_ports.next()
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerNotStarted(f"no free port among {_PORTS.start}-{_PORTS.stop - 1}")


def accepts_connections(port: int) -> bool:
    """Whether something listens on ``port`` of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def require_free(port: int) -> None:
    """Raise ``ServerNotStarted`` when something else listens on ``port``: it would be taken for the server."""
    if accepts_connections(port):
        raise ServerNotStarted(f"the port {port} is in use by another program")


class ChildProcess:
    """One server process at a time, which can be started again after it was stopped or killed.

    The kernel kills it when the thread that started it ends, however that happens; so ``start`` belongs into the main
    thread. It has a session of its own: Ctrl-C in the terminal reaches the parent only, which stops it in an orderly
    way.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start_bytes = 0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises ``ServerNotStarted`` when it was never started."""
        if self._process is None:
            raise ServerNotStarted(f"{self.name} has not been started")
        return self._process.pid

    def start(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        *,
        timeout_s: float,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start ``command`` and wait until ``ready``; does nothing when it runs already.

        ``wrapper`` is a program with arguments that runs the rest of its command line in its own place (by exec).
        Raises ``ServerNotStarted`` when the process ends, or is not ready within ``timeout_s``; then it is gone.
        """
        if self.running:
            return
        self.launch(command, wrapper=wrapper, environment=environment)
        self.wait_until(ready, timeout_s=timeout_s)

    def launch(
        self, command: Sequence[str], *, wrapper: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """Start ``command`` without waiting for anything; ``wait_until`` follows. It must not be running."""
        setpriv = find_program("setpriv", "install util-linux")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start_bytes = log.tell()
            self._process = subprocess.Popen(
                [*wrapper, setpriv, "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until a process that was launched is ``ready``.

        Raises ``ServerNotStarted`` when it ends, or is not ready within ``timeout_s``; then it is gone.
        """
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            exit_code = None if self._process is None else self._process.poll()
            if exit_code is not None:
                raise ServerNotStarted(f"{self.name} ended with code {exit_code}\n{self.log_tail()}")
            if time.monotonic() > deadline_s:
                self.kill()
                raise ServerNotStarted(f"{self.name} was not ready after {timeout_s:g} s\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM, *, timeout_s: float = 15.0) -> None:
        """Ask the process to end, a frozen one too, and kill it when it has not after ``timeout_s``."""
        if self._process is None or not self.running:
            return
        self.resume()
        self._process.send_signal(with_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once (``kill -9``), and all that it started in its process group.

        Children in groups of their own live on until they notice. Frozen ones never would, and would hold on to what
        they share for ever, so they are let go.
        """
        if self._process is None or not self.running:
            return
        children = self._children()
        os.killpg(self._process.pid, signal.SIGKILL)
        _signal_each(children, signal.SIGCONT)
        self._process.wait()

    def pause(self) -> None:
        """Freeze the process and its children: connections stay open and silent, as on a machine that hangs."""
        _signal_each([self.pid], signal.SIGSTOP)  # first: it starts no child any more that would be overlooked
        _signal_each(self._children(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process and its children go on; children that have ended meanwhile are no matter."""
        _signal_each([*self._children(), self.pid], signal.SIGCONT)

    def log(self) -> str:
        """What the process has written since it was last started."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start_bytes)
            return log.read().decode(errors="replace")

    def log_lines(self) -> list[str]:
        """The lines that the process has written since then, without one that is half written."""
        return self.log().split("\n")[:-1]

    def log_tail(self) -> str:
        """The last lines that the process has written since it was last started."""
        return "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process lives."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _children(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:  # it has ended
            return []


def _signal_each(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to all of ``pids``; one that is gone by now keeps it from none of the others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
