"""Files that are whole on the disk whenever the power fails: written beside, synced, renamed, and the folder synced."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
    """Write ``content`` to ``beside``, and have it be ``path`` once it is on the disk. Raises ``OSError``."""
    beside.unlink(missing_ok=True)
    write_new_file(beside, content, mode=mode)
    beside.replace(path)
    sync_folder(path.parent)


def write_new_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write the new file ``path`` to the disk; root gives it to whom the folder belongs. Raises ``OSError``."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` be on the disk. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
