"""Commands of ``edge-agent`` and ``cloud-ingest``, each in a process of its own, forked from one that has all loaded.

To begin Python and to load what a command needs takes 0.45 CPU-seconds, and the tests run hundreds of commands that do
far less than that. How a program begins is tested where it is begun as people do it: all that runs on (``run``,
``launch``, ``watch``), and whatever is on a terminal.

``python -m tests.system.forked_commands SOCKET`` is the process that is forked; the one that forks it starts it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from lineside.servers.child_process import ChildProcess

_CHECKOUT: Final = Path(__file__).parents[2]
_PROGRAMS: Final = {"edge-agent": "edge_agent.cli.app", "cloud-ingest": "cloud_ingest.cli.app"}
_LOADED: Final = (
    "cloud_ingest.cli.screens",
    "cloud_ingest.config",
    "cloud_ingest.gateway.queries",
    "cloud_ingest.opened",
    "connectors.modbus.driver",
    "connectors.opcua.driver",
    "connectors.postgres.database",
    "edge_agent.buffer.outbox",
    "edge_agent.config.places",
    "edge_agent.config.starting",
    "edge_agent.drivers",
)
"""What their commands load when they are run."""
_LOADING_S_MAX: Final = 90.0
_REQUEST_BYTES_MAX: Final = 1 << 17


def run(
    program: Path, *words: str, within_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run`` gives, with standard output and standard error as text. ``environment`` adds to ours."""
    request = {"words": [str(program), *words], "cwd": str(Path.cwd()), "env": {**os.environ, **(environment or {})}}
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        Path(os.devnull).open() as nothing,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking,
    ):
        asking.settimeout(within_s)
        asking.connect(_LoadedPrograms.socket())
        socket.send_fds(asking, [json.dumps(request).encode()], [each.fileno() for each in (nothing, out, err)])
        try:
            code = asking.recv(16)
        except TimeoutError:  # to close the connection ends the command
            raise subprocess.TimeoutExpired(request["words"], within_s, _said(out), _said(err)) from None
        assert code, "the process that had all loaded has ended"
        return subprocess.CompletedProcess(request["words"], int(code), _said(out), _said(err))


def _said(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


class _LoadedPrograms:
    """The one process of this kind that a process of the tests has."""

    _folder: Path | None = None
    _process: ChildProcess
    _starting = threading.Lock()

    @classmethod
    def socket(cls) -> str:
        """Where it listens; it is started when it does not run."""
        with cls._starting:
            return cls._socket()

    @classmethod
    def _socket(cls) -> str:
        if cls._folder is None:
            cls._folder = Path(tempfile.mkdtemp(prefix="commands-"))
            cls._process = ChildProcess("forked commands", cls._folder / "log")
            atexit.register(cls._end)
        path = cls._folder / "socket"
        if not cls._process.running:
            path.unlink(missing_ok=True)
            command = [sys.executable, "-m", __name__, str(path)]
            environment = {"PYTHONPATH": str(_CHECKOUT)}
            cls._process.launch(command, environment=environment)
            cls._process.wait_until(path.exists, timeout_s=_LOADING_S_MAX)
        return str(path)

    @classmethod
    def _end(cls) -> None:
        cls._process.kill()
        shutil.rmtree(cls._folder or "", ignore_errors=True)


def _serve(path: Path) -> NoReturn:
    for module in (*_PROGRAMS.values(), *_LOADED):
        importlib.import_module(module)
    for name, module in _PROGRAMS.items():
        sys.argv = [name, "--help"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            importlib.import_module(module).main()
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        unready = path.with_suffix(".unready")
        door.bind(str(unready))
        door.listen(64)
        unready.rename(path)
        while True:
            asked, _ = door.accept()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have attended to others, and ended
                    pass
            if os.fork() == 0:
                door.close()
                _attend(asked)
            asked.close()


def _attend(asked: socket.socket) -> NoReturn:
    """Have one command run, say how it has ended, and end it when nobody waits for it any more."""
    try:
        message, files, _, _ = socket.recv_fds(asked, _REQUEST_BYTES_MAX, 3)
        pid = os.fork()
        if pid == 0:
            asked.close()
            _run(json.loads(message), files)
        ended = os.pidfd_open(pid)
        if ended not in select.select([asked, ended], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            asked.send(str(code).encode())
    finally:
        os._exit(0)


def _run(request: dict[str, Any], files: list[int]) -> NoReturn:
    code = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.modules["__main__"].__package__ = None  # as that of a script: its name is what is called
        sys.argv = request["words"]
        importlib.import_module(_PROGRAMS[Path(sys.argv[0]).name]).main()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
