"""Real Modbus units for tests, on TCP and on a serial port: libmodbus, in a process of its own, that obeys commands.

It needs a C compiler and libmodbus with its headers (Debian: ``apt-get install gcc libmodbus-dev``). A program is
built once into ``.servers`` and again when its source changes. It ends with the process that started it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO

from lineside.servers.child_process import ProgramMissing, find_program, free_port

from tests.patience import WAIT_S_MAX

SOURCE = Path(__file__).with_name("modbus_server.c")
RTU_SOURCE = Path(__file__).with_name("modbus_rtu_server.c")
FOLDER = Path(__file__).parents[2] / ".servers"


class ServerRefused(Exception):
    """The server did not understand a command, or could not start."""


def built_server(source: Path = SOURCE) -> Path:
    """The server program; built when it is missing or older than its source. Raises ``ProgramMissing``."""
    program = FOLDER / source.stem
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    FOLDER.mkdir(exist_ok=True)
    how_to_install = "apt-get install gcc pkg-config libmodbus-dev"
    compiler, finder = find_program("cc", how_to_install), find_program("pkg-config", how_to_install)
    found = subprocess.run([finder, "--cflags", "--libs", "libmodbus"], check=False, capture_output=True, text=True)
    if found.returncode:
        raise ProgramMissing(f"libmodbus and its headers are not installed; {how_to_install}")
    # Two test runs may build at the same time: each its own file, put in place in one step.
    fresh = program.with_suffix(f".{os.getpid()}")
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", str(fresh), str(source), *found.stdout.split()], check=True)
    fresh.replace(program)
    return program


class ModbusServer:
    """One running server on 127.0.0.1. The commands are listed at the head of ``modbus_server.c``."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ModbusServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def endpoint(self) -> str:
        """Where it listens, as a device file writes it."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; on the same port as before. Raises ``ProgramMissing``."""
        self._process = subprocess.Popen(
            [str(built_server()), str(self.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(kill=True)

    def command(self, line: str) -> str:
        """Send one command; what it answers after ``ok``. Raises ``ServerRefused``."""
        pipe = self._pipes()[0]
        pipe.write(line + "\n")
        pipe.flush()
        return self._answer()

    def set(self, table: str, address: int, *values: int) -> None:
        """Put values into a table."""
        self.command(f"set {table} {address} {' '.join(str(value) for value in values)}")

    def get(self, table: str, address: int, count: int = 1) -> list[int]:
        """What is in a table."""
        return [int(word) for word in self.command(f"get {table} {address} {count}").split()]

    def requests(self) -> list[tuple[int, int, int, int]]:
        """(unit, function, address, count) of each request since the last ``reset``."""
        words = self.command("requests").split()
        return [(int(a), int(b), int(c), int(d)) for a, b, c, d in (word.split(":") for word in words)]

    def connections(self) -> tuple[int, int]:
        """How many connections are open, and how many there have been."""
        now, ever = self.command("connections").split()
        return int(now), int(ever)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdin, process.stdout

    def _answer(self) -> str:
        word, _, rest = self._pipes()[1].readline().strip().partition(" ")
        if word != "ok":
            raise ServerRefused(rest or "the server has ended")
        return rest

    def _end(self, *, kill: bool) -> None:
        process, pipes = self._process, self._pipes() if self._process else ()
        if process is None:
            return
        if kill:
            process.kill()
        for pipe in pipes:
            pipe.close()
        process.wait(WAIT_S_MAX)
        self._process = None


class ModbusRtuUnit:
    """A unit on a serial port, as long as it is entered. The commands are listed at the head of its source."""

    def __init__(self, port: str, unit_id: int) -> None:
        self._arguments = [port, str(unit_id)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ModbusRtuUnit:
        program = str(built_server(RTU_SOURCE))
        self._process = subprocess.Popen(
            [program, *self._arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(WAIT_S_MAX)

    def command(self, line: str) -> str:
        """Send one command; what it answers after ``ok``. Raises ``ServerRefused``."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        word, _, rest = self._process.stdout.readline().strip().partition(" ")
        if word != "ok":
            raise ServerRefused(rest or "the unit has ended")
        return rest
