"""A real disk that is small: a tmpfs that only its own processes see; it needs no rights and no cleaning up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lineside.servers.child_process import ChildProcess, ServerNotStarted

from tests.patience import WAIT_S_MAX

_MOUNT = 'mount -t tmpfs -o size="$1" small "$0" && echo mounted && exec setpriv --pdeathsig KILL -- sleep infinity'


class SmallDisk:
    """``size_bytes`` at ``folder``, for as long as the process lives that holds it; whatever runs there is wrapped.

    It is in a user namespace, in which every user may mount.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._holder = ChildProcess("small disk", folder.with_name(folder.name + ".log"))
        try:
            self._holder.start(
                ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, str(folder), str(size_bytes)],
                lambda: "mounted" in self._holder.log(),
                timeout_s=WAIT_S_MAX,
            )
        except ServerNotStarted as exc:
            raise ServerNotStarted(
                f"{exc}\nthe test needs user namespaces: run it as root, or allow them to everybody "
                "(sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
            ) from exc

    @property
    def wrapper(self) -> list[str]:
        """What runs the rest of its command line where the disk is."""
        return ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials", "--"]

    def path(self, name: str) -> Path:
        """A file of the disk, as it can be reached from here."""
        return Path(f"/proc/{self._holder.pid}/root{self._folder}") / name

    def fill(self) -> None:
        """Leave no byte."""
        with self.path("filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            for size in (65_536, 4096, 1):
                with contextlib.suppress(OSError):
                    while filler.write(bytes(size)):
                        pass

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self.path("filler").unlink()

    def remount(self, *, read_only: bool) -> None:
        """Let nothing be written, or let it."""
        option = "remount,ro" if read_only else "remount,rw"
        subprocess.run([*self.wrapper, "mount", "-o", option, str(self._folder)], check=True, timeout=WAIT_S_MAX)

    def close(self) -> None:
        """It is gone, with all that is on it."""
        self._holder.kill()


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A disk for the length of a block."""
    disk = SmallDisk(folder, size_bytes)
    try:
        yield disk
    finally:
        disk.close()
