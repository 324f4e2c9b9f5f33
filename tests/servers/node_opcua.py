"""An OPC UA server that nobody here wrote, for tests: node-opcua, in a process of its own, that obeys commands.

It has what open62541's (``tests.servers.opcua``) cannot be told: operation limits, users and certificates, structures,
browse trees of any shape, requests that are counted, refused or late, connections and subscriptions that end.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lineside.servers.child_process import ServerNotStarted, find_program, free_port

from tests.patience import WAIT_S_MAX
from tests.servers.sparkplug_peers import PACKAGE_FILES, fetch_packages, made_once

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_SOURCE: Final = Path(__file__).parent / "node_opcua"
_FOLDER: Final = _CHECKOUT / ".servers" / "node_opcua"
_ANSWER_S_MAX: Final = 60.0
URI: Final = "urn:lineside:tests:node-opcua"
"""The server's own namespace, index 1, and its application URI."""

PRESS: Final = "urn:lineside:tests:press"
"""The namespace with index 2 where a test names no others."""


class NodeOpcUaRefused(Exception):
    """The server could not do what it was told, or has ended."""


def node_opcua() -> Path:
    """The folder with the program and its packages. Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    sources = [_SOURCE / name for name in PACKAGE_FILES]
    made_once(_FOLDER, sources, lambda: fetch_packages(_SOURCE, _FOLDER))
    return _FOLDER


class NodeOpcUaServer:
    """One running server on 127.0.0.1; killed and started again, it keeps its port, its options and its certificates.

    It forgets its nodes. ``options`` are those at the head of ``server.js``; the commands are listed there, too, and
    have methods here where many tests need them.
    """

    def __init__(self, **options: Any) -> None:
        self.port = free_port()
        self.options: dict[str, Any] = {"namespaces": [PRESS], **options}
        self.namespaces: list[str] = []
        self._own_folder: str | None = None
        if "pki" not in self.options:
            self._own_folder = tempfile.mkdtemp(prefix="node-opcua-")
            self.options["pki"] = self._own_folder
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    @property
    def endpoint(self) -> str:
        """Where it listens, as a device file writes it."""
        return f"opc.tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        node = find_program("node", "apt-get install nodejs")
        packages = {"NODE_PATH": str(node_opcua() / "node_modules")}
        self._process = subprocess.Popen(
            [node, str(_SOURCE / "server.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **packages},
        )
        self._rest = b""
        self._send({**self.options, "port": self.port})
        try:
            self.namespaces = self._answer()
        except NodeOpcUaRefused as exc:
            self.close()
            raise ServerNotStarted(f"node-opcua: {exc}") from exc

    def kill(self) -> None:
        """End it at once, as a power cut would. Does nothing when it has ended."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(WAIT_S_MAX)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def close(self) -> None:
        """End it, and remove what it has written."""
        self.kill()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def pause(self) -> None:
        """Freeze it: connections stay open and silent."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def object(self, node: str, **more: Any) -> None:
        """Add an object: ``node`` is its node id; ``under`` that of another, ``name`` its browse name."""
        self.command("object", node=node, **more)

    def add(self, node: str, kind: str, value: Any, **more: Any) -> None:
        """Add a variable: see ``variable`` in ``nodes.js``."""
        self.command("variable", node=node, type=kind, value=value, **more)

    def add_many(self, each: Sequence[Mapping[str, Any]]) -> None:
        """Add variables: of each ``node``, ``type``, ``value`` and what else ``variable`` takes."""
        self.command("variables", each=list(each))

    def set(self, node: str, kind: str, value: Any, **more: Any) -> None:
        """Give a variable a value; ``status`` is its status code, ``time_ms`` the source time."""
        self.command("set", node=node, type=kind, value=value, **more)

    async def set_for(self, node: str, kind: str, value: Any, held_s: float, **more: Any) -> None:
        """Give a variable a value, which it has for so long by the clock of the server's own event loop.

        So the value is sampled, also where the server stands still meanwhile: its timers come before its answer.
        """
        more |= {"type": kind, "value": value, "held_ms": round(held_s * 1000)}
        await asyncio.to_thread(self.command, "set", node=node, **more)

    def get(self, node: str) -> tuple[str, Any, int]:
        """What the server has in a variable: type, value and status code."""
        kind, value, status = self.command("get", node=node)
        return kind, value, status

    def remove(self, node: str) -> None:
        """Take a node away, with those that are its parts."""
        self.command("remove", node=node)

    def requests(self, service: str) -> tuple[int, int]:
        """How many requests of a service there were since the last ``forget``, and the most that one has asked for."""
        found = self.command("requests").get(f"{service}Request", {"count": 0, "most": 0})
        return found["count"], found["most"]

    def forget(self) -> None:
        """Count requests anew."""
        self.command("forget")

    def refuse(self, service: str, status: int | None) -> None:
        """Answer each request of a service, such as ``RegisterNodes``, with this status code; ``None``: as before."""
        self.command("refuse", service=service, status=status)

    @property
    def sessions(self) -> int:
        """How many sessions clients have."""
        return int(self.command("sessions"))

    def command(self, what: str, **words: Any) -> Any:
        """Send one command; its answer. Raises ``NodeOpcUaRefused``."""
        self._send({"do": what, **words})
        return self._answer()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as exc:
            raise NodeOpcUaRefused("the server has ended") from exc

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not select.select([pipe], [], [], _ANSWER_S_MAX)[0]:
                raise NodeOpcUaRefused("the server does not answer")
            read = os.read(pipe, 1 << 16)
            if not read:
                raise NodeOpcUaRefused("the server has ended")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise NodeOpcUaRefused(answer["error"])
        return answer["ok"]
