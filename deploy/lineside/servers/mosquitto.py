"""Mosquitto on this machine: a configuration of its own in one folder, on a port of the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lineside.servers.child_process import (
    LOOPBACK,
    ChildProcess,
    accepts_connections,
    find_program,
    free_port,
    require_free,
)
from lineside.servers.throwaway_authority import ThrowawayAuthority

_START_TIMEOUT_S: Final = 60.0


class MosquittoBroker:
    """A Mosquitto broker in ``folder``; stopped, killed and started again, it keeps its port.

    With ``authority``, it talks TLS only, asks every client for a certificate of that authority, and takes the
    certificate's common name as the user name. ``persistent`` keeps sessions and retained messages over a stop (not
    over a kill). ``access_list`` and ``options`` are lines of Mosquitto's own files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        authority: ThrowawayAuthority | None = None,
        persistent: bool = False,
        access_list: Sequence[str] = (),
        options: Sequence[str] = (),
        log_path: Path | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.authority = authority
        self._folder = folder
        self._persistent = persistent
        self._access_list = tuple(access_list)
        self._options = tuple(options)
        self._program = find_program("mosquitto", "apt-get install mosquitto")
        self.process = ChildProcess("Mosquitto", log_path or folder / "mosquitto.log")

    @property
    def url(self) -> str:
        """How the broker is reached: ``mqtt://`` or ``mqtts://`` with host and port."""
        return f"{'mqtt' if self.authority is None else 'mqtts'}://{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the broker lives."""
        return self.process.running

    def start(self) -> None:
        """Start, and wait until the broker takes connections. Raises ``ServerNotStarted``."""
        if self.running:
            return
        require_free(self.port)
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "mosquitto.conf"
        configuration.write_text("\n".join(self._configuration()) + "\n")
        self.process.start(
            [self._program, "-c", str(configuration)],
            lambda: accepts_connections(self.port),
            timeout_s=_START_TIMEOUT_S,
        )

    def stop(self) -> None:
        """Stop in an orderly way: clients are told, sessions are saved when ``persistent``."""
        self.process.stop()

    def kill(self) -> None:
        """End the broker as a crash would."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and silent."""
        self.process.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self.process.resume()

    def log(self) -> str:
        """What the broker has written since it was last started."""
        return self.process.log()

    def _configuration(self) -> list[str]:
        lines = [
            f"listener {self.port} {LOOPBACK}",
            "log_dest stderr",
            "connection_messages true",
            "set_tcp_nodelay true",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # otherwise it becomes a user who cannot write its folder
        if self.authority is None:
            lines.append("allow_anonymous true")
        else:
            server = self.authority.issue("broker", hosts=(LOOPBACK, "localhost"))
            lines += [
                f"cafile {self.authority.certificate}",
                f"certfile {server.certificate}",
                f"keyfile {server.key}",
                "require_certificate true",
                "use_identity_as_username true",
                "allow_anonymous false",
            ]
        if self._access_list:
            access_file = self._folder / "access_list"
            access_file.write_text("\n".join(self._access_list) + "\n")
            access_file.chmod(0o600)
            lines.append(f"acl_file {access_file}")
        if self._persistent:
            lines += ["persistence true", f"persistence_location {self._folder}/"]
        return [*lines, *self._options]
