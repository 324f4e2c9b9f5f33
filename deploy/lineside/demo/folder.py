"""The folder of a demo: what lies where, who may use it, and the ports, which stay the same from start to start."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from connectors.model.errors import LinesideError
from lineside.servers.child_process import LOOPBACK, free_port

SOCKET_PATH_BYTES_MAX: Final = 107
"""unix(7): ``sun_path`` has 108 bytes, the last of them a zero."""


class FolderInUse(LinesideError):
    """Another demo runs in the folder: the caller says so and ends."""


class FolderUnusable(LinesideError):
    """The folder cannot be made or written: the caller says so and ends."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the loopback interface, one a server."""

    postgres: int
    broker: int
    api: int
    press: int
    oven: int
    agent_metrics: int


class DemoFolder:
    """The files of one plant. All names are absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.agent_config = self.path / "agent.yaml"
        self.cloud_config = self.path / "cloud.yaml"
        self.plant_model = self.path / "plant.yaml"
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.broker = self.path / "broker"
        self.machines = self.path / "machines"
        self.access = self.path / "access"
        self.signing_key = self.access / "signing.jwk"
        self.token = self.access / "token"
        self.planner_token = self.access / "planner-token"
        self.engineer_token = self.access / "engineer-token"
        self.trusted_keys = self.path / "agent" / "trusted-keys.json"
        self._ports_file = self.path / "ports.json"

    @property
    def agent_socket(self) -> Path:
        """The agent's socket: beside its outbox, or in the temporary folder where that path is too long."""
        path = self.path / "agent" / "agent.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lineside-{os.geteuid()}-{name}" / "agent.sock"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep it for this process. Raises ``FolderInUse`` or ``FolderUnusable``."""
        try:
            for folder in (self.path, self.logs, self.machines):
                folder.mkdir(exist_ok=True, parents=True)
            self._make_socket_folder()
            descriptor = os.open(self.path / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise FolderUnusable(f"the folder {self.path} cannot be used: {exc.strerror} ({exc.filename})") from exc
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise FolderInUse(f"a demo runs already in {self.path}; stop it first, or name another --data") from exc
            yield
        finally:
            os.close(descriptor)

    def choose_ports(self) -> Ports:
        """The ports of the last start; instead of one that is taken now, and at the first start, a free one."""
        known = self._known_ports()
        chosen: dict[str, int] = {}
        for field in fields(Ports):
            port = known.get(field.name)
            while port is None or port in chosen.values() or not is_free(port):
                port = free_port()
            chosen[field.name] = port
        ports = Ports(**chosen)
        self._ports_file.write_text(json.dumps(asdict(ports), indent=2) + "\n")
        return ports

    def write_configuration(self, ports: Ports) -> None:
        """Write the files of the agent, of the cloud side for these ports, and of the lines."""
        places = {f"{name}_port": str(port) for name, port in asdict(ports).items()}
        places["agent_socket"] = json.dumps(str(self.agent_socket))  # JSON text is YAML text, whatever is in the path
        for target in (self.agent_config, self.cloud_config, self.plant_model):
            text = Path(__file__).with_name(target.name + ".in").read_text(encoding="utf-8")
            for name, value in places.items():
                text = text.replace(f"@{name}@", value)
            target.write_text(text, encoding="utf-8")

    def put_logs_aside(self) -> None:
        """Keep the logs of the start before this one as ``*.log.before``, and forget those before."""
        for log in self.logs.glob("*.log"):
            log.replace(log.with_name(log.name + ".before"))

    def _make_socket_folder(self) -> None:
        folder = self.agent_socket.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise FolderUnusable(f"the folder {folder} belongs to another user; name another --data")

    def _known_ports(self) -> dict[str, int]:
        try:
            document = json.loads(self._ports_file.read_text())
        except (OSError, ValueError):
            return {}
        if not isinstance(document, dict):
            return {}
        return {name: port for name, port in document.items() if isinstance(port, int) and 0 < port < 65_536}


def is_free(port: int) -> bool:
    """Whether a server can listen on the port now; connections of an earlier one that are being closed do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True
