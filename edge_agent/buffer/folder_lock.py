"""One program at a time changes what is in an agent's data folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from connectors.model.errors import AlreadyRunning, OutboxUnavailable

LOCK_FILE: Final = "agent.lock"


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this process. Raises ``AlreadyRunning``, ``OutboxUnavailable``."""
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise OutboxUnavailable(f"the data folder {data_dir} cannot be written: {exc.strerror}") from exc
    _belongs_to_owner(descriptor, data_dir)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            said = f"another agent uses the data folder {data_dir}: stop it, or give this one a data_dir of its own"
            raise AlreadyRunning(said) from exc
        yield
    finally:
        os.close(descriptor)


def _belongs_to_owner(descriptor: int, data_dir: Path) -> None:
    """A lock file that root has made may not keep the agent, who is somebody else, from its folder."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            owner = data_dir.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def is_held(data_dir: Path) -> bool:
    """Whether an agent runs on the data folder; looks at the kernel's list of locks, and takes none itself."""
    try:
        found = (data_dir / LOCK_FILE).stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False
    return any(line.split()[1] == "FLOCK" and f" {place} " in line for line in locks.splitlines())
