"""An OPC UA server that nobody here wrote, for tests: open62541, in a process of its own, that obeys commands.

o6 takes two seconds to import: one process does it for the whole run, and each server is forked from it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from lineside.servers.child_process import free_port

from tests.patience import WAIT_S_MAX

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.servers.opcua_server"])


class ServerRefused(Exception):
    """The server could not do what it was told, or has ended."""


class OpcUaServer:
    """One running server on 127.0.0.1; killed and started again, it keeps its port and forgets its nodes.

    Its only namespace beside that of OPC UA is ``namespace``, with index 1. The commands are listed at the head of
    ``opcua_server.py``.
    """

    def __init__(self, own: tuple[Path, Path, str] | None = None) -> None:
        """``own``: certificate, key and application URI, with which it offers secured sessions, to everybody."""
        self.port = free_port()
        self._own = own
        self.namespace = ""
        self._process: Any = None
        self._commands: Connection | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens, as a device file writes it."""
        return f"opc.tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._commands, other_end = _FORKS.Pipe()
        self._process = _FORKS.Process(target=_serve, args=(self.port, other_end, self._own), daemon=True)
        self._process.start()
        other_end.close()
        self.namespace = self._answer()

    def kill(self) -> None:
        """End it at once, as a power cut would. Does nothing when it has ended."""
        if self._process is None or self._commands is None:
            return
        self._process.kill()
        self._process.join(WAIT_S_MAX)
        self._process = None
        self._commands.close()

    def pause(self) -> None:
        """Freeze it: connections stay open and silent."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        os.kill(self._process.pid, signal.SIGCONT)

    def add(self, name: str, kind: str, value: Any, *, writable: bool = False) -> None:
        """Add the variable ``ns=1;s=name``."""
        self.command(add=name, type=kind, value=value, writable=writable)

    def write(self, name: str, kind: str, value: Any, **more: int) -> None:
        """Give a variable a value; ``status`` is its status code, ``time_ns`` the source time."""
        self.command(write=name, type=kind, value=value, **more)

    async def write_for(self, name: str, kind: str, value: Any, held_s: float, **more: int) -> None:
        """Give a variable a value, which it has for so long by the clock of the server's own event loop.

        So the value is sampled, also where the server stands still meanwhile: its timers come before its answer.
        """
        await asyncio.to_thread(self.command, write=name, type=kind, value=value, held_s=held_s, **more)

    def read(self, name: str) -> tuple[str, Any, str]:
        """What the server has in a variable: the type by o6's name, the value, and its source time as text."""
        kind, value, when = self.command(read=name)
        return kind, value, when

    def remove(self, name: str) -> None:
        """Take a variable away."""
        self.command(remove=name)

    @property
    def sessions(self) -> int:
        """How many sessions clients have."""
        return int(self.command(sessions=True))

    def command(self, **words: Any) -> Any:
        """Send one command; its answer. Raises ``ServerRefused``."""
        assert self._commands is not None
        self._commands.send(words)
        return self._answer()

    def _answer(self) -> Any:
        assert self._commands is not None
        try:
            answer = (
                self._commands.recv() if self._commands.poll(WAIT_S_MAX) else {"error": "the server does not answer"}
            )
        except (EOFError, ConnectionError) as exc:
            raise ServerRefused("the server has ended") from exc
        if "error" in answer:
            raise ServerRefused(answer["error"])
        return answer["ok"]


def _serve(port: int, commands: Connection, own: tuple[Path, Path, str] | None) -> None:
    from tests.servers.opcua_server import serve

    serve(port, commands, own)
