"""A second Modbus/TCP server that nobody here wrote: modbus-serial on Node.js, a process that obeys commands.

Where libmodbus answers at once and whole, it answers when its promises are kept; it knows no mask write, and units that
it does not have get no answer.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from lineside.servers.child_process import find_program, free_port

from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ServerRefused
from tests.servers.sparkplug_peers import PACKAGE_FILES, fetch_packages, made_once

_SOURCE: Final = Path(__file__).parent / "node_modbus"
_FOLDER: Final = Path(__file__).resolve().parents[2] / ".servers" / "node_modbus"


def node_modbus() -> Path:
    """The folder with its packages. Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    sources = [_SOURCE / name for name in PACKAGE_FILES]
    made_once(_FOLDER, sources, lambda: fetch_packages(_SOURCE, _FOLDER, "--omit=optional"))
    return _FOLDER


class NodeModbusServer:
    """One running server on 127.0.0.1 that is one unit. The commands are listed at the head of ``server.js``."""

    def __init__(self, unit_id: int = 1) -> None:
        self.port = free_port()
        self._unit_id = unit_id
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> NodeModbusServer:
        node = find_program("node", "apt-get install nodejs")
        self._process = subprocess.Popen(
            [node, str(_SOURCE / "server.js"), str(self.port), str(self._unit_id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NODE_PATH": str(node_modbus() / "node_modules")},
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        for pipe in self._pipes():
            pipe.close()
        try:
            process.wait(WAIT_S_MAX)
        finally:
            process.kill()  # does nothing when it has ended

    @property
    def endpoint(self) -> str:
        """Where it listens, as a device file writes it."""
        return f"tcp://127.0.0.1:{self.port}"

    def command(self, line: str) -> str:
        """Send one command; what it answers after ``ok``. Raises ``ServerRefused``."""
        pipe = self._pipes()[0]
        pipe.write(line + "\n")
        pipe.flush()
        return self._answer()

    def get(self, table: str, address: int, count: int = 1) -> list[int]:
        """What is in a table."""
        return [int(word) for word in self.command(f"get {table} {address} {count}").split()]

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
